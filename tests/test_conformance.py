"""`rtbench contract`: each way in which a transport breaks its contract is found and named, also where it blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import rtbench
from rtbench.cli import run_program
from rtbench.conformance import watching
from rtbench.conformance.case import Broken
from rtbench.conformance.running import run
from rtbench.conformance.subject import Subject, subjects_of
from rtbench.conformance.watching import FAILED, NOT_RUN, PASSED, SKIPPED, Outcome, outcomes
from rtbench.errors import UsageError
from tests import blocking
from tests.plugins import FAILS, case_of, importable, installed, modules, place

TCP, OTHER = (Subject(name, "embedded", "library") for name in ("tcp", "other"))
LONG_S, SHORT_S = 15.0, 1.0  # for what must come; for what never comes


@dataclass
class Fault:
    """What is wrong in which part, what it is found by, and what is said of it."""

    where: str
    code: str
    case: str
    said: str
    within_s: float = LONG_S


ORDER, FIRST = (
    "overlapping publishes keep their order",
    "a message reaches every subscriber of its topic in order and nobody else",
)
FAULTS = [
    Fault("server", "payload = payload.replace(b' ', b'_')", "a text arrives as it was sent: a space", "message 1 of 3 was b'_' instead of b' '"),
    Fault("server", "if payload == b'7': return", FIRST, "message 8 of 20 was b'8' instead of b'7'"),
    Fault("server", "self._topic = self._topic.upper()", "topics that look alike are two: capitals", "2 messages came instead of 1"),
    Fault("server", "fail()", FIRST, f"; nobody caught {FAILS['other_server.py']}", SHORT_S),
    Fault("server", "TASKS.append(asyncio.ensure_future(later())); return", FIRST, f"; nobody caught {FAILS['other_server.py']}", SHORT_S),
    Fault("publish", "await asyncio.sleep(0.05 if payload == b'0' else 0)", "a publish does not overtake those that still wait for the first connection", "message 1 of 21 was b'1' instead of b'0'"),
    Fault("publish", "return await super().publish(topic, payload) or None", "publish says for every message whether the server acknowledges", "neither all True nor all False"),
    Fault("publish", "await asyncio.sleep(60)", FIRST, f"not done within 1 s: it waits in {place('other_client.py', '{publish}')}", SHORT_S),
    Fault("subscribe", "topic = topic.replace('+', 'x').replace('#', 'x')", "wildcards work where the client says so and are refused elsewhere", "a subscription to room/+/heat was not refused"),
    Fault("deliver", "message = ('room', *message[1:])", "a message names its topic", "was ('room', b'x', 0) instead of ('a/b', b'x', 0)"),
    Fault("deliver", "fail()", FIRST, FAILS["other_client.py"]),
    Fault("connect", "meter = rtbench.transports.Meter(meter.tls)", "the meter has every connection and none waits for nagle", "the meter has 0 of "),
    Fault("connect", "TASKS.append(asyncio.ensure_future(asyncio.sleep(60)))", "a client that is left leaves no task and no connection", "not done within 1 s", SHORT_S),
]  # fmt: skip


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Return what installs the transport `other` with something wrong in it, until the test ends."""
    with ExitStack() as stack:
        yield lambda **code: stack.enter_context(installed(tmp_path / "installed", *modules(**code)))


def parameter(fault: Fault) -> Any:
    mark = pytest.mark.long if fault.within_s == SHORT_S else pytest.mark.process
    return pytest.param(fault, id=f"{fault.where}: {fault.code}", marks=[mark])


@pytest.mark.parametrize("fault", [parameter(fault) for fault in FAULTS])
def test_a_fault_is_found_and_named(fault: Fault, broken: Callable[..., None]) -> None:
    broken(**{fault.where: fault.code})
    with pytest.raises(Broken) as found:
        run(case_of(fault.case), OTHER, fault.within_s)
    assert fault.said in str(found.value)


@pytest.mark.process
def test_without_a_fault_each_of_these_cases_passes(broken: Callable[..., None]) -> None:
    broken()
    for text in {fault.case for fault in FAULTS}:
        run(case_of(text), OTHER, LONG_S)


BLOCKED = [
    ("time.sleep(60)", f"the transport blocks the event loop in {place('other_server.py', '{server}')}"),
    ("re.match('(a+)+$', 'a' * 40 + 'b')", "the transport blocks, and holds Python's lock"),
    ("os._exit(7)", "the transport ended the process (code 7)"),
]


@pytest.mark.process
@pytest.mark.parametrize(("code", "said"), BLOCKED)
def test_a_transport_that_blocks_is_ended_and_named(
    code: str, said: str, broken: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MOST_LATE", 1)
    broken(server=code)
    trying = outcomes(OTHER, 0.5)
    assert next(trying) == Outcome(OTHER, FIRST, FAILED, said)
    if "_exit" not in code:
        assert {(rest.state, rest.reason) for rest in trying} == {(NOT_RUN, "1 case had not ended in time")}
    del trying
    assert psutil.Process().children() == []


@pytest.mark.process
def test_a_client_that_cannot_be_cancelled_is_named(broken: Callable[..., None]) -> None:
    stubborn = (
        "\n        while True:\n            with contextlib.suppress(asyncio.CancelledError): await asyncio.sleep(60)"
    )
    broken(publish=stubborn)
    trying = outcomes(OTHER, 0.5)
    assert next(trying).reason == "not done within 0.5 s, nor 0.1 s after it was cancelled"


@pytest.mark.process
def test_every_case_of_a_transport_is_printed_and_3_is_the_exit_code_if_one_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [Outcome(TCP, "it works", PASSED), Outcome(TCP, "it waits", SKIPPED, "no ::1")]
    monkeypatch.setattr(watching, "outcomes", lambda _subject: said)
    assert run_program(["contract", "tcp"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tcp (server embedded, client library)"
    assert lines[1:3] == ["  passed   it works", "  skipped  it waits: no ::1"]
    assert lines[-1] == "2 passed, 0 failed, 2 skipped"
    said.append(Outcome(TCP, "it hurries", FAILED, "it was late"))
    assert run_program(["contract", "tcp"]) == 3
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 2 failed, 2 skipped"


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pigeon"], "unknown transport 'pigeon'"),
        (["tcp", "--server", "pigeon"], "tcp has no server 'pigeon'"),
        (["tcp", "--client", "pigeon"], "tcp has no client 'pigeon'"),
    ],
)
def test_what_is_not_installed_is_a_usage_error(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["contract", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_client_with_a_loop_of_its_own_has_no_connections_to_test(tmp_path: Path) -> None:
    blocking.install(tmp_path)
    with importable(tmp_path), pytest.raises(UsageError, match="the client 'blocking' of tcp has no `connect`"):
        subjects_of("tcp", client="blocking")


@pytest.mark.process
def test_python_has_every_outcome_of_every_variant_also_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "outcomes", lambda subject: [Outcome(subject, "it works", PASSED)])
    found = [str(outcome.subject) for outcome in rtbench.contract("mqtt")]
    plain = [f"mqtt-qos{qos} (server embedded, client library)" for qos in range(3)]
    assert found == plain + [name.replace(")", ", over TLS)") for name in plain]
