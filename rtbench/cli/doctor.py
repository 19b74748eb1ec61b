"""`rtbench doctor`."""

from __future__ import annotations

from itertools import chain

import click


@click.command("doctor", short_help="Tell what on this machine spoils a measurement.")
def command() -> int:
    """Tell what on this machine spoils a measurement; exit 4 if something does."""
    from rtbench.links.packet_link import packet_link_missing
    from rtbench.system.doctor import FINE, NOTE, TROUBLE, Symptom, examine
    from rtbench.transports.registry import broken_servers

    spoiled = False
    missing = packet_link_missing()
    text = f"not here: {missing}" if missing else "networks with loss and the fault blackhole are possible"
    link = Symptom(NOTE if missing else FINE, "packet link", text)
    unusable = (Symptom(NOTE, f"{name}, {server}", reason) for name, server, reason in broken_servers())
    for symptom in chain(examine(), [link], unusable):
        click.echo(f"{symptom.state:<8} {symptom.about:<16} {symptom.text}")
        spoiled |= symptom.state == TROUBLE
    return 4 if spoiled else 0
