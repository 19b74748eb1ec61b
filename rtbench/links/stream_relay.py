"""The relay of a stream link: TCP connections whose bytes arrive late, in a process of its own.

A connection is set up as TCP would do it. The relay goes to the server when the client's SYN would arrive there; what
the client sends is read from the moment at which the SYN-ACK would reach it, one round trip after its connect, and what
the server sends from the moment at which the server would know. So the first answer to a request on a new connection
comes after two round trips, as with TCP, although `connect` itself returns at once: the kernel of the relay accepts. A
server that refuses shows as a reset after one round trip.

The end of a stream and a reset travel as data do, after the data. One direction may end while the other goes on.

Faults concern all connections. `cut` resets them and drops what is under way. `stall` holds all that would arrive, SYN
included, and lets it arrive in order at its end. `discard` throws away what is read, and then cuts.

asyncio sets TCP_NODELAY on every connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from threading import Thread
from typing import Any

from rtbench.links.link import Done
from rtbench.links.stream_line import Line
from rtbench.links.timeline import Timeline, until
from rtbench.links.trace import Trace
from rtbench.system import memory
from rtbench.system.answering import answer_all
from rtbench.system.meter import read_wire
from rtbench.system.room import all_open_files
from rtbench.wire.tcp import Wire

_BACKLOG = 4096
_RESET_ON_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER of zero seconds


class End(asyncio.Protocol):
    """One of the two ends of a connection: what is read here arrives at the other end later."""

    other: End

    def __init__(self, connection: Connection, line: Line) -> None:
        self._connection = connection
        self._line = line
        self._timeline = connection.relay.timeline
        self.transport: asyncio.Transport | None = None
        self.waiting_bytes = 0  # read here, and not written to the other end so far
        self.finished = False  # the other end was told that nothing more comes
        self._arrives_ns = 0  # the last that was read
        self._ready = False  # it may be read from
        self._full = False  # it takes no more
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Do not read before the connection is set up."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if not self._connection.admitted(self):
            transport.abort()
            return
        asyncio.get_running_loop().call_soon(self._flow)  # later, since asyncio starts to read after this call
        self._connection.made(self)

    def ready(self, _: bytes = b"") -> None:
        """Read from now on."""
        self._ready = True
        self._flow()

    def data_received(self, data: bytes) -> None:
        """Send data on their way, in pieces."""
        line, relay = self._line, self._connection.relay
        line.chunks += 1
        line.bytes += len(data)
        if relay.trace is not None:
            relay.trace.note(self._connection.number, self._connection.port, line is relay.up, data)
        if relay.discarding:
            line.discarded += len(data)
            return
        now_ns = time.monotonic_ns()
        self.waiting_bytes += len(data)
        step = line.piece_bytes or len(data)
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            self._arrive(line.arrival_ns(now_ns, len(piece)), self._pass_on, piece)
        self._flow()

    def eof_received(self) -> bool:
        """Let the end of the stream travel; keep the way back open."""
        self._ready = False
        self._flow()
        if not self._connection.relay.discarding:
            self._arrive(time.monotonic_ns() + self._line.travel_ns(), self._finish)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Let a reset travel, unless the relay itself has closed the connection."""
        self._connection.lost(self)
        if not self._connection.closed:
            self._arrive(time.monotonic_ns() + self._line.travel_ns(), self._connection.reset)

    def pause_writing(self) -> None:
        """Read no more from the other end until this one takes what it has."""
        self._full = True
        self.other._flow()

    def resume_writing(self) -> None:
        """Read again from the other end."""
        self._full = False
        self.other._flow()

    def _arrive(self, arrives_ns: int, call: Any, data: bytes = b"") -> None:
        """Let something arrive at the other end, after all that was sent from here before."""
        self._arrives_ns = max(self._arrives_ns, arrives_ns)
        self._timeline.at(self._arrives_ns, call, data)

    def _pass_on(self, piece: bytes) -> None:
        self.waiting_bytes -= len(piece)
        target = self.other.transport
        if target is not None and not target.is_closing():
            target.write(piece)
            self._flow()

    def _finish(self, _: bytes) -> None:
        self.finished = True
        target = self.other.transport
        if target is not None and not target.is_closing():
            target.write_eof()
        if self.other.finished:
            self._connection.close()

    def _flow(self) -> None:
        """Read or do not read, as it is now."""
        reading = self._ready and not self.other._full and self.waiting_bytes < self._line.most_waiting_bytes
        if self.transport is not None and reading != self._reading:
            self._reading = reading
            (self.transport.resume_reading if reading else self.transport.pause_reading)()


