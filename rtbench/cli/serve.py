"""`rtbench serve`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import click

from rtbench.errors import UsageError


@click.command("serve")
@click.argument("transport")
@click.option("--server", default="embedded", show_default=True, metavar="NAME", help="which implementation")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="address to listen on; others can reach any but loopback",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one")
@click.option(
    "--capacity",
    type=click.IntRange(1),
    metavar="N",
    help="messages that each topic's feed holds (HTTP, WebSocket)",
)
@click.option("--max-queued", type=click.IntRange(1), metavar="N", help="messages queued for one client (mqtt)")
@click.option("--username", help="the only user let in (mqtt); the password is read from --password-file")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="its first line is the password; or RTBENCH_PASSWORD",
)
@click.option("--tls-cert", type=click.Path(), help="listen with TLS: certificate chain, PEM")
@click.option("--tls-key", type=click.Path(), help="its private key, PEM")
def command(transport: str, server: str, host: str, port: int, password_file: Path | None, **options: Any) -> None:
    """Run one server until SIGTERM or Ctrl-C; print its URL as one line of JSON."""
    options["password"] = _password(options["username"], password_file)
    if (options["tls_cert"] is None) != (options["tls_key"] is None):
        raise UsageError("--tls-cert and --tls-key go together; one of them is missing")
    given = {name: value for name, value in options.items() if value is not None}
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(transport, server, host, port, given))


def _password(username: str | None, path: Path | None) -> str | None:
    password = os.environ.get("RTBENCH_PASSWORD")
    if path is not None:
        try:
            password = path.read_text(encoding="utf-8").split("\n", 1)[0]
        except OSError as error:
            raise UsageError(f"--password-file {path} cannot be read: {error.strerror}") from error
    if (username is None) != (password is None):
        raise UsageError("--username and a password (--password-file or RTBENCH_PASSWORD) go together; one is missing")
    return password


async def _serve(transport: str, server: str, host: str, port: int, options: dict[str, Any]) -> None:
    from rtbench.serving import serve

    stop = asyncio.Event()
    for name in ("SIGTERM", "SIGINT"):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), stop.set)
    async with serve(transport, server, host, port, options) as url:
        click.echo(json.dumps({"transport": transport, "server": server, "url": url, "pid": os.getpid()}))
        await stop.wait()
