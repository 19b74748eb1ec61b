"""`rtbench doctor`."""

from __future__ import annotations

import click


@click.command("doctor")
def command() -> int:
    """Tell what on this machine spoils a measurement; exit 4 if something does."""
    from rtbench.doctor import TROUBLE, examine

    spoiled = False
    for symptom in examine():
        click.echo(f"{symptom.state:<8} {symptom.about:<16} {symptom.text}")
        spoiled |= symptom.state == TROUBLE
    return 4 if spoiled else 0
