"""`rtbench show`: print a saved result again."""

from __future__ import annotations

from pathlib import Path

import click

from rtbench.cli.paths import UserPath


@click.command("show", short_help="Print a saved result again.")
@click.argument("result", type=UserPath())
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(result: Path, as_json: bool) -> None:
    """Print the table and the sentences of RESULT, as the command that measured it did.

    Nothing is measured. RESULT is a directory that a command that measures wrote (`run`, `compare`, `idle` ...); an
    interrupted one is printed as far as it goes.
    """
    from rtbench.cli.measuring import print_result
    from rtbench.experiments import load

    print_result(load(result), as_json)
