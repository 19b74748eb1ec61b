"""Protected servers: what protection costs, what an intruder gets, and that the experiment sees a server that fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtbench.analysis.security import COSTS, AttemptCounts, in_words
from rtbench.analysis.statistics import Estimate
from rtbench.cli import run_program
from rtbench.plan.login import Login
from rtbench.plan.protection import ACCESS_LIST, ENTRANCES, PROTECTIONS
from rtbench.system.tls import make_certificate, server_context
from rtbench.transports import registry
from rtbench.transports.contract import Client
from rtbench.transports.records import AttemptsPlan, AttemptsRecord
from rtbench.transports.serving import serve
from rtbench.trial import intruder
from tests.builders import security_result, variant
from tests.conftest import Program
from tests.mqtt_peers import serving
from tests.programs import needs, programs_of

FEW = 4
PASSWORDS = {"A": "a-secret", "B": "b-secret", "witness": "w-secret"}
SERVERS = [
    *(("embedded", name) for name in ("polling", "long-polling", "sse", "websocket", "mqtt")),
    *(
        pytest.param(server, name, marks=needs(*programs_of(server)))
        for server, name in (("nchan", "long-polling"), ("nchan", "sse"), ("nchan", "websocket"), ("mosquitto", "mqtt"))
    ),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("security")
    users, rights = directory / "users", directory / "rights"
    users.write_text("".join(f"{name}:{password}\n" for name, password in PASSWORDS.items()))
    rights.write_text(ACCESS_LIST)
    return {"users": str(users), "access_list": str(rights)}


def tried(name: str, url: str, entrance: str, ca: str | None = None, **options: Any) -> AttemptsRecord:
    return intruder.attempts(
        AttemptsPlan(
            transport=name,
            options=options,
            url=url,
            ca=ca,
            entrance=entrance,
            attempts=FEW,
            login=Login("A", PASSWORDS["A"]),
            witness=Login("witness", PASSWORDS["witness"]),
        )
    )


@contextlib.contextmanager
def served(name: str, server: str, options: dict[str, Any], tls: Any = None) -> Iterator[str]:
    """Serve a transport in a thread of this process; yield the URL."""
    if server == "embedded":
        with serving(name, tls=tls, **options) as embedded:
            yield embedded.url
        return
    loop = asyncio.new_event_loop()
    context = serve(name, server, options=options, tls=tls)
    try:
        yield loop.run_until_complete(context.__aenter__())
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()


@pytest.mark.parametrize(("server", "name"), SERVERS)
@pytest.mark.process
def test_nobody_gets_in_who_should_not_and_who_should_does(server: str, name: str, files: dict[str, str]) -> None:
    with served(name, server, files) as url:
        for entrance, what in ENTRANCES.items():
            if not what.tls:
                options: dict[str, Any] = {"qos": 1} if name == "mqtt" else {}
                record = tried(name, url, entrance, **options)
                assert sum(record.answers.values()) == FEW
                assert record.let_in == (FEW if what.lets_in else 0), (entrance, record.answers)


@pytest.mark.parametrize(("server", "name"), [SERVERS[2], SERVERS[-1], SERVERS[-2]])
@pytest.mark.process
def test_old_tls_and_an_expired_certificate_end_the_handshake(server: str, name: str, files: dict[str, str]) -> None:
    for entrance in ("tls-1.3", "tls-1.1", "expired-certificate"):
        certificate = make_certificate(expired=entrance == "expired-certificate")
        with certificate.files() as (cert, key), served(name, server, files, server_context(cert, key)) as url:
            record = tried(name, url, entrance, certificate.authority)
            assert record.let_in == (FEW if entrance == "tls-1.3" else 0), record.answers
            if entrance == "expired-certificate":
                assert record.answers == {"the client ends: certificate has expired": FEW}


@pytest.mark.process
def test_an_intruder_notices_a_server_that_lets_everybody_in() -> None:
    for name in ("sse", "mqtt"):
        with serving(name) as open_to_all:
            for entrance in ("no-password", "wrong-password", "publish-forbidden-topic", "subscribe-forbidden-topic"):
                record = tried(name, open_to_all.url, entrance)
                assert record.let_in == FEW, (name, entrance, record.answers)
                assert not AttemptCounts(name, entrance, FEW, record.let_in, record.answers, None).holds


@pytest.mark.process
def test_a_page_gets_in_where_its_origin_is_allowed(files: dict[str, str]) -> None:
    with serving("websocket", allow_origin="https://foreign.example", **files) as server:
        assert tried("websocket", server.url, "foreign-origin").let_in == FEW


@needs("mosquitto")
@pytest.mark.process
def test_mosquitto_confirms_what_it_does_not_deliver(files: dict[str, str]) -> None:
    with served("mqtt", "mosquitto", files) as url:
        assert tried("mqtt", url, "publish-forbidden-topic", qos=1).answers == {"PUBACK, but not delivered": FEW}
        heard = tried("mqtt", url, "subscribe-forbidden-topic", qos=1)
        assert heard.answers == {"SUBACK 1, but not delivered": FEW}


def test_every_transport_but_the_control_can_be_tried() -> None:
    clients: list[Client] = [registry.client(name) for name in registry.installed()]
    assert {client.transport for client in clients if client.attempt is None} == {"tcp"}


# The figures


def test_costs_are_those_of_the_trials_and_ratios_those_to_the_plain_server() -> None:
    result = security_result(variant("sse"), connect_ms={"plain": 1.0, "tls": 3.0}, deliveries=20, cpu_us=2000.0)
    plain, tls = result.rows
    assert plain.cost(COSTS["connect"][2]) == Estimate(1.0, 1.0, 1.0)
    assert plain.ratio(COSTS["connect"][2]) is None
    ratio = tls.ratio(COSTS["connect"][2])
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((3.0, 3.0, 3.0))
    assert plain.cost(COSTS["delivery_cpu"][2]) == Estimate(100.0, 100.0, 100.0)
    assert plain.cost(COSTS["connection_cpu"][2]) == Estimate(200.0, 200.0, 200.0)
    assert [row["connect_ratio"] for row in result.summary] == [None, pytest.approx(3.0)]


def test_a_refused_attempt_is_counted_as_refused() -> None:
    attempts = AttemptCounts("sse", "no-password", 1000, 0, {"401": 998, "connection closed": 2}, None)
    assert (attempts.refused, attempts.holds) == (1000, True)
    assert in_words(attempts) == "401: 998; connection closed: 2"
    result = security_result(variant("sse"))
    result.attempts.append(attempts)
    assert result.problem == 0
    assert "no password" in result.report()
    assert "401: sse (99.8 %); connection closed: sse (0.2 %)" in " ".join(result.report().split())


@pytest.mark.parametrize(("entrance", "let_in"), [("no-password", 1), ("publish-own-topic", 999)])
def test_one_attempt_that_ends_otherwise_than_it_should_is_exit_code_3(entrance: str, let_in: int) -> None:
    result = security_result(variant("sse"))
    result.attempts.append(AttemptCounts("sse", entrance, 1000, let_in, {}, None))
    assert result.exit_code() == 3
    assert f"did not hold: {ENTRANCES[entrance].title}" in result.observe()["sse"]
    assert "NO" in result.report().split()


def test_a_failed_trial_is_told_and_not_counted() -> None:
    result = security_result(variant("sse"), error="the server ended")
    assert result.exit_code() == 1
    assert "sse, plain: the server ended" in result.report()
    assert [row["verdict"] for row in result.summary] == ["invalid"] * len(result.summary)


# The command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--transport", "tcp"), "embedded of tcp cannot be protected: its server has no users"),
        (("--transport", "sse", "--protection", "tsl"), "--protection must be one of plain, tls,"),
        (("--transport", "sse", "--server-option", "users=x"), "a measurement has no users"),
        (("--attempts", "-1"), "--attempts must be 0 to 1000000"),
    ],
)
@pytest.mark.process
def test_what_cannot_be_measured_is_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["security", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.process
@pytest.mark.long
def test_sessions_are_resumed_and_cost_less_than_new_ones(rtbench: Program) -> None:
    few = ("--connections", "5", "--messages", "4", "--duration", "100ms", "--trials", "1", "--attempts", "0")
    protections = ("--protection", "tls", "--protection", "tls-resumed")
    done = rtbench("security", "--transport", "mqtt", "--qos", "1", *protections, *few, "--json", "--out", "out")
    assert done.returncode == 0, done.stderr
    plain, new, resumed = json.loads(done.stdout)["summary"]
    assert [row["protection"] for row in (plain, new, resumed)] == ["plain", "tls", "tls-resumed"]
    assert [(row["handshakes"], row["resumed"]) for row in (plain, new, resumed)] == [(0, 0), (0, 0), (5, 5)]
    if plain["connection_bytes"] is not None:
        # a delivery at QoS 1 is two packets, a TLS 1.3 record each: 22 bytes (RFC 8446 section 5.2)
        assert new["delivery_bytes"] - plain["delivery_bytes"] == pytest.approx(44)
        assert plain["connection_bytes"] < resumed["connection_bytes"] < new["connection_bytes"]


@needs("mosquitto")
@pytest.mark.long
@pytest.mark.process
def test_the_whole_experiment_on_two_servers(rtbench: Program) -> None:
    few = ("--connections", "5", "--messages", "4", "--duration", "100ms", "--trials", "2", "--attempts", "20")
    chosen = ("--transport", "mqtt", "--qos", "0", "--server", "embedded", "--server", "mosquitto")
    done = rtbench("security", *chosen, *few, "--out", "out")
    assert done.returncode == 0, done.stderr + done.stdout
    content = json.loads((rtbench.directory / "out" / "result.json").read_text(encoding="utf-8"))
    assert len(content["trials"]) == 2 * 2 * len(PROTECTIONS)
    assert len(content["attempts"]) == 2 * len(ENTRANCES)
    secrets = [text for text in PASSWORDS.values() if text in json.dumps(content)]
    assert not secrets
    assert rtbench("show", "out").returncode == 0
    assert rtbench("chart", "out").returncode == 0
    assert Path(rtbench.directory / "out" / "attempts.csv").read_text(encoding="utf-8").count("\n") == 21
