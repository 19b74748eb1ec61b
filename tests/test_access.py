"""Who may use a server: its names, the origins of pages, a user; and how long it waits for what a client must say first."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from websockets import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

from rtbench.cli.serve import exposure
from rtbench.errors import UsageError
from rtbench.transports.access import Access
from rtbench.transports.permissions import permissions_of
from rtbench.transports.serving import serve
from rtbench.wire import mqtt
from tests.mqtt_peers import WITHIN_S, Broker, Raw, connect, serving
from tests.programs import needs

HTTP = ("polling", "long-polling", "sse", "websocket")
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n"


def access(
    address: str = "127.0.0.1", username: str | None = None, password: str | None = None, **options: str
) -> Access:
    listener = SimpleNamespace(getsockname=lambda: (address, 8000))
    return Access(cast(socket.socket, listener), permissions=permissions_of(username, password), **options)


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


def ask(port: int, name: str, method: str, *fields: str, topic: str = "room", body: str = "") -> tuple[int, str]:
    """Return the status and the head of the answer to one request."""
    lines = [f"{method} /{topic} HTTP/1.1", *fields, "Connection: close", f"Content-Length: {len(body)}", "", body]
    if name == "websocket":
        lines = [f"GET /{topic} HTTP/1.1", *fields, UPGRADE, ""]
    with socket.create_connection(("127.0.0.1", port), WITHIN_S) as connection:
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
        assert ask(server.port, server.transport, "POST", own, known)[0] == welcome
        assert ask(server.port, server.transport, "POST", own)[0] == 401
        assert ask(server.port, server.transport, "POST", own, f"Authorization: {basic('ann:wrong')}")[0] == 401
        assert ask(server.port, server.transport, "POST", "Host: evil.example", known)[0] == 421
        assert ask(server.port, server.transport, "POST", own, known, "Origin: https://evil.example")[0] == 403
        assert ask(server.port, server.transport, "POST", own, known, "Origin: https://a.example")[0] == welcome


# Access lists, in the format of mosquitto's


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two users; A may use `devices/a` and what is below it, and only read or only write two other topics."""
    directory = tmp_path_factory.mktemp("access")
    users, rights = directory / "users", directory / "rights"
    users.write_text("A:pw:a\n# a comment\nB:pw-b\n")
    rights.write_text(
        "user A\ntopic devices/a/#\ntopic read news\ntopic write inbox\n\npattern readwrite of/%u\n"
        "user B\ntopic readwrite devices/b/#\n"
    )
    return {"users": str(users), "access_list": str(rights)}


@pytest.mark.parametrize("server", ["embedded", pytest.param("nchan", marks=needs("nginx", "nchan"))])
@pytest.mark.parametrize("name", HTTP)
@pytest.mark.process
def test_a_user_keeps_to_the_topics_of_the_access_list(name: str, server: str, files: dict[str, str]) -> None:
    with served(name, server, files) as port:
        host = f"Host: 127.0.0.1:{port}"

        def answer(topic: str, method: str = "GET", user: str = "A:pw:a") -> int:
            if name == "websocket":
                topic += "?publish" * (method == "POST")
            fields = [host, "Accept: text/event-stream" if name == "sse" else "Accept: */*"]
            return ask(port, name, method, *fields, f"Authorization: {basic(user)}", topic=topic)[0]

        assert [answer(t) for t in ("devices/b/1", "devices/ab", "inbox", "of/B", "devices/%62/1")] == [403] * 5
        assert [answer(t, "POST") for t in ("devices/b/1", "news", "of/B", "devices")] == [403] * 4
        welcome = (101, 200, 201, 202, 204, 304)
        assert all(answer(t, "POST") in welcome for t in ("devices/a/1", "devices/a", "inbox", "of/A"))
        if name != "long-polling":  # of nchan: it waits
            assert all(answer(t) in welcome for t in ("devices/a/1", "devices/a", "news", "of/A"))
        assert answer("devices/b/1", "POST", "B:pw-b") in welcome
        assert {answer("devices/b/1", user=user) for user in ("B:pw:a", "C:pw-b", ":")} == {401}


@contextlib.contextmanager
def served(name: str, server: str, files: dict[str, str]) -> Iterator[int]:
    """Serve a transport in this process; yield the port."""
    if server == "embedded":
        with serving(name, **files) as embedded:
            yield embedded.port
        return
    loop = asyncio.new_event_loop()
    context = serve(name, server, options=files)
    try:
        yield int(re.findall(r":(\d+)", loop.run_until_complete(context.__aenter__()))[0])
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


@pytest.mark.process
def test_a_websocket_of_somebody_who_may_only_read_ends_when_it_publishes(files: dict[str, str]) -> None:
    with serving("websocket", **files) as server:
        fields = {"Authorization": basic("A:pw:a")}
        with connect_websocket(f"ws://127.0.0.1:{server.port}/news", additional_headers=fields) as reader:
            reader.send("nobody asked me")
            with pytest.raises(ConnectionClosed, match="1008"):
                reader.recv(WITHIN_S)


