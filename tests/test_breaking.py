"""What was seen of a fault: by the witness of a link, and by subscribers that left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from rtbench.links.packet_link import packet_link_missing
from rtbench.links.stream_link import StreamLink
from rtbench.links.witness import Gap
from rtbench.plan.faults import MOST_LATE_NS, Evidence, Fault, parse_fault
from rtbench.plan.reconnect import Reconnect
from rtbench.plan.records import SUBSCRIBER, Outage
from rtbench.plan.workload import Workload
from rtbench.transports import registry
from rtbench.transports.choice import variants_of
from rtbench.trial.breaking import link_evidence, offline_evidence
from rtbench.trial.counting import measured
from rtbench.trial.executor import FreshProcesses
from rtbench.trial.planning import TrialPlan
from rtbench.trial.trial import Trial, conduct

MS = 1_000_000
CUT, STALL, LEAVE = (parse_fault(text) for text in ("cut@1s", "stall@2s for 1s", "offline@1s for 2s of 50%"))


def gap(before_ms: float, after_ms: float | None, reset: bool = False) -> Gap:
    return Gap(round(before_ms * MS), None if after_ms is None else round(after_ms * MS), reset)


def test_each_fault_has_the_gap_that_is_nearest_to_its_time() -> None:
    gaps = [gap(999, 1004, reset=True), gap(1998, 3001)]
    assert link_evidence(CUT, gaps).began_ns == 999 * MS
    assert link_evidence(STALL, gaps).began_ns == 1998 * MS
    assert not link_evidence(CUT, gaps).wrong
    assert not link_evidence(STALL, gaps).wrong


@pytest.mark.parametrize(
    ("fault", "gaps", "said"),
    [
        (CUT, [], "'cut@1s' was not seen: the pings of the witness went on"),
        (CUT, [gap(999, 1100)], "was not seen"),  # silence is no reset
        (STALL, [gap(2021, 3021)], "was seen 21 ms late"),
        (STALL, [gap(1979, 2979)], "was seen 21 ms early"),
        (STALL, [gap(999, 1004, reset=True)], "was seen 1001 ms early"),
    ],
)
def test_a_fault_that_did_not_happen_as_planned_has_no_evidence(fault: Fault, gaps: list[Gap], said: str) -> None:
    assert said in link_evidence(fault, gaps).wrong


def test_what_was_under_way_when_a_discard_began_is_no_delay_of_it() -> None:
    discard = parse_fault("discard@2s for 1s")
    assert link_evidence(discard, [gap(2030, 3005, reset=True)], 30 * MS).began_ns == 2000 * MS
    assert link_evidence(STALL, [gap(2003, 3005)], 30 * MS).began_ns == 2003 * MS


def test_evidence_may_be_late_by_the_limit() -> None:
    assert not Evidence("cut@1s", 10**9, 10**9 + MOST_LATE_NS, None, "").wrong
    assert Evidence("cut@1s", 10**9, 10**9 + MOST_LATE_NS + 1, None, "").wrong


def left(at_ms: int, back_ms: int = 0, planned: bool = True) -> Outage:
    return Outage(SUBSCRIBER, 0, lost_ns=at_ms * MS, back_ns=back_ms * MS, planned=planned)


def test_subscribers_that_left_are_the_evidence_of_offline() -> None:
    evidence = offline_evidence(LEAVE, [left(1001, 3010), left(1002, 3050), left(1003, planned=False)])
    assert (evidence.began_ns, evidence.ended_ns) == (1002 * MS, 3050 * MS)
    assert evidence.seen == "2 subscribers left, 2 came back"
    assert not evidence.wrong


def test_one_subscriber_that_left_late_makes_it_late() -> None:
    assert "late" in offline_evidence(LEAVE, [left(1001), left(1030)]).wrong
    assert "not seen" in offline_evidence(LEAVE, [left(1001, planned=False)]).wrong


# in a trial

FAULT = parse_fault("cut@200ms")


def a_trial(transport: str, link: str, network: str = "loopback", faults: tuple[Fault, ...] = ()) -> Trial:
    (variant,) = variants_of(transport, "embedded", "library", {}, all_of_them=False)
    variant = type(variant)(**{**vars(variant), "network": network, "link": link})
    workload = Workload("fan-out", 1, 2, 50.0, "constant", 100, 0.5, 0.0)
    reconnect = Reconnect() if faults else None
    plan = TrialPlan(0, 0, variant, workload, 1, faults=faults, reconnect=reconnect)
    return asyncio.run(conduct(plan, FreshProcesses()))


NEEDS_PACKETS = pytest.mark.skipif(bool(packet_link_missing()), reason="no packet link here")


@pytest.mark.process
@pytest.mark.parametrize("link", ["stream", pytest.param("packet", marks=[pytest.mark.long, NEEDS_PACKETS])])
def test_a_fault_of_a_link_leaves_evidence_and_nothing_is_lost_by_who_resumes(link: str) -> None:
    trial = a_trial("sse", link, faults=(FAULT,))
    assert trial.error is None
    (evidence,) = trial.evidence
    assert "was reset" in evidence.seen
    counted = measured(trial, registry.client("sse").predict)
    assert counted.ledger.lost == 0
    assert {outage.role for outage in trial.outages} >= {SUBSCRIBER}


@pytest.mark.process
def test_a_fault_that_nobody_does_makes_the_trial_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: StreamLink, faults: Mapping[int, Fault]) -> None:
        pass

    monkeypatch.setattr(StreamLink, "plan", nothing)
    trial = a_trial("tcp", "stream", faults=(FAULT,))
    assert trial.error is None
    assert [e.wrong for e in trial.evidence] == ["'cut@200ms' was not seen: the pings of the witness went on"]


@pytest.mark.process
@pytest.mark.parametrize(
    "link", [pytest.param("stream", marks=pytest.mark.long), pytest.param("packet", marks=NEEDS_PACKETS)]
)
def test_over_a_link_messages_take_the_way_there_and_the_way_on_and_the_same_bytes(link: str) -> None:
    """Loopback and link differ in latency, and in nothing that goes over the connections."""
    here, there = (measured(a_trial("websocket", *where), None) for where in (("loopback",), (link, "rtt=40ms")))
    assert 40 <= there.latency_ms.min() < 80
    wires = [trial.counts.subscriber_run_wire for trial in (here, there)]
    assert wires[0] is not None
    assert wires[1] is not None
    assert wires[1].down.carried_bytes == wires[0].down.carried_bytes