class Connection:
    """A connection of a client with the relay, and that of the relay with the server."""

    def __init__(self, relay: Relay, number: int, port: int) -> None:
        self.relay = relay
        self.number = number
        self.port = port  # of the relay, where the client came
        self.closed = False
        self._address = relay.targets[port]
        self._dialling: asyncio.Task[None] | None = None
        self.client, self.server = End(self, relay.up), End(self, relay.down)
        self.client.other, self.server.other = self.server, self.client

    def admitted(self, end: End) -> bool:
        """Return whether an end may take part: the client must come from an address that is let in."""
        if end is self.server or end.transport is None or self.relay.admits(end.transport.get_extra_info("peername")):
            return True
        self.closed = True
        return False

    def wire(self) -> Wire:
        """Return what went between client and relay."""
        sock = None if self.client.transport is None else self.client.transport.get_extra_info("socket")
        return (read_wire(sock) if sock is not None else None) or Wire()

    def lost(self, end: End) -> None:
        """Keep the counts of a client's connection that ends."""
        if end is self.client:
            self.relay.open.discard(self)
            self.relay.wire += self.wire()

    def made(self, end: End) -> None:
        """Begin when the client has come; take part in nothing if the connection was reset meanwhile."""
        if end is self.client:
            self.relay.connections.add(self)
            self.relay.open.add(self)
            if self.relay.discarding:
                end.ready()
            else:
                self._later(self.relay.up, self._syn)
        elif self.closed:
            self.reset()

    def _later(self, line: Line, call: Any) -> None:
        self.relay.timeline.at(time.monotonic_ns() + line.travel_ns(), call)

    def _syn(self, _: bytes) -> None:
        if not self.closed:
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, *self._address)
        except OSError:
            self._later(self.relay.down, self.reset)
        else:
            self._later(self.relay.down, self._syn_ack)

    def _syn_ack(self, _: bytes) -> None:
        self.client.ready()
        self._later(self.relay.up, self.server.ready)

    def close(self) -> None:
        """Close both ends once they have sent what they have."""
        self._end(reset=False)

    def reset(self, _: bytes = b"") -> None:
        """Reset both ends, and drop what is under way."""
        self._end(reset=True)

    def _end(self, reset: bool) -> None:
        self.closed = True
        self.relay.connections.discard(self)
        for end in (self.client, self.server):
            if end.transport is not None and not end.transport.is_closing():
                if reset:
                    sock = end.transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    end.transport.abort()
                else:
                    end.transport.close()