@pytest.mark.process
def test_an_access_list_at_the_broker(files: dict[str, str]) -> None:
    with serving("mqtt", **files) as broker:
        a = connect(broker, "a", username="A", password=b"pw:a")
        filters = ("devices/a/#", "devices/+/1", "#", "news", "inbox", "devices/a/+", "of/A", "$SYS/#")
        a.send(mqtt.Subscribe(1, tuple((text, 1) for text in filters)))
        assert a.receive() == mqtt.Suback(1, (1, 128, 128, 1, 128, 1, 1, 128))
        b = connect(broker, "b", username="B", password=b"pw-b")
        b.subscribe(("devices/b/#", 0))
        connect(broker, username="A", password=b"pw:a").publish("devices/a/1", b"mine")
        assert a.payloads() == [b"mine"]
        for qos in range(3):
            intruder = connect(broker, username="A", password=b"pw:a")
            intruder.send(mqtt.Publish("devices/b/1", b"theirs", qos, packet_id=qos or None))
            assert intruder.is_closed()
        assert b.payloads() == []


@pytest.mark.process
def test_a_will_on_a_forbidden_topic_is_not_published_and_a_session_stays_its_owner_s(files: dict[str, str]) -> None:
    with serving("mqtt", **files) as broker:
        b = connect(broker, "b", username="B", password=b"pw-b", clean_session=False)
        b.subscribe(("devices/b/#", 1))
        a = connect(broker, "a", username="A", password=b"pw:a", will=mqtt.Will("devices/b/1", b"gone", 1, False))
        a.reset()
        thief = Raw(broker.port)
        thief.send(mqtt.Connect("b", clean_session=False, username="A", password=b"pw:a"))
        assert thief.receive() == mqtt.Connack(False, mqtt.IDENTIFIER_REJECTED)
        assert b.payloads() == []


@pytest.mark.parametrize(
    ("users", "rights", "message"),
    [
        ("A", "", r"users line 1: write NAME:PASSWORD"),
        ("A B:x", "", r"users line 1: write NAME:PASSWORD"),
        ('A":x', "", r"users line 1: write NAME:PASSWORD"),
        ("A:x\nA:y", "", r"users line 2: A stands there twice"),
        ("\n", "", "has no user"),
        ("A:x", "topic a", r"rights line 1: write `user NAME` before the first topic"),
        ("A:x", "user B", r"rights line 1: there is no user 'B'"),
        ("A:x", "user A\ntopic read a/#/b", r"rights line 2: 'a/#/b' is no topic filter"),
        ("A:x", "user A\ntopic deny a", r"rights line 2: `deny` is not known"),
        ("A:x", "allow a", r"rights line 1: write `user NAME`, or"),
    ],
)
def test_what_is_no_list_of_users_or_rights_is_refused(tmp_path: Path, users: str, rights: str, message: str) -> None:
    (tmp_path / "users").write_text(users)
    (tmp_path / "rights").write_text(rights)
    with pytest.raises(UsageError, match=message):
        permissions_of(users=str(tmp_path / "users"), access_list=str(tmp_path / "rights"))


def test_an_access_list_needs_users_and_one_user_is_enough(tmp_path: Path) -> None:
    (tmp_path / "rights").write_text("user A\ntopic a\n")
    with pytest.raises(UsageError, match="--access-list needs users"):
        permissions_of(access_list=str(tmp_path / "rights"))
    with pytest.raises(UsageError, match="exclude each other"):
        permissions_of("A", "x", users="file")
    assert permissions_of("A", "x", access_list=str(tmp_path / "rights")).may_publish("A", "a")


@pytest.mark.process
def test_a_foreign_page_publishes_nothing_and_a_named_one_sees_the_answer() -> None:
    with serving("polling", allow_origin="https://a.example") as server:
        own = f"Host: localhost:{server.port}"
        status, head = ask(server.port, server.transport, "POST", own, "Origin: https://evil.example", body="x")
        assert status == 403
        assert "Access-Control" not in head
        status, head = ask(server.port, server.transport, "OPTIONS", own, "Origin: https://a.example")
        assert status == 204
        assert "Access-Control-Allow-Origin: https://a.example" in head
        status, head = ask(server.port, server.transport, "HEAD", own, f"Origin: http://localhost:{server.port}")
        assert status == 204
        assert f"Access-Control-Allow-Origin: http://localhost:{server.port}" in head
        assert re.search(r'ETag: "\w+-0"', head)  # nothing was published
        assert "Access-Control" not in ask(server.port, server.transport, "HEAD", own)[1]


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
    ask(server.port, server.transport, "HEAD", "Host: localhost")  # now the server has read the part, too
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
        ask(server.port, server.transport, "HEAD", "Host: localhost")
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
        statuses = [
            ask(server.port, server.transport, "POST", "Host: localhost", topic=topic)[0]
            for topic in ("a", "b", "c", "a")
        ]
        assert statuses == [welcome, welcome, 503, welcome]
        if name == "polling":
            assert (
                ask(server.port, server.transport, "HEAD", "Host: localhost", topic="c")[0] == 204
            )  # to ask takes no room


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
            "(--tls-cert and --tls-key change that), and no password is asked for (--users changes that)",
        ),
        (
            "https://10.0.0.1:80",
            {},
            True,
            "warning: everyone who reaches 10.0.0.1, port 80, can use this server: no password is asked for (--users "
            "changes that)",
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
