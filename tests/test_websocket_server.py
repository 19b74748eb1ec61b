"""The WebSocket server as other clients see it: the library's own, and a socket that does not read."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from rtbench.transports.serving import serve

WITHIN_S = 20.0
LARGE = 256 * 1024  # bytes; a few of them fill every buffer between the server and a client that does not read
CAPACITY = 8
TEXT, BINARY, CLOSE = 1, 2, 8


def run(scenario: Callable[[str], Awaitable[None]], capacity: int = CAPACITY) -> None:
    async def main() -> None:
        async with asyncio.timeout(WITHIN_S):
            async with serve("websocket", "embedded", options={"capacity": capacity}) as url:
                await scenario(url)

    asyncio.run(main())


def opened(url: str, **options: Any) -> connect:
    return connect(url, proxy=None, compression=None, max_size=None, max_queue=None, **options)


async def listening(connection: ClientConnection) -> ClientConnection:
    """Return the connection once the server has taken it into its topic."""
    await (await connection.ping())
    return connection


class Raw:
    """A client that reads only when it is told to."""

    def __init__(self, url: str, *, subprotocol: str | None = None) -> None:
        self.parts = urlsplit(url)
        self.subprotocol = subprotocol
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.data = b""

    async def open(self, topic: str) -> bytes:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, (self.parts.hostname, self.parts.port))
        protocol = f"Sec-WebSocket-Protocol: {self.subprotocol}\r\n" if self.subprotocol else ""
        key = base64.b64encode(bytes(16)).decode()
        await loop.sock_sendall(
            self.socket,
            f"GET /{topic} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n".encode(),
        )
        while b"\r\n\r\n" not in self.data:
            self.data += await loop.sock_recv(self.socket, 4096)
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        await loop.sock_sendall(self.socket, b"\x89\x80\0\0\0\0")  # a ping: the answer comes from a topic that has us
        assert await self.frame() == (10, b"")
        return head

    async def _take(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        pieces, have = [self.data], len(self.data)
        while have < size:
            piece = await loop.sock_recv(self.socket, 65_536)
            if not piece:
                raise EOFError
            pieces.append(piece)
            have += len(piece)
        whole = b"".join(pieces)
        self.data = whole[size:]
        return whole[:size]

    async def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame."""
        first, length = await self._take(2)
        assert first & 0x80, "no message is fragmented"
        assert length < 0x80, "a server does not mask"
        if length >= 126:
            form = ">H" if length == 126 else ">Q"
            (length,) = struct.unpack(form, await self._take(struct.calcsize(form)))
        return first & 15, await self._take(length)


def large(number: int) -> bytes:
    return b"%06d" % number + b"." * (LARGE - 6)


async def publish_until_left_behind(url: str, raw: Raw, witness: ClientConnection) -> int:
    """Publish far more than all buffers and the feed hold; return how many messages. The witness must have them all."""
    count = 20_000_000 // LARGE + 3 * CAPACITY
    async with opened(f"{url}/topic?publish") as publisher:
        for number in range(count):
            await publisher.send(large(number))
            assert await witness.recv() == large(number)  # it is not held up, at any point
    return count


@pytest.mark.parametrize(
    "message",
    ["text", "", "größer 🙂\n", '{"missed": 3}', b"binary", b"", b"\xff\x00"],
    ids=lambda message: f"{type(message).__name__} {message!r}",
)
@pytest.mark.process
def test_text_stays_text_and_binary_stays_binary(message: str | bytes) -> None:
    async def scenario(url: str) -> None:
        async with opened(f"{url}/topic") as one, opened(f"{url}/topic") as other:
            await listening(other)
            await one.send(message)
            for connection in (one, other):
                heard = await connection.recv()
                assert heard == message
                assert type(heard) is type(message)

    run(scenario)


@pytest.mark.process
def test_a_client_of_the_subprotocol_gets_every_payload_in_binary() -> None:
    async def scenario(url: str) -> None:
        async with opened(f"{url}/topic", subprotocols=[Subprotocol("other"), Subprotocol("rtbench")]) as connection:
            assert connection.subprotocol == "rtbench"
            await connection.send("text")
            await connection.send(b"binary")
            assert [await connection.recv(), await connection.recv()] == [b"text", b"binary"]

    run(scenario)


@pytest.mark.parametrize("subprotocols", [None, [Subprotocol("other")]], ids=["none", "an unknown one"])
@pytest.mark.process
def test_a_client_without_the_subprotocol_is_served_without_it(subprotocols: list[Subprotocol] | None) -> None:
    async def scenario(url: str) -> None:
        async with opened(f"{url}/topic", subprotocols=subprotocols) as connection:
            assert connection.subprotocol is None
            await connection.send("x")
            assert await connection.recv() == "x"

    run(scenario)


@pytest.mark.process
def test_who_only_publishes_hears_nothing() -> None:
    async def scenario(url: str) -> None:
        async with opened(f"{url}/topic?publish") as publisher, opened(f"{url}/topic") as listener:
            await listening(listener)
            await publisher.send("x")
            assert await listener.recv() == "x"
            await listening(publisher)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(publisher.recv(), 0)

    run(scenario)


@pytest.mark.parametrize("topic", ["a/+/b", "a/%23", "a/%2B"])
@pytest.mark.process
def test_a_topic_with_wildcards_is_refused_with_a_reason(topic: str) -> None:
    async def scenario(url: str) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with opened(f"{url}/{topic}"):
                pass
        assert refused.value.response.status_code == 400
        assert b"wildcard" in refused.value.response.body
        assert refused.value.response.body.count(b"\n") == 1

    run(scenario)


