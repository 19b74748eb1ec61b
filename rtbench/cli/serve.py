"""`rtbench serve`: run one server until SIGTERM."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from rtbench.cli.paths import UserPath
from rtbench.errors import UsageError
from rtbench.system.secret import read_secret

if TYPE_CHECKING:
    from rtbench.transports.options import Option


class _ServeCommand(click.Command):
    """The command, with the options of all installed servers; they are made when the command is used."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from rtbench.transports.registry import server_options

        common = super().get_params(ctx)
        taken = {parameter.name for parameter in common}
        options = [
            _option(option, transports) for name, (option, transports) in server_options().items() if name not in taken
        ]
        return [*common[:-1], *options, common[-1]]


def _option(option: Option, transports: list[str]) -> click.Option:
    where = f"({', '.join(transports)})"
    if option.secret:
        return click.Option(
            [f"{option.flag}-file", f"{option.name}_file"],
            type=UserPath(),
            metavar="FILE",
            help=f"{option.help}: the first line of this file, or RTBENCH_{option.name.upper()} {where}",
        )
    shown = f" [{option.shown_default}]" if option.shown_default else ""
    return click.Option(
        [option.flag, option.name], metavar=option.metavar or "VALUE", help=f"{option.help}{shown} {where}"
    )


@click.command("serve", cls=_ServeCommand, short_help="Run one server until SIGTERM.")
@click.argument("transport")
@click.option("--server", default="embedded", show_default=True, metavar="NAME", help="which implementation")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="address to listen on; others can reach any but loopback",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one")
@click.option("--tls-cert", type=UserPath(), metavar="FILE", help="listen with TLS: certificate chain, PEM")
@click.option("--tls-key", type=UserPath(), metavar="FILE", help="its private key, PEM")
def command(
    transport: str, server: str, host: str, port: int, tls_cert: Path | None, tls_key: Path | None, **given: Any
) -> None:
    """Run one server until SIGTERM or Ctrl-C; print its URL as one line of JSON.

    On a terminal, the lines below it try the server: with curl, mosquitto_sub, or in the console of a browser.
    """
    import asyncio

    if (tls_cert is None) != (tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together; one of them is missing")
    files = (tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(transport, server, host, port, _options(transport, server, given), files))


def _options(transport: str, implementation: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, in their types; secrets from their file or variable."""
    from rtbench.transports.registry import server, server_options

    own = server(transport, implementation).options
    found = {}
    for option, _ in server_options().values():
        value = read_secret(option.name, given[f"{option.name}_file"]) if option.secret else given[option.name]
        if value is not None:
            found[option.name] = own.get(option.name, option).parse(value)  # another server's may be of another type
    return found


_ASKING = frozenset(("username", "users"))  # the options with which a server asks for a password


def exposure(url: str, known: Collection[str], given: Collection[str], *, encrypted: bool) -> str:
    """Return one line on who can use a server, and how openly; empty if only this machine or a known user can."""
    place = urlsplit(url)
    address = ip_address(place.hostname or "")
    if address.is_loopback:
        return ""
    where = "any address of this machine" if address.is_unspecified else str(address)
    open_to = [] if encrypted else ["nothing is encrypted (--tls-cert and --tls-key change that)"]
    if not _ASKING.intersection(known):
        open_to += ["this server cannot ask for a password"]
    elif not _ASKING.intersection(given):
        open_to += ["no password is asked for (--users changes that)"]
    if not open_to:
        return ""
    return f"warning: everyone who reaches {where}, port {place.port}, can use this server: {', and '.join(open_to)}"


async def _serve(
    transport: str, server: str, host: str, port: int, options: dict[str, Any], files: tuple[Path, Path] | None
) -> None:
    import asyncio

    from rtbench.system import room
    from rtbench.system.tls import server_context
    from rtbench.transports import registry
    from rtbench.transports.serving import serve
    from rtbench.trial.uncaught import note, taken

    errors: list[str] = []

    def say(error: BaseException) -> None:
        if note(errors, error):
            click.echo(f"rtbench: the server raised {errors[-1]}", err=True)

    room.all_open_files()
    stop = asyncio.Event()
    for name in ("SIGTERM", "SIGINT"):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), stop.set)
    tls = server_context(*map(str, files)) if files is not None else None
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(taken(say))
        url = await stack.enter_async_context(serve(transport, server, host, port, options, tls))
        if warning := exposure(url, registry.server(transport, server).options, options, encrypted=tls is not None):
            click.echo(warning, err=True)
        click.echo(json.dumps({"transport": transport, "server": server, "url": url, "pid": os.getpid()}))
        if sys.stdout.isatty() and tls is None:
            for line in registry.server(transport, server).by_hand(url):
                click.echo(f"    {line}")
        await stop.wait()
