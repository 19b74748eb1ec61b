"""The coordinator: the other end of the control channel, for any number of client processes of one trial."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from rtbench.errors import Error
from rtbench.trial.control import ControlChannel, clock_name
from rtbench.trial.phase import Standing
from rtbench.trial.servers import RunningServer

_PINGS = 8  # the fastest of them bounds the offset best
_PING_WITHIN_S = 2.0
LOOK_EVERY_S = 1.0  # for an error of the server, while the processes are set up


@dataclass(frozen=True)
class ClockOffset:
    """How far CLOCK_MONOTONIC of a process is ahead of the coordinator's, to within `bound_ns` either way."""

    offset_ns: int = 0
    bound_ns: int = 0


SAME_CLOCK = ClockOffset()


@dataclass
class _Client:
    """What the coordinator knows about one client process."""

    channel: ControlChannel
    clock: str
    offset: ClockOffset | None = None
    done: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)  # by step
    gone: bool = False
    pongs: asyncio.Queue[tuple[int, int, int]] = field(default_factory=asyncio.Queue)


class Coordinator:
    """Lets the client processes in by name, tells them what is next, and knows how far they are."""

    def __init__(self, names: Iterable[str]) -> None:
        """Expect the processes `names`."""
        self.names = tuple(names)
        self.token = secrets.token_hex(8)
        self._step, self._step_began_s, self._grown_s = "", time.monotonic(), 0.0
        self._server: RunningServer | None = None
        self._url = ""
        self._stopped = False
        self._server_is_known = asyncio.Event()
        self._clients: dict[str, _Client] = {}
        self._changed = asyncio.Condition()
        self._conversations: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str) -> tuple[str, int]:
        """Accept the processes on `host`; return the address of the control channel."""
        self._listener = await asyncio.start_server(self._accept, host, 0)
        address: tuple[str, int] = self._listener.sockets[0].getsockname()[:2]
        return address

    async def close(self) -> None:
        """Accept nobody, and end all conversations."""
        if self._listener is not None:
            self._listener.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    def announce(self, server: RunningServer, url: str | None = None) -> None:
        """Tell the processes where the server is: those that wait for it and those that join later.

        `url` is where they reach it, by default its own.
        """
        self._server, self._url = server, url or server.url
        self._server_is_known.set()
        self._begin("connect")

    def _begin(self, step: str) -> None:
        if step != self._step:
            self._step, self._step_began_s = step, time.monotonic()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.create_task(self._converse(ControlChannel(reader, writer)))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)

    async def _converse(self, channel: ControlChannel) -> None:
        client = None
        try:
            hello = await channel.hear()
            name = str(hello.get("name"))
            if hello.get("token") != self.token or name not in self.names or name in self._clients:
                return
            client = self._clients[name] = _Client(channel, str(hello.get("clock")))
            introduction = asyncio.create_task(self._introduce(client))
            try:
                while True:
                    await self._take(client, await channel.hear())
            finally:
                introduction.cancel()
        except Error:
            pass  # its end is noted below
        finally:
            channel.writer.close()
            if client is not None:
                client.gone = True
                with suppress(RuntimeError):  # the loop is closing
                    async with self._changed:
                        self._changed.notify_all()

    async def _introduce(self, client: _Client) -> None:
        client.offset = await self._measured_offset(client)
        async with self._changed:
            self._changed.notify_all()
        await self._server_is_known.wait()
        assert self._server is not None
        if self._stopped:  # meanwhile
            client.channel.say(step="stop")
        else:
            client.channel.say(step="connect", url=self._url, ca=self._server.ca, login=asdict(self._server.login))

    async def _measured_offset(self, client: _Client) -> ClockOffset:
        """Measure the clock of a process by pings (as NTP does, RFC 5905 section 8).

        The reply of the fastest ping lies in the middle of it, to within half its time. Where the process reads the
        clock of the coordinator, the offset is zero, and the measurement only confirms it.
        """
        best: ClockOffset | None = None
        for number in range(_PINGS):
            began_ns = time.monotonic_ns()
            client.channel.say(ping=number)
            try:
                async with asyncio.timeout(_PING_WITHIN_S):
                    _, theirs_ns, ended_ns = await client.pongs.get()
            except TimeoutError:
                break
            bound_ns = (ended_ns - began_ns + 1) // 2
            if best is None or bound_ns < best.bound_ns:
                best = ClockOffset(theirs_ns - (began_ns + ended_ns) // 2, bound_ns)
        if best is None or (client.clock == clock_name() and abs(best.offset_ns) <= best.bound_ns):
            return SAME_CLOCK
        return best

    async def _take(self, client: _Client, message: dict[str, Any]) -> None:
        if "pong" in message:
            client.pongs.put_nowait((message["pong"], message["clock_ns"], time.monotonic_ns()))
            return
        async with self._changed:
            if "done" in message:
                client.done.add(message["done"])
            if "count" in message:
                self._count(client, message.get("of", "start"), message["count"])
            self._changed.notify_all()

    def _count(self, client: _Client, step: str, count: int) -> None:
        if count != client.counts[step]:
            client.counts[step], self._grown_s = count, time.monotonic()

    def count(self, step: str = "start") -> int:
        """Return what is done of a step, of all processes; of the start, these are deliveries."""
        return sum(client.counts[step] for client in self._clients.values())

    def standing(self) -> Standing:
        """Return where the trial stands now."""
        now_s = time.monotonic()
        quiet_s = now_s - max(self._grown_s, self._step_began_s)
        return Standing(self._step, now_s - self._step_began_s, self.count(self._step), quiet_s)

    def offset(self, name: str) -> ClockOffset:
        """Return how far the clock of a process is ahead of this one's."""
        client = self._clients.get(name)
        return client.offset if client is not None and client.offset is not None else SAME_CLOCK

    def is_gone(self, name: str) -> bool:
        """Whether a process joined and has left."""
        return name in self._clients and self._clients[name].gone

    def _has_done(self, name: str, step: str) -> bool:
        return name in self._clients and step in self._clients[name].done

    async def joined(self) -> None:
        """Wait until all processes have joined and their clocks are known."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: all(n in self._clients and self._clients[n].offset is not None for n in self.names)
            )

    async def done(self, step: str, names: Iterable[str], within_s: float) -> bool:
        """Wait until the processes `names` have done a step; False when one left before, or time ran out."""
        waited_for = tuple(names)

        def settled() -> bool:
            return all(self._has_done(n, step) for n in waited_for) or any(
                self.is_gone(n) and not self._has_done(n, step) for n in waited_for
            )

        try:
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait_for(settled)
        except TimeoutError:
            return False
        return all(self._has_done(n, step) for n in waited_for)

    async def reached(self, step: str, names: Iterable[str], within_s: float) -> bool:
        """As `done`, but do not wait in vain: False, too, once the server has raised what nobody caught."""
        waited_for, end = tuple(names), time.monotonic() + within_s
        while (left_s := end - time.monotonic()) > 0:
            if await self.done(step, waited_for, min(left_s, LOOK_EVERY_S)):
                return True
            if any(map(self.is_gone, waited_for)):
                break
            if self._server is not None:
                await self._server.relay_log()
                if self._server.errors:
                    break
        return False

    async def drained(self, subscribers: Iterable[str], timeout_s: float) -> None:
        """Wait until all subscriber processes have what they can expect, or nothing new came for `timeout_s`."""
        names = tuple(subscribers)
        while True:
            count, since = self.count(), time.monotonic()
            while time.monotonic() - since < timeout_s and count == self.count():
                if await self.done("start", names, within_s=0.05) or any(map(self.is_gone, names)):
                    return
            if count == self.count():
                return

    def tell(self, step: str, names: Iterable[str] | None = None, **fields: Any) -> None:
        """Send a step to the processes `names`, to all without any: `stop` also to those that join later."""
        self._stopped |= step == "stop"
        self._begin(step)
        for name in self.names if names is None else names:
            if name in self._clients and not self._clients[name].gone:
                self._clients[name].channel.say(step=step, **fields)

    def start(self, at_ns: int) -> None:
        """Send the start to all processes, as a time of the clock of each."""
        for name in self.names:
            self.tell("start", [name], at_ns=at_ns + self.offset(name).offset_ns)
