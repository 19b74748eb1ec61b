"""`rtbench lab`: a page in the browser on which each lane is a real transport."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from rtbench.cli.paths import UserPath
from rtbench.errors import UsageError
from rtbench.lab.room import DEFAULT_MOST_CLIENTS

PORT = 7377


@click.command("lab", short_help="Open the lab: every transport live in the browser.")
@click.argument("result", required=False, type=UserPath())
@click.option("--open", "opens", is_flag=True, help="open the page in the default browser")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one")
@click.option("--class", "is_class", is_flag=True, help="let a class in, from other machines, with a token")
@click.option("--host", metavar="NAME", help="with --class: address of this machine for the class [found by itself]")
@click.option(
    "--max-clients",
    type=click.IntRange(1, 500),
    default=DEFAULT_MOST_CLIENTS,
    show_default=True,
    help="with --class: pages of students",
)
@click.option(
    "--mqtt-server", default="embedded", show_default=True, metavar="embedded|mosquitto", help="the broker at the start"
)
@click.option("--network", default="loopback", show_default=True, metavar="NAME|rtt=TIME,...", help="at the start")
@click.option("--out", type=UserPath(), default=Path("results"), help="save sessions below this directory [results]")
@click.pass_context
def command(
    ctx: click.Context,
    result: Path | None,
    opens: bool,
    port: int,
    is_class: bool,
    host: str | None,
    max_clients: int,
    mqtt_server: str,
    network: str,
    out: Path,
) -> None:
    """Start the servers of all lanes and a page that uses them; print its address; end all with Ctrl-C.

    The page sends every message on all lanes and shows when it comes: polling, long-polling, SSE, WebSocket, and MQTT
    at QoS 0, 1 and 2. Its network can be slowed down and broken, its servers killed, and Pong played over it. It is for
    this machine alone, unless --class lets others in, and loads nothing from elsewhere.

    With RESULT, a session that the page saved, it shows that session again, without servers.
    """
    from rtbench.lab.command import Wanted, run

    given = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    for name, flag in (("host", "--host"), ("max_clients", "--max-clients")):
        if name in given and not is_class:
            raise UsageError(f"{flag} is for --class: without it, the page is for this machine alone")
    for name, flag in (("is_class", "--class"), ("mqtt_server", "--mqtt-server"), ("network", "--network")):
        if name in given and result is not None:
            raise UsageError(f"{flag} is for a lab that runs: a saved session is shown without servers")
    run(Wanted(result, opens, port, is_class, host, max_clients, mqtt_server, network, out))
