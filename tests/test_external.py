"""Servers that run already: several at once, with names and passwords, under topics of their own."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import rtbench
from rtbench.errors import UsageError
from rtbench.experiments import compare
from rtbench.plan.login import Login
from rtbench.plan.settings import resolve
from rtbench.system.meter import Meter
from rtbench.transports import registry
from tests.conftest import RTBENCH
from tests.programs import needs, path_of

PASSWORD = "RTBENCH_PASSWORD"
HERE = "mqtt://127.0.0.1:1"
QUICK: dict[str, Any] = {"trials": 1, "duration": 0.2, "warmup": 0.0, "repeat": False, "rate": 50.0}


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("open sesame\n")
    return file


@contextmanager
def serving(transport: str, password: Path, *more: str) -> Iterator[str]:
    """Have a server run that asks ann for her password; yield its URL."""
    command = [*RTBENCH, "serve", transport, "--username", "ann", "--password-file", str(password), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"username": "ann"}, "--username is for a server at --url"),
        ({"url": HERE, "username": "ann"}, f"give --password-file, or set {PASSWORD}"),
        (
            {"url": HERE, "username": "ann", "password_file": "/none"},
            "--password-file /none cannot be read: No such file",
        ),
        ({"url": HERE, "password_file": "/none"}, "--password-file needs --username"),
        ({"url": HERE, "client_cert": "x.pem"}, "--client-cert and --client-key go together"),
        ({"url": HERE, "ca": __file__}, "--ca, --client-cert or --client-key cannot be used"),
        ({"url": "mqtt://192.0.2.1:1883"}, "name it again with --allow-host 192.0.2.1"),
        ({"url": "mqtt://192.0.2.1:1883", "allow_host": "192.0.2.2"}, "name it again with --allow-host 192.0.2.1"),
        (
            {"url": "mqtt://192.0.2.1:1883", "allow_host": "192.0.2.1", "subscribers": 30},
            "at most 1000 deliveries a second and 100 connections unless --allow-load is given: this is 1500 and 31",
        ),
        ({"url": [HERE, "mqtt://127.0.0.1:2"]}, "a run measures one variant: give one value for --url"),
        ({"url": HERE, "filters": 5}, "--filters is for a broker that rtbench starts"),
        ({"url": HERE, "tier": "native"}, "leave out --server and --tier"),
        ({"url": "gopher://ann:secret@127.0.0.1:70"}, r"--url gopher://\.\.\. is of no transport"),
    ],
)
def test_what_must_not_be_measured_is_refused(
    flags: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(UsageError, match=reason):
        rtbench.run("mqtt", qos=0, **flags)


def test_a_search_at_another_machine_is_refused_before_it_starts() -> None:
    with pytest.raises(UsageError, match=r"at most 1000 deliveries a second .* this is 5000 and"):
        rtbench.capacity("mqtt", qos=0, url="mqtt://192.0.2.1:1883", allow_host="192.0.2.1", most=500.0)


def test_the_sparse_part_at_another_machine_is_refused_before_it_starts() -> None:
    """It measures all variants at once: here three of them, 200 messages a second to 2 subscribers each."""
    given = {"url": "mqtt://192.0.2.1:1883", "allow_host": "192.0.2.1", "subscribers": 2, "sparse_rate": 200.0}
    with pytest.raises(UsageError, match=r"this is 1200 and 9, of 3 variants at once in the sparse part"):
        rtbench.compare("mqtt", **given)  # type: ignore[arg-type]


def test_another_machine_may_be_named_and_may_get_more_where_that_is_said() -> None:
    given = {
        "transport": ["mqtt"],
        "url": ["mqtt://192.0.2.1:1883"],
        "allow_host": ["192.0.2.1"],
        "allow_load": True,
        "subscribers": 500,
    }
    settings = resolve({name: (value, "argument") for name, value in given.items()}, registry.settings())
    assert [v.url for v in compare.RUN.start(settings).variants] == ["mqtt://192.0.2.1:1883"]


def test_a_url_may_be_of_one_transport_only() -> None:
    given = {"url": ["sse=http://127.0.0.1:1", "http://127.0.0.1:2", HERE], "qos": [1], "client": ["library"]}
    settings = resolve({name: (value, "argument") for name, value in given.items()}, registry.settings())
    found = {(v.transport, v.url) for v in compare.COMPARISON.start(settings).variants}
    of_all = {(name, "http://127.0.0.1:2") for name in ("polling", "long-polling", "sse")}
    assert found == {("sse", "http://127.0.0.1:1"), ("mqtt", HERE), *of_all}


def test_a_login_is_sent_as_the_formats_have_it_and_is_not_shown() -> None:
    login = Login("Aladdin", "open sesame")
    assert login.fields == {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}  # the example of RFC 7617 section 2
    assert login.password_bytes == b"open sesame"
    assert "sesame" not in repr(login)
    assert Login().fields == {}


@pytest.mark.process
@pytest.mark.long
@pytest.mark.parametrize("client", ["library", "lean"])
def test_several_servers_with_a_password_are_compared(client: str, password: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        serving("sse", password) as events,
        serving("websocket", password) as sockets,
        serving("mqtt", password) as mqtt,
    ):
        result = rtbench.compare(
            transport=["sse", "websocket", "mqtt"],
            url=[events, sockets, mqtt],
            username="ann",
            password_file=str(password),
            qos=1,
            client=client,
            sparse=False,
            out=out,
            **QUICK,
        )
    assert {row["transport"]: row["lost"] for row in result.summary} == {"sse": 0, "websocket": 0, "mqtt": 0}
    assert {v.url for v in result.variants} == {events, sockets, mqtt}
    assert all("open sesame" not in path.read_text() for path in out.glob("*.*"))


@pytest.mark.process
@pytest.mark.long
def test_two_servers_of_one_transport_are_told_apart(password: Path) -> None:
    with serving("mqtt", password) as a, serving("mqtt", password) as b:
        result = rtbench.compare(
            transport="mqtt", url=[a, b], username="ann", password_file=str(password), qos=0, sparse=False, **QUICK
        )
    places = [url.removeprefix("mqtt://") for url in (a, b)]
    assert {v.name for v in result.variants} == {f"mqtt-qos0-{place} (external)" for place in places}
    assert [row["failed_trials"] for row in result.summary] == [0, 0]


@pytest.mark.process
def test_a_wrong_password_is_an_error_of_the_trial(password: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "wrong")
    with serving("mqtt", password) as url:
        result = rtbench.run("mqtt", qos=0, url=url, username="ann", **QUICK)
    assert result.trials[0].counts.error is not None
    assert "wrong" not in result.trials[0].counts.error


@needs("mosquitto", "mosquitto_sub")
@pytest.mark.process
@pytest.mark.long
@pytest.mark.parametrize("client", ["library", "lean"])
def test_topics_at_a_broker_of_others_have_a_prefix_of_their_own(client: str, password: Path) -> None:
    with serving("mqtt", password) as url:
        port = url.rpartition(":")[2]
        listen = ["-p", port, "-u", "ann", "-P", "open sesame", "-t", "#", "-v", "-q", "1", "-W", "20", "-C", "10"]
        with subprocess.Popen([path_of("mosquitto_sub") or "", *listen], stdout=subprocess.PIPE, text=True) as hearing:
            rtbench.run("mqtt", qos=1, url=url, username="ann", password_file=str(password), client=client, **QUICK)
            heard, _ = hearing.communicate()
    topics = {line.partition(" ")[0] for line in heard.splitlines()}
    assert topics
    assert all(topic.startswith("rtbench-") and topic.endswith("/fan-out/0") for topic in topics)


@pytest.mark.process
@pytest.mark.parametrize(
    ("client", "websocket"), [pytest.param("library", False, marks=pytest.mark.long), ("lean", False), ("lean", True)]
)
def test_the_sessions_of_clients_that_resume_are_removed(client: str, websocket: bool, password: Path) -> None:
    """The broker says how many clients it knows, connected or not."""
    more = ["--websocket", "yes"] if websocket else []
    with serving("mqtt", password, *more) as url:
        before = clients_of(url)
        result = rtbench.run(
            "mqtt",
            qos=1,
            url=f"mqtt={url}",
            username="ann",
            password_file=str(password),
            client=client,
            reconnect="robust",
            subscribers=3,
            **QUICK,
        )
        assert result.trials[0].counts.error is None
        assert clients_of(url) == before


def clients_of(url: str) -> int:
    """Ask a broker how many sessions it has, without the one that asks."""

    async def ask() -> int:
        connect = registry.client("mqtt", "lean").connect
        assert connect is not None
        async with connect(url, Meter(login=Login("ann", "open sesame")), qos=0) as connection:
            async for _, payload, _, _ in await connection.subscribe("$SYS/broker/clients/total"):
                return int(payload) - 1
        raise AssertionError

    return asyncio.run(ask())