@pytest.mark.process
def test_a_client_hears_what_is_published_from_the_moment_its_handshake_is_answered() -> None:
    async def scenario(url: str) -> None:
        async with opened(f"{url}/topic?publish") as publisher:
            for number in range(30):
                async with opened(f"{url}/topic") as newcomer:  # without a ping
                    await publisher.send(str(number))
                    assert await newcomer.recv() == str(number)

    run(scenario)


@pytest.mark.process
def test_a_client_that_breaks_off_disturbs_nobody() -> None:
    async def scenario(url: str) -> None:
        async with opened(f"{url}/topic") as stays:
            for _ in range(5):
                raw = Raw(url)
                await raw.open("topic")
                raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raw.socket.close()  # with a reset
                await stays.send("x")
                assert await stays.recv() == "x"

    run(scenario)


@pytest.mark.process
def test_a_client_that_reads_late_is_caught_up_in_order_where_the_feed_still_has_it_all() -> None:
    async def scenario(url: str) -> None:
        raw = Raw(url)
        await raw.open("topic")
        async with opened(f"{url}/topic") as witness:
            await listening(witness)
            count = await publish_until_left_behind(url, raw, witness)
            heard = [await raw.frame() for _ in range(count)]
            assert heard == [(BINARY, large(number)) for number in range(count)]
            await witness.send("again with the others")
            assert await raw.frame() == (TEXT, b"again with the others")
        raw.socket.close()

    run(scenario, capacity=1000)


@pytest.mark.process
def test_a_client_of_the_subprotocol_that_reads_too_late_is_told_how_many_it_missed() -> None:
    async def scenario(url: str) -> None:
        raw = Raw(url, subprotocol="rtbench")
        assert b"sec-websocket-protocol: rtbench" in (await raw.open("topic")).lower()
        async with opened(f"{url}/topic") as witness:
            await listening(witness)
            count = await publish_until_left_behind(url, raw, witness)
            expected = gaps = 0
            while expected < count:
                opcode, payload = await raw.frame()
                if opcode == TEXT:
                    missed = json.loads(payload)
                    assert missed.keys() == {"missed"}
                    expected += missed["missed"]
                    gaps += 1
                else:
                    assert payload == large(expected)
                    expected += 1
            assert expected == count
            assert gaps >= 1
            await witness.send("again with the others")
            assert await raw.frame() == (BINARY, b"again with the others")
        raw.socket.close()

    run(scenario)


@pytest.mark.process
def test_a_plain_client_that_reads_too_late_is_closed_rather_than_left_with_a_gap() -> None:
    async def scenario(url: str) -> None:
        raw = Raw(url)
        await raw.open("topic")
        async with opened(f"{url}/topic") as witness:
            await listening(witness)
            count = await publish_until_left_behind(url, raw, witness)
            heard = 0
            while (frame := await raw.frame())[0] != CLOSE:
                assert frame == (BINARY, large(heard)), "nothing is missing before the end"
                heard += 1
            assert heard < count
            assert struct.unpack(">H", frame[1][:2]) == (1013,)
            assert b"missed" in frame[1]
        raw.socket.close()

    run(scenario)


@pytest.mark.process
def test_the_server_stops_at_once_with_open_connections() -> None:
    async def main() -> None:
        async with asyncio.timeout(WITHIN_S):
            serving = serve("websocket", "embedded")
            url = await serving.__aenter__()
            async with opened(f"{url}/topic") as listener, opened(f"{url}/topic?publish") as publisher:
                await listening(listener)
                await listening(publisher)
                await serving.__aexit__(None, None, None)
                for connection in (listener, publisher):
                    with pytest.raises(ConnectionClosed) as closed:
                        await connection.recv()
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 1001

    asyncio.run(main())


@pytest.mark.process
def test_the_server_stops_at_once_although_a_client_does_not_answer() -> None:
    async def main() -> None:
        serving = serve("websocket", "embedded")
        url = await serving.__aenter__()
        raw = Raw(url)
        await raw.open("topic")
        try:
            # far below the ten seconds that the library waits for an answer to its closing frame
            async with asyncio.timeout(WITHIN_S / 4):
                await serving.__aexit__(None, None, None)
        finally:
            raw.socket.close()

    asyncio.run(main())


RTBENCH = [Subprotocol("rtbench")]


@pytest.mark.process
def test_a_client_that_asks_where_it_is_continues_there() -> None:
    async def scenario(url: str) -> None:
        async with (
            opened(f"{url}/room?after=", subprotocols=RTBENCH) as first,
            opened(f"{url}/room?publish") as speaker,
        ):
            epoch, _, number = json.loads(await first.recv())["after"].partition("-")
            assert number == "0"
            for text in ("one", "two", "three"):
                await speaker.send(text)
            assert await first.recv() == b"one"
        async with opened(f"{url}/room?after={epoch}-1", subprotocols=RTBENCH) as second:
            assert [await second.recv() for _ in range(3)] == [json.dumps({"after": f"{epoch}-1"}), b"two", b"three"]
        async with opened(f"{url}/room?after={epoch}-999", subprotocols=RTBENCH) as beyond:
            assert await beyond.recv() == json.dumps({"after": f"{epoch}-3"})
        async with opened(f"{url}/room?after=beef!-2", subprotocols=RTBENCH) as stranger:  # of another run
            assert await stranger.recv() == json.dumps({"after": f"{epoch}-0"})
            assert await stranger.recv() == b"one"

    run(scenario)


@pytest.mark.process
def test_a_position_needs_the_subprotocol() -> None:
    async def scenario(url: str) -> None:
        with pytest.raises(InvalidStatus) as refused:
            await opened(f"{url}/room?after=")
        assert refused.value.response.status_code == 400
        assert refused.value.response.body == b"?after= needs the subprotocol rtbench\n"

    run(scenario)
