"""The connection between a page and the lab: a WebSocket with messages of JSON.

The page asks `{"id": N, "do": NAME, ...}`, and the lab answers `{"id": N, ...}`, with `error` where it could not. By
itself the lab says `hello` first, `counts` four times a second, `network`, `fault` and `server` when one changes, and
`class`. What changes the lab is for the lecturer: who comes from this machine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

from aiohttp import WSMsgType, web

from rtbench import __version__
from rtbench.charts.style import PRESETS, look
from rtbench.errors import Error, UsageError
from rtbench.lab import ladder
from rtbench.lab.lab import Lab
from rtbench.lab.lanes import LANES, MQTT, NUMBERS
from rtbench.lab.relayed import publisher_of
from rtbench.lab.room import Room, is_lecturer

COUNT_EVERY_S = 0.25
MOST_MESSAGE_BYTES = 2**20
_OWN = ("begin", "counts", "figures")  # what every page may ask for


class Page:
    """A page that is connected."""

    def __init__(self, socket: web.WebSocketResponse, number: int, lecturer: bool) -> None:
        self.socket = socket
        self.place = number  # in the class
        self.number = number  # of its current run: each run counts for itself
        self.lecturer = lecturer

    async def tell(self, content: Mapping[str, Any]) -> None:
        """Send a message, unless the page is gone."""
        with suppress(ConnectionError, RuntimeError):
            await self.socket.send_str(json.dumps(content, separators=(",", ":")))


class Live:
    """All pages that are connected to a lab."""

    def __init__(self, lab: Lab | None, room: Room | None, address: Mapping[str, str]) -> None:
        """`address` is what a lecturer's page shows: the address of the class, and its QR code."""
        self._lab, self._room, self._address = lab, room, address
        self._pages: set[Page] = set()
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._counting: asyncio.Task[None] | None = None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Speak with a page until it leaves."""
        lecturer = is_lecturer(request.remote)
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=MOST_MESSAGE_BYTES)
        await socket.prepare(request)
        page = Page(socket, next(self._numbers), lecturer)
        if self._room is not None and not lecturer:
            if self._room.is_full:
                await page.tell({"type": "full", "most_clients": self._room.most_clients})
                await socket.close()
                return socket
            self._room.pages.add(page.place)
        self._pages.add(page)
        try:
            await page.tell(self._hello(page, request.headers["Host"].rpartition(":")[0]))
            if (self._counting is None or self._counting.done()) and self._lab is not None:
                self._counting = asyncio.create_task(self._count())
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._start(self._answer(page, message.data))
        finally:
            self._pages.discard(page)
            if self._room is not None:
                self._room.leave(page.place)
            if self._lab is not None:
                self._lab.relayed.forget(page.number)
        return socket

    def _start(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave all pages."""
        if self._counting is not None:
            self._counting.cancel()
        for task in list(self._tasks):
            task.cancel()
        for page in list(self._pages):
            await page.socket.close(code=1001, message=b"the lab has ended")

    async def tell_all(self, content: Mapping[str, Any]) -> None:
        """Send a message to all pages."""
        await asyncio.gather(*(page.tell(content) for page in list(self._pages)))

    def _hello(self, page: Page, name: str) -> dict[str, Any]:
        return {
            "type": "hello",
            "version": __version__,
            "lecturer": page.lecturer,
            "lanes": [lane_description(self._lab, name, number) for number in range(len(LANES))],
            "replay": self._lab is None,
            "login": None if self._lab is None else vars(self._lab.login),
            "network": self._network(),
            "servers": self._servers(),
            "address": dict(self._address) if page.lecturer else {},
            "class": self._room is not None,
        }

    def _network(self) -> dict[str, float]:
        if self._lab is None:
            return {}
        network = self._lab.network
        return {"rtt_ms": 1e3 * network.rtt_s, "jitter_ms": 1e3 * network.jitter_s}

    def _servers(self) -> dict[str, str]:
        servers = {} if self._lab is None else self._lab.servers
        return {transport: server.implementation for transport, server in servers.items()}

    # what the lab says by itself

    async def _count(self) -> None:
        assert self._lab is not None
        while self._pages:
            await asyncio.sleep(COUNT_EVERY_S)
            await self._lab.count()
            passed = await self._lab.passed()
            for page in list(self._pages):
                await page.tell({"type": "counts", **self._counts(page, passed)})
                if self._room is not None and page.lecturer:
                    room = {"pages": len(self._room.pages), "most_clients": self._room.most_clients}
                    await page.tell({"type": "class", **room, "figures": self._room.figures})

    def _counts(self, page: Page, passed: Mapping[str, Any]) -> dict[str, Any]:
        relayed = {label: self.lab.relayed.of(page.number, number) for label, number in NUMBERS.items()}
        return {"page": page.number, "lanes": passed, "relayed": relayed, "servers": self._servers()}

    # what a page asks for

    async def _answer(self, page: Page, text: str) -> None:
        number = None
        try:
            asked = json.loads(text)
            number, do = asked.pop("id"), asked.pop("do")
            if do not in _OWN and not page.lecturer:
                raise UsageError("in a class, only the lecturer changes the network and the servers")
            action: Callable[..., Awaitable[Mapping[str, Any]]] = getattr(self, f"_do_{do}")
            await page.tell({"id": number, **await action(page, **asked)})
        except Error as error:
            await page.tell({"id": number, "error": str(error)})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            await page.tell({"id": number, "error": f"the lab does not understand {text[:80]!r} ({error})"})

    @property
    def lab(self) -> Lab:
        """The lab.

        Raises:
            UsageError: there is none; a session is replayed.
        """
        if self._lab is None:
            raise UsageError("a session is replayed: no server runs")
        return self._lab

    async def _do_begin(self, page: Page) -> Mapping[str, Any]:
        """Give the page a new number, under which its next run is counted from 0, and say what passed until now."""
        self.lab.relayed.forget(page.number)
        page.number = next(self._numbers)
        publishers = {label: publisher_of(page.number, number) for label, number in NUMBERS.items()}
        return {"page": page.number, "publishers": publishers, "lanes": await self.lab.passed()}

    async def _do_counts(self, page: Page) -> Mapping[str, Any]:
        """Say what was relayed and what passed until now, and not at the last tick."""
        await self.lab.count(patiently=True)
        return self._counts(page, await self.lab.passed())

    async def _do_network(self, _: Page, rtt_ms: float, jitter_ms: float) -> Mapping[str, Any]:
        await self.lab.change(float(rtt_ms), float(jitter_ms))
        await self.tell_all({"type": "network", **self._network()})
        return self._network()

    async def _do_fault(self, _: Page, fault: str, lanes: list[str], for_s: float) -> Mapping[str, Any]:
        shown = {"type": "fault", "fault": fault, "lanes": lanes, "for_s": for_s}
        await self.tell_all({**shown, "on": True})
        try:
            await self.lab.break_link(fault, lanes, float(for_s))
        finally:
            await self.tell_all({**shown, "on": False})
        return {}

    async def _do_kill(self, _: Page, servers: list[str], for_s: float) -> Mapping[str, Any]:
        lanes = [lane.label for lane in LANES if lane.transport in servers]
        shown = {"type": "fault", "fault": "kill", "lanes": lanes, "for_s": for_s}
        await self.tell_all({**shown, "on": True})
        try:
            await asyncio.gather(*(self.lab.kill(server, float(for_s)) for server in servers))
        finally:
            await self.tell_all({**shown, "on": False})
        return {}

    async def _do_broker(self, _: Page, server: str) -> Mapping[str, Any]:
        await self.lab.exchange_broker(server)
        await self.tell_all({"type": "server", "servers": self._servers()})
        return {"server": self.lab.servers[MQTT].implementation}

    async def _do_trace(self, _: Page, lane: str, on: bool) -> Mapping[str, Any]:
        """Begin to note what passes on a lane, or end it and return the ladder."""
        running = self.lab.lane(lane)
        noted = await running.link.trace(on)
        return {} if on else {"steps": ladder.steps(running.kind.transport, running.publish_port, noted)}

    async def _do_figures(self, page: Page, name: str, lanes: dict[str, Any]) -> Mapping[str, Any]:
        """Take the figures of a page for the chart of the class."""
        if self._room is not None:
            self._room.figures[page.place] = {"name": str(name)[:40], "lanes": _figures(lanes)}
        return {}


def _figures(lanes: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the numbers of a page, of the lanes that there are."""
    return {
        label: {what: float(lanes[label][what]) for what in ("p50_ms", "p99_ms", "delivered", "lost")}
        for label in NUMBERS
        if label in lanes
    }


def lane_description(lab: Lab | None, name: str, number: int) -> dict[str, Any]:
    """Return what a page needs to know of a lane: where it is, and how it looks in the charts."""
    kind = LANES[number]
    looks = {theme: look(kind.variant, PRESETS[preset]) for theme, preset in (("light", "slides"), ("dark", "dark"))}
    described: dict[str, Any] = {
        "label": kind.label,
        "transport": kind.transport,
        "qos": kind.qos,
        "number": number,
        "marker": looks["light"].marker,
        "colours": {theme: each.colour for theme, each in looks.items()},
        "text_colours": {theme: each.text for theme, each in looks.items()},
    }
    if lab is not None:
        lane = lab.lanes[kind.label]
        scheme = "http" if kind.transport in ("polling", "long-polling", "sse") else "ws"
        described["subscribe"] = f"{scheme}://{name}:{lane.subscribe_port}"
        described["publish"] = f"{scheme}://{name}:{lane.publish_port}"
        described["plain_port"] = lane.plain_port
    return described
