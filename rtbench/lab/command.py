"""What `rtbench lab` does: it puts the parts together, prints the address, and serves until it is told to stop.

from rtbench.lab.command import Wanted, run

run(Wanted(network="rtt=100ms"))       # as the command; `opened` is the same for asyncio code of one's own
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import webbrowser
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from rtbench.errors import UsageError
from rtbench.lab import sessions
from rtbench.lab.lab import Lab, address_of_this_machine, laboratory
from rtbench.lab.lanes import LOOPBACK
from rtbench.lab.live import Live
from rtbench.lab.page_server import PageServer, missing_libraries, serving
from rtbench.lab.room import DEFAULT_MOST_CLIENTS, Room
from rtbench.plan.network import LOOPBACK as NO_NETWORK
from rtbench.plan.network import network_of
from rtbench.plan.variant import DEFAULT_SERVER
from rtbench.transports.serving import listen

EVERYWHERE = "0.0.0.0"  # a class comes from other machines


@dataclass(frozen=True)
class Wanted:
    """What the command was asked for."""

    result: Path | None = None
    opens: bool = False
    port: int = 0
    is_class: bool = False
    host: str | None = None
    most_clients: int = DEFAULT_MOST_CLIENTS
    broker: str = DEFAULT_SERVER
    network: str = NO_NETWORK
    out: Path = Path("results")


def run(wanted: Wanted) -> None:
    """Serve the page until Ctrl-C or SIGTERM; print its address.

    Raises:
        UsageError: an option that is not possible, or a library of the page that is missing.
        ResultError: the session cannot be read.
    """
    if missing := missing_libraries():
        raise UsageError(
            f"the page needs {', '.join(missing)}: in a checkout, `make lab` fetches them from npm; a wheel has them"
        )
    session = None if wanted.result is None else sessions.session_of(wanted.result)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(wanted, session))


async def _run(wanted: Wanted, session: Mapping[str, Any] | None) -> None:
    stop = asyncio.Event()
    for name in ("SIGTERM", "SIGINT"):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(getattr(signal, name), stop.set)
    async with opened(wanted, session) as page:
        click.echo(page.address)
        for line in page.notes:
            click.echo(line, err=True)
        if wanted.opens:
            await asyncio.to_thread(webbrowser.open, page.address)
        await stop.wait()


@dataclass(frozen=True)
class OpenedPage:
    """A page that is served at `address`; `notes` are for whoever started it."""

    address: str
    class_address: str
    notes: list[str]


@asynccontextmanager
async def opened(wanted: Wanted, session: Mapping[str, Any] | None = None) -> AsyncIterator[OpenedPage]:
    """Serve the page, with its servers unless a session is shown; end all on leaving."""
    is_class = wanted.is_class and session is None
    host = (wanted.host or address_of_this_machine()) if is_class else LOOPBACK
    async with AsyncExitStack() as stack:
        sock = stack.enter_context(listen(EVERYWHERE if is_class else LOOPBACK, wanted.port))
        port = sock.getsockname()[1]
        address = f"http://{LOOPBACK}:{port}/"
        room = Room(wanted.most_clients) if is_class else None
        class_address = f"http://{host}:{port}/class/{room.token}" if room is not None else ""
        lab = None if session is not None else await stack.enter_async_context(_laboratory(wanted, host, port))
        shown = {"class": class_address, "qr": _qr_code(class_address)}
        live = Live(lab, room, shown)
        server = PageServer(port, host, lab, live, room, session, partial(sessions.save, wanted.out))
        if lab is not None and room is not None:
            for lane in lab.lanes.values():
                await lane.link.admit([])
        await stack.enter_async_context(serving(server, sock))
        notes = [f"for the class: {class_address}", "everyone who has this address can use the lab"] * is_class
        yield OpenedPage(address, class_address, notes)


def _laboratory(wanted: Wanted, host: str, port: int) -> contextlib.AbstractAsyncContextManager[Lab]:
    origins = [f"http://{name}:{port}" for name in dict.fromkeys((LOOPBACK, "localhost", host))]
    listens = EVERYWHERE if host != LOOPBACK else LOOPBACK
    network = network_of(wanted.network)
    return laboratory(origins, host=host, listens=listens, network=network, broker=wanted.broker)


def _qr_code(text: str) -> str:
    """Return the path of an SVG that draws the QR code of a text, modules as squares of 1; empty without a text."""
    if not text:
        return ""
    import segno  # here, since only a class needs it

    rows = segno.make(text, micro=False).matrix
    path = io.StringIO()
    for y, row in enumerate(rows):
        for x, dark in enumerate(row):
            if dark:
                path.write(f"M{x} {y}h1v1h-1z")
    return f"{len(rows)} {path.getvalue()}"
