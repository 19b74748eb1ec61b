"""`rtbench contract`: try a transport against the contract that every transport keeps."""

from __future__ import annotations

import click


@click.command("contract", short_help="Test whether a transport keeps its contract.")
@click.argument("transport")
@click.option("--server", default="embedded", show_default=True, metavar="NAME", help="which server of it")
@click.option("--client", default="library", show_default=True, metavar="NAME", help="which client of it")
@click.option("--server-option", multiple=True, metavar="NAME=VALUE", help="an option of it; repeat it for more")
def command(transport: str, server: str, client: str, server_option: tuple[str, ...]) -> int:
    """Test whether a transport keeps its contract; print one line for each case: passed, or failed with the reason.

    Each variant of the client is tested with the server, and again over TLS where the server has that. A transport
    that blocks is ended, and the line says where it stood.

    Exit 0: every case passed; 3: one did not.
    """
    from rtbench.conformance.subject import subjects_of
    from rtbench.conformance.watching import FAILED, NOT_RUN, PASSED, outcomes

    states = []
    for subject in subjects_of(transport, server, client, server_option):
        click.echo(subject)
        for outcome in outcomes(subject):
            click.echo(f"  {outcome}")
            states.append(outcome.state)
    click.echo(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys([PASSED, FAILED, *states])))
    return 3 if {FAILED, NOT_RUN} & set(states) else 0