class Relay:
    """The connections of a link, its two directions, and what is broken on purpose."""

    def __init__(self, up: Line, down: Line) -> None:
        self.up, self.down = up, down
        self.timeline = Timeline(asyncio.get_running_loop())
        self.connections: set[Connection] = set()
        self.open: set[Connection] = set()  # those whose client's socket is not closed
        self.wire = Wire()  # of those whose client's socket is closed
        self.targets: dict[int, tuple[str, int]] = {}  # host and port of the server, by the port of the relay
        self.trace: Trace | None = None
        self.discarding = False
        self.made = 0
        self._done: list[Done] = []
        self._servers: list[asyncio.Server] = []
        self._faults: list[asyncio.Task[None]] = []
        self._admitted: set[str] | None = None

    async def forward(self, host: str, port: int, listens: str) -> dict[str, Any]:
        """Listen on a fresh port for connections to a server."""
        loop = asyncio.get_running_loop()
        sock = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sets TCP_NODELAY where the protocol is named
        sock.bind((listens, 0))
        own: int = sock.getsockname()[1]
        self.targets[own] = host, port
        self._servers.append(await loop.create_server(lambda: self._connection(own), sock=sock, backlog=_BACKLOG))
        return {"port": own}

    async def redirect(self, from_port: int, host: str, port: int) -> dict[str, Any]:
        """Let a port lead to another server."""
        self.targets[from_port] = host, port
        return {}

    async def change(self, up: Mapping[str, Any], down: Mapping[str, Any]) -> dict[str, Any]:
        """Let both directions be others from now on."""
        self.up.change(**up)
        self.down.change(**down)
        return {}

    async def admit(self, addresses: Collection[str] | None) -> dict[str, Any]:
        """Take connections from these addresses and from this machine only; None: from all."""
        self._admitted = None if addresses is None else {*addresses, "127.0.0.1", "::1"}
        return {}

    def admits(self, peer: tuple[Any, ...]) -> bool:
        """Return whether a client of this address may connect."""
        return self._admitted is None or peer[0] in self._admitted

    async def set_trace(self, on: bool) -> dict[str, Any]:
        """Begin to note what passes, or end it; return what was noted."""
        before, self.trace = self.trace, Trace() if on else None
        return {"noted": [] if before is None else before.rows()}

    def _connection(self, port: int) -> End:
        self.made += 1
        return Connection(self, self.made, port).client

    async def plan(self, faults: list[tuple[int, int, str, str]]) -> dict[str, Any]:
        """Do each fault (beginning and end in ns, its kind, its text) when its time comes."""
        self._faults += [asyncio.get_running_loop().create_task(self._break(*fault)) for fault in faults]
        return {}

    async def _break(self, begins_ns: int, ends_ns: int, kind: str, text: str) -> None:
        await until(begins_ns)
        began_ns = time.monotonic_ns()
        counts = await getattr(self, f"_{kind}")(ends_ns)
        await asyncio.sleep(0)  # asyncio closes an aborted connection in its next turn
        self._done.append(Done(text, began_ns, time.monotonic_ns(), counts))

    async def _cut(self, _: int) -> Mapping[str, int]:
        connections = list(self.connections)
        dropped = [sum(getattr(c, end).waiting_bytes for c in connections) for end in ("client", "server")]
        for connection in connections:
            connection.reset()
        self.up.discarded += dropped[0]
        self.down.discarded += dropped[1]
        return {"connections_reset": len(connections), "bytes_discarded": sum(dropped)}

    async def _stall(self, ends_ns: int) -> Mapping[str, int]:
        self.timeline.hold()
        await until(ends_ns)
        return {"bytes_held": self.timeline.release()}

    async def _discard(self, ends_ns: int) -> Mapping[str, int]:
        before = self.up.discarded + self.down.discarded
        self.discarding = True
        await until(ends_ns)
        self.discarding = False
        counts = await self._cut(ends_ns)
        return {**counts, "bytes_discarded": self.up.discarded + self.down.discarded - before}

    async def done(self) -> dict[str, Any]:
        """Return what was done so far."""
        return {"done": [asdict(done) for done in self._done]}

    async def counts(self) -> dict[str, Any]:
        """Return what passed so far."""
        ways = {"up": self.up, "down": self.down}
        wire = sum((connection.wire() for connection in self.open), start=self.wire)
        known = wire.connections > 0 or not self.made
        carried = {"up": wire.down, "down": wire.up}  # to its kernel, the relay is the client
        counted = {
            way: {
                **{n: getattr(line, n) for n in ("chunks", "bytes", "discarded")},
                "wire_bytes": carried[way].ip_bytes if known else None,
            }
            for way, line in ways.items()
        }
        return {**counted, "connections": self.made, "open": len(self.open)}


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    relays: list[Relay] = []

    async def answer(question: dict[str, Any]) -> Mapping[str, Any]:
        do = question.pop("do")
        if do == "open":
            relays.append(Relay(Line(**question["up"]), Line(**question["down"])))
            return {}
        return await getattr(relays[0], do)(**question)  # type: ignore[no-any-return]

    def answer_until_the_owner_is_gone() -> None:
        try:
            answer_all(lambda question: asyncio.run_coroutine_threadsafe(answer(question), loop).result())
        finally:  # also where the owner has gone before it read an answer
            os._exit(0)

    Thread(target=answer_until_the_owner_is_gone, daemon=True).start()
    await loop.create_future()


if __name__ == "__main__":
    all_open_files()
    memory.prepare()
    asyncio.run(_serve())
