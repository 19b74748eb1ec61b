"""Who may use a server: its names, the origins of pages, a user; and how long it waits for what a client must say first."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from rtbench.cli.serve import exposure
from rtbench.errors import UsageError
from rtbench.transports.access import Access
from tests.mqtt_peers import WITHIN_S, Broker, serving

HTTP = ("polling", "long-polling", "sse", "websocket")
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n"


def access(address: str = "127.0.0.1", **options: str) -> Access:
    listener = SimpleNamespace(getsockname=lambda: (address, 8000))
    return Access(cast(socket.socket, listener), **options)


@pytest.mark.parametrize(
    ("address", "host", "is_own"),
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "LOCALHOST:80", True),
        ("127.0.0.1", "127.0.0.2:8000", True),
        ("127.0.0.1", socket.gethostname(), True),
        ("127.0.0.1", "[::1]:8000", True),
        ("127.0.0.1", "evil.example:8000", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "10.0.0.7", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", ":8000", False),
        ("127.0.0.1", "127.0.0.1.evil.example:8000", False),
        ("127.0.0.1", "2130706433", False),
        ("0.0.0.0", "10.0.0.7:8000", True),
        ("0.0.0.0", "evil.example", False),
    ],
)
def test_a_server_answers_to_its_own_names(address: str, host: str, is_own: bool) -> None:
    assert (access(address).refusal({"Host": host}) is None) == is_own
    assert access(address, allow_host="*").refusal({"Host": host}) is None


def test_more_names_can_be_given() -> None:
    named = access(allow_host="bench.example, Other.example")
    assert named.refusal({"Host": "bench.example:8000"}) is None
    assert named.refusal({"Host": "other.example"}) is None
    assert named.refusal({"Host": "third.example"}) is not None


@pytest.mark.parametrize(
    ("allowed", "origin", "status"),
    [
        (None, "http://127.0.0.1:8000", None),
        (None, "https://127.0.0.1:8000", None),
        (None, "http://127.0.0.1:8001", 403),
        (None, "http://evil.example", 403),
        (None, "null", 403),
        ("https://a.example,http://b.example:81", "https://a.example", None),
        ("https://a.example,http://b.example:81", "http://b.example:81", None),
        ("https://a.example,http://b.example:81", "http://a.example", 403),
        ("https://a.example", "https://a.example.evil.example", 403),
        ("*", "null", None),
    ],
)
def test_pages_of_other_origins_must_be_named(allowed: str | None, origin: str, status: int | None) -> None:
    refusal = access(**({"allow_origin": allowed} if allowed else {})).refusal(
        {"Host": "127.0.0.1:8000", "Origin": origin}
    )
    assert (refusal and refusal.status) == status


@pytest.mark.parametrize(
    "text", ["a.example", "https://", "ftp://a.example", "https://a.example/", "https://a.example,b"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no origin; write it like https://example\.org"):
        access(allow_origin=text)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "refused"),
    [
        (basic("ann:p:ß"), False),
        (basic("ann:p:ß").replace("Basic", "basic"), False),
        (basic("ann:P"), True),
        (basic("bob:p:ß"), True),
        (basic("ann"), True),
        ("Basic", True),
        ("Basic ====", True),
        ("Basic é", True),
        (basic("ann:p:ß").replace("Basic", "Bearer"), True),
        ("", True),
    ],
)
def test_a_user_and_a_password(authorization: str, refused: bool) -> None:
    asks = access(username="ann", password="p:ß")
    refusal = asks.refusal({"Host": "localhost", "Authorization": authorization})
    assert (refusal is not None) == refused
    assert refusal is None or (refusal.status, refusal.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    assert asks.refusal({"Host": "localhost"}, preflight=True) is None


@pytest.mark.parametrize("options", [{"username": "ann"}, {"password": "p"}])
def test_a_user_without_a_password_or_the_other_way_round(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="go together"):
        access(**options)


# The servers


def ask(server: Broker, method: str, *fields: str, topic: str = "room", body: str = "") -> tuple[int, str]:
    """Return the status and the head of the answer to one request."""
    lines = [f"{method} /{topic} HTTP/1.1", *fields, "Connection: close", f"Content-Length: {len(body)}", "", body]
    if server.transport == "websocket":
        lines = [f"GET /{topic} HTTP/1.1", *fields, UPGRADE, ""]
    with socket.create_connection(("127.0.0.1", server.port), WITHIN_S) as connection:
        connection.sendall("\r\n".join(lines).encode())
        head = b""
        while b"\r\n\r\n" not in head and (data := connection.recv(4096)):
            head += data
    return int(head.split()[1]), head.partition(b"\r\n\r\n")[0].decode()


@pytest.mark.parametrize("name", HTTP)
@pytest.mark.process
def test_every_server_asks_who_it_is(name: str) -> None:
    with serving(name, username="ann", password="pw", allow_origin="https://a.example") as server:
        own, known = f"Host: 127.0.0.1:{server.port}", f"Authorization: {basic('ann:pw')}"
        welcome = 101 if name == "websocket" else 204
        assert ask(server, "POST", own, known)[0] == welcome
        assert ask(server, "POST", own)[0] == 401
        assert ask(server, "POST", own, f"Authorization: {basic('ann:wrong')}")[0] == 401
        assert ask(server, "POST", "Host: evil.example", known)[0] == 421
        assert ask(server, "POST", own, known, "Origin: https://evil.example")[0] == 403
        assert ask(server, "POST", own, known, "Origin: https://a.example")[0] == welcome


@pytest.mark.process
def test_a_foreign_page_publishes_nothing_and_a_named_one_sees_the_answer() -> None:
    with serving("polling", allow_origin="https://a.example") as server:
        own = f"Host: localhost:{server.port}"
        status, head = ask(server, "POST", own, "Origin: https://evil.example", body="x")
        assert status == 403
        assert "Access-Control" not in head
        status, head = ask(server, "OPTIONS", own, "Origin: https://a.example")
        assert status == 204
        assert "Access-Control-Allow-Origin: https://a.example" in head
        status, head = ask(server, "HEAD", own, f"Origin: http://localhost:{server.port}")
        assert status == 204
        assert f"Access-Control-Allow-Origin: http://localhost:{server.port}" in head
        assert re.search(r'ETag: "\w+-0"', head)  # nothing was published
        assert "Access-Control" not in ask(server, "HEAD", own)[1]


@pytest.mark.process
def test_a_browser_that_opens_a_websocket_server_gets_a_page() -> None:
    with serving("websocket") as server, socket.create_connection(("127.0.0.1", server.port), WITHIN_S) as browser:
        browser.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert browser.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")


# What does not come in time


def closed(connection: socket.socket) -> bool:
    connection.settimeout(WITHIN_S)
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def slow() -> Iterator[tuple[Broker, socket.socket]]:
    with serving("polling") as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(WITHIN_S)
        yield server, connection


def answer(connection: socket.socket) -> bytes:
    return connection.recv(4096).split(b"\r\n")[0]


HEAD = b"HEAD /a HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("before", [b"", HEAD])
@pytest.mark.parametrize("part", [b"", b"G", HEAD[:-3]])
@pytest.mark.process
def test_a_head_comes_in_time_or_not_at_all(slow: tuple[Broker, socket.socket], before: bytes, part: bytes) -> None:
    server, connection = slow
    if before:
        connection.sendall(before)
        assert answer(connection) == b"HTTP/1.1 204 No Content"
    connection.sendall(part)
    ask(server, "HEAD", "Host: localhost")  # now the server has read the part, too
    server.advance(9)
    server.advance(5)
    if before and not part:
        connection.sendall(HEAD)  # an idle connection stays
        assert answer(connection) == b"HTTP/1.1 204 No Content"
    else:
        assert closed(connection)


@pytest.mark.process
def test_a_body_and_an_answer_may_take_longer(slow: tuple[Broker, socket.socket]) -> None:
    server, connection = slow
    connection.sendall(b"POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n")
    for byte in (b"a", b"b", b"c"):
        ask(server, "HEAD", "Host: localhost")
        server.advance(20)
        connection.sendall(byte)
    assert answer(connection) == b"HTTP/1.1 204 No Content"
    server.advance(20)
    connection.sendall(HEAD)
    assert answer(connection) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("first", [b"X room\n", b"room\n", b"S" * 1025, b"S " + b"x" * 1024 + b"\n", b"\n"])
@pytest.mark.process
def test_tcp_says_what_a_first_line_is(first: bytes) -> None:
    with serving("tcp") as server, socket.create_connection(("127.0.0.1", server.port), WITHIN_S) as connection:
        connection.sendall(first)
        assert connection.makefile("rb").read() == b"the first line is `P topic` or `S topic`, of at most 1024 bytes\n"


@pytest.mark.process
def test_tcp_waits_for_the_first_line_no_longer_than_for_a_head() -> None:
    with serving("tcp") as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"S roo")
        with socket.create_connection(("127.0.0.1", server.port), WITHIN_S) as other:
            other.sendall(b"S room\n")
            assert other.recv(1) == b"\n"
        server.advance(11)
        assert closed(connection)


@pytest.mark.process
def test_tcp_takes_no_message_that_is_too_long() -> None:
    with serving("tcp") as server, socket.create_connection(("127.0.0.1", server.port), WITHIN_S) as connection:
        connection.sendall(b"P room\n\xff\xff\xff\xff")
        assert closed(connection)


@pytest.mark.parametrize("name", ["polling", "sse", "websocket"])
@pytest.mark.process
def test_topics_are_bounded(name: str) -> None:
    with serving(name, max_topics=2) as server:
        welcome = 101 if name == "websocket" else 204
        statuses = [ask(server, "POST", "Host: localhost", topic=topic)[0] for topic in ("a", "b", "c", "a")]
        assert statuses == [welcome, welcome, 503, welcome]
        if name == "polling":
            assert ask(server, "HEAD", "Host: localhost", topic="c")[0] == 204  # to ask takes no room


@pytest.mark.parametrize(
    ("url", "given", "encrypted", "warning"),
    [
        ("http://127.0.0.1:80", {}, False, ""),
        ("ws://[::1]:80", {}, False, ""),
        (
            "http://0.0.0.0:80",
            {},
            False,
            "warning: everyone who reaches any address of this machine, port 80, can use this server: nothing is encrypted "
            "(--tls-cert and --tls-key change that), and no password is asked for (--username and --password-file change that)",
        ),
        (
            "https://10.0.0.1:80",
            {},
            True,
            "warning: everyone who reaches 10.0.0.1, port 80, can use this server: no password is asked for (--username and "
            "--password-file change that)",
        ),
        (
            "wss://10.0.0.1:80",
            {"username": "ann"},
            True,
            "",
        ),
    ],
)
def test_serve_warns_of_what_others_can_do(url: str, given: dict[str, str], encrypted: bool, warning: str) -> None:
    assert exposure(url, {"username": ""}, given, encrypted=encrypted) == warning


def test_serve_says_which_server_cannot_ask_for_a_password() -> None:
    assert exposure("tcp://10.0.0.1:80", {}, {}, encrypted=True).endswith(": this server cannot ask for a password")
