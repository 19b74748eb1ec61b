"""The three HTTP servers as curl sees them."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage, Message
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from rtbench.system.meter import Meter
from rtbench.transports.serving import serve
from tests.connecting import connect
from tests.programs import needs

WITHIN_S = 20.0
SERVERS = ("polling", "long-polling", "sse")
every_server = pytest.mark.parametrize("name", SERVERS)
batches = pytest.mark.parametrize("name", ["polling", "long-polling"])


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes
    seconds: float

    @property
    def parts(self) -> list[bytes]:
        """The messages of the body, a multipart one read by Python's email package."""
        if self.headers.get_content_type() != "multipart/mixed":
            return [self.body]
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        whole = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
        assert isinstance(whole, EmailMessage)
        parts = [part.get_payload(decode=True) for part in whole.iter_parts()]
        return [content for content in parts if isinstance(content, bytes)]


async def curl(url: str, *arguments: str, body: bytes | None = None) -> Answer:
    data = ("--data-binary", "@-", "-H", "Content-Type: text/plain") if body is not None else ()
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--path-as-is", "--include", "--noproxy", "*"),
        *("--write-out", "%{stderr}%{time_total}", *data, *arguments, url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(body or b"")
    assert process.returncode == 0, err
    head, _, content = out.partition(b"\r\n\r\n")
    status, _, fields = head.partition(b"\r\n")
    return Answer(int(status.split()[1]), email.parser.BytesParser().parsebytes(fields), content, float(err))


async def post(url: str, body: bytes) -> int:
    return (await curl(url, body=body)).status


async def etag(url: str) -> str:
    return str((await curl(url, "--head")).headers["ETag"])


def known(tag: str) -> tuple[str, str]:
    return "-H", f"If-None-Match: {tag}"


def run(name: str, scenario: Callable[[str], Awaitable[None]], **options: int) -> None:
    async def main() -> None:
        async with asyncio.timeout(WITHIN_S), serve(name, "embedded", options=options) as url:
            await scenario(url)

    asyncio.run(main())


@every_server
@needs("curl")
@pytest.mark.process
def test_post_publishes_and_has_no_content(name: str) -> None:
    async def scenario(url: str) -> None:
        answer = await curl(f"{url}/a/b", body=b"x")
        assert (answer.status, answer.body) == (204, b"")

    run(name, scenario)


@every_server
@needs("curl")
@pytest.mark.process
def test_head_tells_where_the_feed_ends(name: str) -> None:
    async def scenario(url: str) -> None:
        before = await curl(f"{url}/a", "--head")
        assert (before.status, before.body) == (204, b"")
        assert before.headers["ETag"].startswith('"')
        assert before.headers["ETag"].endswith('"')
        assert await etag(f"{url}/a") == before.headers["ETag"]
        await post(f"{url}/a", b"x")
        assert await etag(f"{url}/a") != before.headers["ETag"]

    run(name, scenario)


@every_server
@needs("curl")
@pytest.mark.process
def test_the_requests_of_one_client_share_a_connection(name: str) -> None:
    async def scenario(url: str) -> None:
        meter = Meter()
        async with connect(name, url, meter) as connection:
            stream = await connection.subscribe("topic")
            if name != "sse":  # whose first connection is busy for as long as it listens
                await connection.publish("topic", b"x")
                await anext(stream)
            totals = meter.totals()
            assert totals is None or totals.connections == 1

    run(name, scenario)


@batches
@needs("curl")
@pytest.mark.process
def test_get_answers_with_what_is_new_or_304(name: str) -> None:
    async def scenario(url: str) -> None:
        topic = f"{url}/a"
        start = await etag(topic)
        nothing = await curl(topic, *known(start))
        assert (nothing.status, nothing.body, nothing.headers["ETag"]) == (304, b"", start)
        await post(topic, b"one")
        await post(topic, b"two\r\n\r\n--m\r\nlines")
        news = await curl(topic, *known(start))
        assert news.status == 200
        assert news.headers["Content-Type"].startswith("multipart/mixed")
        assert news.parts == [b"one", b"two\r\n\r\n--m\r\nlines"]
        assert (await curl(topic, *known(news.headers["ETag"]))).status == 304
        assert (await curl(topic, *known("W/" + news.headers["ETag"]))).status == 304
        await post(topic, b"\x00three\xff")
        last = await curl(topic, *known(news.headers["ETag"]))
        assert (last.status, last.headers["Content-Type"], last.body) == (
            200,
            "application/octet-stream",
            b"\x00three\xff",
        )

    run(name, scenario)


@batches
@needs("curl")
@pytest.mark.process
def test_get_without_a_cursor_or_with_a_foreign_one_answers_with_all_there_is(name: str) -> None:
    async def scenario(url: str) -> None:
        for body in (b"one", b"two"):
            await post(f"{url}/a", body)
        for arguments in ((), known('"not-ours-1"'), known("*")):
            assert (await curl(f"{url}/a", *arguments)).parts == [b"one", b"two"]
        await post(f"{url}/b", b"")
        empty = await curl(f"{url}/b")
        assert (empty.status, empty.body) == (200, b"")

    run(name, scenario)


@batches
@needs("curl")
@pytest.mark.process
def test_the_gap_is_told_when_the_capacity_is_exceeded(name: str) -> None:
    async def scenario(url: str) -> None:
        start = await etag(f"{url}/a")
        for n in range(4):
            await post(f"{url}/a", b"%d" % n)
        full = await curl(f"{url}/a", *known(start))
        assert full.headers["RTBench-Missed"] is None
        assert full.parts == [b"0", b"1", b"2", b"3"]
        for n in range(4, 7):
            await post(f"{url}/a", b"%d" % n)
        gap = await curl(f"{url}/a", *known(start))
        assert (gap.headers["RTBench-Missed"], gap.parts) == ("3", [b"3", b"4", b"5", b"6"])
        assert (await curl(f"{url}/a", *known(full.headers["ETag"]))).headers["RTBench-Missed"] is None

    run(name, scenario, capacity=4)


@every_server
@pytest.mark.parametrize("topic", ["a/%23", "a/%2B/b", "a/+/b"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@needs("curl")
@pytest.mark.process
def test_a_topic_with_wildcards_is_refused(name: str, topic: str, method: str) -> None:
    async def scenario(url: str) -> None:
        arguments = {"GET": (), "POST": ("--data", "x"), "HEAD": ("--head",)}[method]
        answer = await curl(f"{url}/{topic}", *arguments)
        assert answer.status == 400
        assert method == "HEAD" or answer.body.count(b"\n") == 1

    run(name, scenario)


@every_server
@needs("curl")
@pytest.mark.process
def test_the_front_page_explains_itself_and_other_methods_are_refused(name: str) -> None:
    async def scenario(url: str) -> None:
        front = await curl(f"{url}/")
        assert front.status == 200
        assert b"POST" in front.body
        assert (await curl(f"{url}/a", "--request", "DELETE")).status == 405

    run(name, scenario)


@needs("curl")
@pytest.mark.process
def test_a_long_poll_is_held_for_as_long_as_it_prefers_and_no_longer_than_that() -> None:
    async def scenario(url: str) -> None:
        topic = f"{url}/a"
        start = await etag(topic)
        at_once = await curl(topic, *known(start))
        held = await curl(topic, *known(start), "-H", "Prefer: wait=1")
        assert at_once.status == held.status == 304
        assert held.seconds >= 1
        assert at_once.seconds < held.seconds

    run("long-polling", scenario)


@needs("curl")
@pytest.mark.process
def test_a_long_poll_is_answered_when_news_comes() -> None:
    async def scenario(url: str) -> None:
        topic = f"{url}/a"
        start = await etag(topic)
        waiting = [
            asyncio.create_task(curl(topic, *known(start), "-H", f"Prefer: {prefer}"))
            for prefer in ("wait=3600", "respond-async, wait=3600")
        ]
        held = await curl(topic, *known(start), "-H", "Prefer: wait=1")  # the others have been there as long
        assert held.status == 304
        assert not any(task.done() for task in waiting)
        await post(topic, b"news")
        answers = await asyncio.gather(*waiting)
        assert [(a.status, a.body) for a in answers] == [(200, b"news")] * 2
        assert all(a.headers["ETag"] != start for a in answers)

    run("long-polling", scenario)


@needs("curl")
@pytest.mark.process
def test_news_of_another_topic_is_no_news() -> None:
    async def scenario(url: str) -> None:
        start = await etag(f"{url}/a")
        waiting = asyncio.create_task(curl(f"{url}/a", *known(start), "-H", "Prefer: wait=1"))
        await post(f"{url}/b", b"news")
        assert (await waiting).status == 304

    run("long-polling", scenario)


@needs("curl")
@pytest.mark.process
def test_a_server_ends_while_long_polls_wait() -> None:
    async def main() -> None:
        async with asyncio.timeout(WITHIN_S):
            async with serve("long-polling", "embedded") as url:
                command = ("curl", "--silent", *known(await etag(f"{url}/a")), "-H", "Prefer: wait=3600", f"{url}/a")
                waiting = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
                await curl(f"{url}/a", *known(await etag(f"{url}/a")), "-H", "Prefer: wait=1")
            await waiting.wait()

    asyncio.run(main())


@asynccontextmanager
async def event_stream(url: str, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
    """Yield the answer's body as it comes; once its head is there, the server listens for us."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--no-buffer", "--noproxy", "*", "--dump-header", "/dev/stderr", *arguments, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        head = await process.stderr.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"\r\ncontent-type: text/event-stream" in head.lower()
        assert b"\r\ncache-control: no-store" in head.lower()
        yield process.stdout
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def event(stream: asyncio.StreamReader) -> dict[str, str]:
    block = (await stream.readuntil(b"\n\n")).decode()
    return dict(line.split(": ", 1) for line in block.splitlines() if line)


async def id_of_first_event(url: str) -> str:
    async with event_stream(f"{url}/a") as stream:
        await post(f"{url}/a", b"seen")
        return (await event(stream))["id"]


@needs("curl")
@pytest.mark.process
def test_an_event_stream_has_an_id_and_the_data_of_each_message() -> None:
    async def scenario(url: str) -> None:
        await post(f"{url}/a", b"before")
        async with event_stream(f"{url}/a") as stream:
            await post(f"{url}/a", b"one\ntwo")
            block = await stream.readuntil(b"\n\n")
            first, *data = block.decode().splitlines()
            assert first.startswith("id: ")
            assert data == ["data: one", "data: two", ""]
            await post(f"{url}/a", "größer".encode())
            following = await event(stream)
            assert following["data"] == "größer"
            assert following["id"] != first.removeprefix("id: ")

    run("sse", scenario)


@needs("curl")
@pytest.mark.process
def test_an_event_stream_goes_on_after_the_last_id_seen() -> None:
    async def scenario(url: str) -> None:
        seen = await id_of_first_event(url)
        for body in (b"two", b"three"):
            await post(f"{url}/a", body)
        async with event_stream(f"{url}/a", "-H", f"Last-Event-ID: {seen}") as stream:
            assert [(await event(stream))["data"] for _ in range(2)] == ["two", "three"]

    run("sse", scenario)


@needs("curl")
@pytest.mark.process
def test_an_event_stream_tells_of_the_gap_first() -> None:
    async def scenario(url: str) -> None:
        seen = await id_of_first_event(url)
        for n in range(7):
            await post(f"{url}/a", b"%d" % n)
        async with event_stream(f"{url}/a", "-H", f"Last-Event-ID: {seen}") as stream:
            told = await event(stream)
            assert (told["event"], told["data"]) == ("missed", "3")
            rest = [await event(stream) for _ in range(4)]
            assert [e["data"] for e in rest] == ["3", "4", "5", "6"]
            assert not any("event" in e for e in rest)
        async with event_stream(f"{url}/a", "-H", f"Last-Event-ID: {told['id']}") as stream:
            again = await event(stream)
            assert again.get("event") is None, "who has seen the gap told is not told again"
            assert again["data"] == "3"

    run("sse", scenario, capacity=4)


@needs("curl")
@pytest.mark.process
def test_an_event_stream_tells_of_the_gap_where_other_topics_have_taken_all_the_room() -> None:
    async def scenario(url: str) -> None:
        seen = await id_of_first_event(url)
        for body in (b"one", b"two"):
            await post(f"{url}/a", body)
        await post(f"{url}/b", b"x" * 1000)
        async with event_stream(f"{url}/a", "-H", f"Last-Event-ID: {seen}") as stream:
            told = await event(stream)
            assert (told["event"], told["data"]) == ("missed", "2")
            await post(f"{url}/a", b"three")
            assert (await event(stream))["data"] == "three"

    run("sse", scenario, max_feed_bytes=1000)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"\xff\xfe", 422, id="bytes that are no UTF-8"),
        pytest.param(b"one\rtwo", 422, id="a carriage return"),
        pytest.param("größer\n".encode(), 204, id="text"),
        pytest.param(b"", 204, id="nothing"),
    ],
)
@needs("curl")
@pytest.mark.process
def test_an_event_stream_refuses_what_it_cannot_carry(body: bytes, status: int) -> None:
    async def scenario(url: str) -> None:
        async with event_stream(f"{url}/a") as stream:
            answer = await curl(f"{url}/a", body=body)
            assert answer.status == status
            assert answer.body.count(b"\n") == (status == 422)
            await post(f"{url}/a", b"end")
            heard = (await stream.readuntil(b"data: end\n\n")).count(b"id: ")
            assert heard == 1 + (status == 204)

    run("sse", scenario)


@needs("curl")
@pytest.mark.process
def test_an_event_stream_in_http_1_0_has_no_chunks() -> None:
    async def scenario(url: str) -> None:
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(b"GET /a HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert b"chunked" not in (await reader.readuntil(b"\r\n\r\n")).lower()
        for body in (b"one", b"two"):
            await post(f"{url}/a", body)
        assert re.fullmatch(rb"id: \S+\ndata: one\n\n", await reader.readuntil(b"\n\n"))
        assert re.fullmatch(rb"id: \S+\ndata: two\n\n", await reader.readuntil(b"\n\n"))
        writer.close()

    run("sse", scenario)


@needs("curl")
@pytest.mark.process
def test_an_event_stream_has_a_comment_after_the_silence_that_its_client_prefers_at_most() -> None:
    async def scenario(url: str) -> None:
        async with event_stream(f"{url}/a", "-H", "Prefer: wait=1") as stream:
            assert await stream.readuntil(b"\n\n") == b":\n\n"
            await post(f"{url}/a", b"one")
            assert (await event(stream))["data"] == "one"
            assert await stream.readuntil(b"\n\n") == b":\n\n"

    run("sse", scenario)


@needs("curl")
@pytest.mark.process
def test_a_client_that_reads_slowly_gets_what_the_feed_still_holds_and_holds_up_nobody() -> None:
    async def scenario(url: str) -> None:
        place, count, content = urlsplit(url), 300, b"x" * 50_000
        slow = socket.create_connection((str(place.hostname), int(place.port or 0)))
        slow.sendall(b"GET /a HTTP/1.0\r\nHost: localhost\r\n\r\n")
        async with event_stream(f"{url}/a") as fast, ClientSession() as session:
            for number in range(count):
                async with session.post(f"{url}/a", data=b"%d " % number + content) as answer:
                    assert answer.status == 204
                assert (await event(fast))["data"].startswith(f"{number} ")
            await post(f"{url}/a", b"end")
            slow_reader, writer = await asyncio.open_connection(sock=slow, limit=2**20)
            heard: list[int] = []
            missed = 0
            await slow_reader.readuntil(b"\r\n\r\n")
            while (told := await event(slow_reader))["data"] != "end":
                if told.get("event") == "missed":
                    missed += int(told["data"])
                else:
                    heard.append(int(told["data"].partition(" ")[0]))
            assert heard == sorted(set(heard))
            assert len(heard) + missed == count
            assert missed > 0, "the server holds more for it than the feed"
            writer.close()

    run("sse", scenario, capacity=10)


@needs("curl")
@pytest.mark.process
def test_a_server_ends_while_event_streams_are_open() -> None:
    async def main() -> None:
        async with asyncio.timeout(WITHIN_S):
            serving = serve("sse", "embedded")
            url = await serving.__aenter__()
            async with event_stream(f"{url}/a") as stream:
                await serving.__aexit__(None, None, None)
                assert await stream.read() == b""

    asyncio.run(main())


@pytest.mark.parametrize("name", ["long-polling", "sse"])
@pytest.mark.process
def test_subscribers_are_served_before_the_publisher_is_answered(name: str) -> None:
    async def scenario(url: str) -> None:
        place, loop = urlsplit(url), asyncio.get_running_loop()
        request = f"POST /room HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1\r\n\r\nm".encode()
        async with connect(name, url, Meter()) as connection:
            messages = await connection.subscribe("room")
            publisher = await Meter().connect(str(place.hostname), int(place.port or 0))
            with publisher:
                stamped = 0
                while stamped < 10:
                    await loop.sock_sendall(publisher, request)
                    _, _, _, arrived_ns = await anext(messages)
                    assert (await loop.sock_recv(publisher, 2**16)).startswith(b"HTTP/1.1 204")
                    if arrived_ns:  # the kernel begins to stamp a moment after the first socket asked for it
                        assert arrived_ns < publisher.arrived_ns
                        stamped += 1

    run(name, scenario)
