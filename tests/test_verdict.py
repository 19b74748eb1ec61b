"""Every check on synthetic trials that trip it and that do not, and the sabotage of real ones."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import rtbench as package
from rtbench.analysis.measured import Measured
from rtbench.analysis.metrics import summary_row
from rtbench.analysis.verdict import CHECKS, INVALID, SUSPECT, VALID, Finding, judge
from rtbench.plan.faults import Evidence
from rtbench.plan.workload import Workload
from rtbench.result.comparison import Comparison
from rtbench.result.report import overview, remarks
from rtbench.wire.tcp import Direction, Wire
from tests import builders
from tests.builders import variant
from tests.conftest import Program

WORKLOAD = Workload(subscribers=10, rate_hz=100, duration_s=2, warmup_s=0)
VARIANT = variant("websocket")
COUNT = 200
WAY = Direction(100_000, 2000, 500, 104_000, 26_000)
WIRE = Wire(11, WAY, WAY)


def trial(latency_ms: Any = 1.0, lag_ms: Any = 0.1, messages: int = COUNT, **counts: Any) -> Measured:
    """Return a trial in which everything arrived `latency_ms` after it was due."""
    usual: dict[str, Any] = {
        **{f"{part}_{when}_wire": WIRE for part in ("publisher", "subscriber") for when in ("setup", "run", "closing")},
        **{"variant": "websocket", "wall_s": 2.0, "others_cpu": 0.02, "server_rss_bytes": 10**7},
    }
    times_ns = {"latency_ns": np.multiply(latency_ms, 1e6), "lag_ns": np.multiply(lag_ms, 1e6)}
    return builders.trial(WORKLOAD, messages, **times_ns, **{**usual, **counts})


def verdict_of(*trials: Measured) -> tuple[str, str]:
    row = summary_row(VARIANT, trials, WORKLOAD)
    return row["verdict"], row["reasons"]


def findings_of(*trials: Measured) -> list[Finding]:
    return judge(summary_row(VARIANT, trials, WORKLOAD), trials, None)[1]


def lossy(messages: int) -> Measured:
    """A trial of which the last messages reached nobody."""
    return kept(slice(None, -10 * messages))


def kept(deliveries: Any) -> Measured:
    whole = trial()
    columns = {name: c[deliveries] if len(c) else c for name, c in vars(whole.deliveries).items()}
    return replace(whole, deliveries=replace(whole.deliveries, **columns))


def repeated(deliveries: int) -> Measured:
    """A trial of which some deliveries came twice."""
    return kept(np.concatenate([np.arange(COUNT * 10), np.arange(deliveries)]))


def spoiled(deliveries: int) -> Measured:
    """A trial of which some deliveries were corrupt, beside those that were not."""
    twice = repeated(deliveries)
    return replace(twice, deliveries=replace(twice.deliveries, intact=np.arange(COUNT * 10 + deliveries) < COUNT * 10))


def stray(deliveries: int) -> Measured:
    """A trial in which some deliveries were of messages that nobody had sent."""
    more = repeated(deliveries)
    foreign = np.where(np.arange(COUNT * 10 + deliveries) < COUNT * 10, more.deliveries.sequence, 10_000)
    return replace(more, deliveries=replace(more.deliveries, sequence=foreign))


def unanswered(publishes: int) -> Measured:
    """A trial in which the last publishes had no answer; the others had one, or the transport has none."""
    whole = trial()
    done_ns = np.where(np.arange(COUNT) < COUNT - publishes, whole.publishes.done_ns, 0)
    return replace(whole, publishes=replace(whole.publishes, done_ns=done_ns))


RETRANSMITTED = replace(WIRE, retransmitted_bytes=1448)
RISING = np.repeat(np.arange(COUNT) * 10.0, 10)  # milliseconds, by as many as go by
FROZEN = np.where((0 <= np.repeat(np.arange(COUNT) * 10.0 - 700, 10)) & (RISING < 1100), 1100 - RISING, 1.0)
SPREAD = np.random.default_rng(1).uniform(0.5, 500, COUNT * 10)
PAUSED = np.where((RISING >= 700) & (RISING < 795), 795 - RISING + 1, 1.0)  # by 95 ms
HEAP = np.where(np.arange(COUNT * 10) % 10 == 0, 41.0, 1.0)
SOME_LATE = np.where(np.arange(COUNT) % 40 == 0, 1.5, 0.1)  # five of them
TRIPPED = [
    ("a failed trial", [trial(), trial(error="the server died")], INVALID, "1 of 2 trials failed: the server died"),
    ("a link that is another", [trial(link_wrong="the link lost 3 of 3 pings")], INVALID, "in 1 of 1 trials: the link lost 3 of 3 pings"),
    ("a fault that nobody saw", [trial(faults=(Evidence("cut@1s", 10**9, None, None, "pings went on"),))], INVALID, "'cut@1s' was not seen: pings went on"),
    ("a fault that came late", [trial(faults=(Evidence("cut@1s", 10**9, 1_021_000_000, None, "pings paused"),))], INVALID, "'cut@1s' was seen 21 ms late: pings paused"),
    ("an overload", [trial(unfinished=20)], INVALID, "overload: 90% of the offered rate was achieved"),
    ("a pace that is not kept", [trial(pace=0.4)] * 2, INVALID, "40% of the offered rate was achieved"),
    ("a client short of CPU", [trial(client_cpu=0.93)], INVALID, "a client process used 93% of a core"),
    ("a busy machine", [trial(others_cpu=0.9)] * 3, INVALID, "other processes used 90% of a core"),
    ("a very busy trial", [trial(block=0), trial(block=1), trial(block=2, others_cpu=0.8)], SUSPECT, "2 of 3 trials undisturbed: other processes used 80% of a core"),
    ("steal", [trial(stolen_ns=600_000_000)] * 3, INVALID, "the hypervisor took 30% of a core"),
    ("half a per cent lost", [lossy(1)], SUSPECT, "messages were lost: 10 of 2,000"),
    ("much lost", [lossy(60)], INVALID, "messages were lost: 600 of 2,000"),
    ("duplicates", [repeated(20)], SUSPECT, "messages were delivered more than once: 20 deliveries"),
    ("corrupt messages", [spoiled(200)], INVALID, "messages were corrupt: 200 deliveries"),
    ("foreign messages", [stray(4)], SUSPECT, "foreign messages were delivered: 4 deliveries"),
    ("unknown fates", [unanswered(3), trial()], SUSPECT, "the fate of publishes is unknown: 3 of 400 had no answer at the end"),
    ("a freeze of 95 ms in each trial", [trial(PAUSED)] * 5, SUSPECT, "stood still"),
    ("one slow trial of five", [trial()] * 4 + [trial(pace=0.76)], INVALID, "76% of the offered rate was achieved in a trial"),
    ("medians that alternate", [trial(1.0), trial(3.0)] * 2 + [trial(1.0)], SUSPECT, "the trials differ: medians 1, 3, 1, 3, 1 ms"),
    ("Nagle's algorithm", [trial(nagle_sockets=2)], INVALID, "2 sockets without TCP_NODELAY"),
    ("a heap at 40 ms", [trial(HEAP)], SUSPECT, "10% of the latencies lie at 40 ms"),
    ("a late publisher", [trial(latency_ms=4.0, lag_ms=3.0)], SUSPECT, "the publisher was late: 200 of 200 messages by more than 2 ms, at a median latency of 4 ms"),
    ("a publisher that is late now and then", [trial(lag_ms=SOME_LATE), trial()], SUSPECT, "the publisher was late: 5 of 400 messages by more than 1 ms"),
    ("an overload without acknowledgements", [trial(1.0 + RISING * 0.5)], INVALID, "67% of the offered rate was achieved"),
    ("a server that waits for a core", [trial(server_waiting_ns=160_000_000)] * 3, SUSPECT, "the server waited for a core: for 0.8 ms per message, 8% of the time, at a median latency of 1 ms"),
    ("a server that waits long for a core", [trial(30.0, server_waiting_ns=600_000_000)], SUSPECT, "30% of the time"),
    ("a client that waits for a core", [trial(client_waiting_ns=160_000_000)] * 3, SUSPECT, "a client process waited for a core: for 0.8 ms per message"),
    ("a server at its limit", [trial(server_cpu_ns=1_980_000_000)], SUSPECT, "the server was at its limit: 99 % of a core"),
    ("retransmissions", [trial(publisher_run_wire=RETRANSMITTED)], SUSPECT, "1448 bytes were retransmitted on loopback"),
    ("a full listen queue", [trial(), trial(listen_drops=7)], SUSPECT, "a listen queue was full on this machine, by any program: 7 connections were turned away"),
    ("a slow disk", [trial(), trial(io_stalled_ns=300_000_000)], SUSPECT, "a disk was waited for on this machine, by any program: 15% of a trial"),
    ("a freeze", [trial(), trial(FROZEN)], SUSPECT, "the longest 400 ms (median 1 ms)"),
    ("a stepped clock", [trial(clock_step_ns=3_000_000_000)], INVALID, "the clock was set by 3000 ms"),
    ("clocks that are not known", [trial(clock_bound_ns=100_001)], INVALID, "between the clocks is not known well enough: only to 0.1 ms, at a median latency of 1 ms"),
    ("trials that drift", [trial(1.0), trial(1.6), trial(2.5)], SUSPECT, "the trials drift: medians 1, 1.6, 2.5 ms"),
    ("losses in the warm-up", [trial(lost_in_warmup=3)], SUSPECT, "messages were lost in the warm-up: 3 lost"),
    ("too few messages", [trial(messages=9)], SUSPECT, "too few messages: 90 deliveries, and no median; raise --duration"),
]  # fmt: skip


@pytest.mark.parametrize(("trials", "verdict", "reason"), [row[1:] for row in TRIPPED], ids=[row[0] for row in TRIPPED])
def test_what_is_wrong_is_found_and_nothing_else(trials: list[Measured], verdict: str, reason: str) -> None:
    found, reasons = verdict_of(*trials)
    assert found == verdict
    assert reason in reasons
    assert len(findings_of(*trials)) == 1


@pytest.mark.parametrize(("qos", "verdict"), [(0, SUSPECT), (1, SUSPECT), (2, INVALID)])
def test_a_duplicate_is_against_qos_2_only(qos: int, verdict: str) -> None:
    of = variant(f"mqtt-qos{qos}", "mqtt", options={"qos": qos})
    row = summary_row(of, [repeated(1)], WORKLOAD)
    assert row["verdict"] == verdict
    assert "delivered more than once: 1 deliver" in row["reasons"]


def test_half_of_qos_2_twice_is_counted_in_the_table() -> None:
    of = variant("mqtt-qos2", "mqtt", options={"qos": 2})
    result = builders.comparison([of], lambda *_: repeated(COUNT * 5), trials=1)
    assert overview(result).column("lost") == [f"0, {COUNT * 5} twice"]


@pytest.mark.parametrize(
    ("sparse", "verdict", "reason"),
    [
        (trial(), VALID, ""),
        (lossy(1), SUSPECT, "messages were lost in the sparse part: 10 of 2,000"),
        (lossy(60), INVALID, "messages were lost in the sparse part: 600 of 2,000"),
        (spoiled(3), INVALID, "messages were corrupt in the sparse part: 3 deliveries"),
        (trial(error="the server died"), INVALID, "trials failed in the sparse part: 1 of 1"),
    ],
    ids=["clean", "a loss", "much lost", "corrupt", "failed"],
)
def test_the_sparse_part_delivers_every_message_too(sparse: Measured, verdict: str, reason: str) -> None:
    row = summary_row(VARIANT, [trial()], WORKLOAD, sparse=[sparse])
    assert row["verdict"] == verdict
    assert reason in row["reasons"]


def test_a_variant_without_a_trial_is_invalid() -> None:
    found, reasons = verdict_of()
    assert found == INVALID
    assert "no trial was measured" in reasons


@pytest.mark.parametrize(
    ("lag_ms", "causes"), [(0.5, ["the publisher was late beside the fastest variant"]), (0.1, [])]
)
def test_a_lag_that_is_half_of_the_fastest_variant_spoils_the_comparison(lag_ms: float, causes: list[str]) -> None:
    """At 250 ms, as polling has, half a millisecond of lag is nothing by itself; where another takes 1 ms, it is."""
    trials = [trial(latency_ms=250.0, lag_ms=lag_ms)] * 3
    row = summary_row(VARIANT, trials, WORKLOAD)
    assert judge(row, trials, None) == (VALID, [])
    assert [finding.cause for finding in judge(row, trials, 1.0)[1]] == causes


def test_one_cause_is_printed_once_with_the_variants_that_it_concerns() -> None:
    variants = [variant(name, slot=slot) for slot, name in enumerate(("sse", "tcp", "websocket"))]
    drops = {"sse": 7, "tcp": 7, "websocket": 0}
    result = builders.comparison(variants, lambda _, v, __: trial(listen_drops=drops[v.name]), trials=1)
    printed = " ".join(result.report().split())
    assert printed.count("a listen queue was full") == 1
    assert "by any program: sse, tcp: 7 connections were turned away. Advice:" in printed


@pytest.mark.parametrize(("ready", "remarked"), [("due_ns", True), ("sent_ns", False)])
def test_waiting_for_a_turn_is_remarked_and_a_late_generator_is_not_taken_for_it(ready: str, remarked: bool) -> None:
    held_back = trial(latency_ms=40.0, lag_ms=30.0, messages=1000)
    ready_ns = getattr(held_back.publishes, ready)
    held_back.publishes = replace(held_back.publishes, ready_ns=ready_ns)
    said = " ".join(remarks(summary_row(VARIANT, [held_back], WORKLOAD)))
    assert ("waited for their turn" in said) == remarked


@cache
def tripped_rows() -> list[tuple[Any, list[Measured]]]:
    return [(summary_row(VARIANT, row[1], WORKLOAD), row[1]) for row in TRIPPED]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_has_a_row_that_trips_it(check: Any) -> None:
    assert any(check(row, trials) for row, trials in tripped_rows())


def test_what_the_kernel_does_not_tell_is_not_held_against_anybody() -> None:
    unknown: dict[str, Any] = dict.fromkeys(("server_waiting_ns", "client_waiting_ns", "listen_drops", "io_stalled_ns"))
    assert verdict_of(trial(**unknown)) == (VALID, "")


CLEAN = [
    ("one trial", [trial()]),
    ("a probe that overtook an acknowledgement", [trial(server_retransmitted_bytes=100)]),
    ("five alike", [trial(1.0 + n % 2 / 10) for n in range(5)]),
    ("a burst of others in a trial", [trial(), trial(), trial(others_cpu=0.2)]),
    ("a trial that was disturbed and repeated", [trial(), trial(others_cpu=0.9), trial()]),
    ("a polling client's even spread across 40 ms", [trial(SPREAD)]),
    ("latencies that all are a little above 40 ms", [trial(np.linspace(30, 60, COUNT * 10))]),
    ("trials that differ a little", [trial(1.0), trial(2.0), trial(1.1)]),
    ("few polls in each trial", [trial(SPREAD[:100], messages=10), trial(SPREAD[:100] + 400, messages=10)]),
    ("a publisher that is late in one of a hundred", [trial(lag_ms=SOME_LATE)] + [trial()] * 2),
    ("a hiccup in a short trial", [trial(lag_ms=np.where(np.arange(100) < 2, 5.0, 0.1), messages=100)]),
    ("a lag that is small beside the latency", [trial(latency_ms=250.0, lag_ms=3.0)]),
    ("deliveries that come as fast as they are due, later and later by a hair", [trial(1.0 + RISING * 0.02)]),
    ("a polling client that happens to poll later after what is due late", [trial(1.0 + (600 - RISING) % 1000)]),
    ("a server that waited for a core in one trial", [trial(), trial(), trial(server_waiting_ns=120_000_000)]),
    ("a server that waits as it does on an idle machine", [trial(server_waiting_ns=80_000_000)]),
    ("a client that waits as it does on an idle machine", [trial(client_waiting_ns=80_000_000)]),
    ("a journal that is written now and then", [trial(io_stalled_ns=20_000_000)]),
    ("a polling client's longest delivery", [trial(np.where(SPREAD > 499, 900.0, SPREAD))]),
    ("the tail of an idle machine", [trial(np.where(np.arange(COUNT * 10) == 999, 60.0, 1.0))]),
    ("a thousand deliveries", [trial(messages=100)]),
    ("a slewed clock", [trial(clock_step_ns=900)]),
    ("clocks that are known well enough", [trial(clock_bound_ns=99_000)]),
]


@pytest.mark.parametrize("trials", [row[1] for row in CLEAN], ids=[row[0] for row in CLEAN])
def test_what_is_right_is_valid(trials: list[Measured]) -> None:
    assert verdict_of(*trials) == (VALID, "")


def _verdict(rtbench: Program) -> tuple[str, str]:
    content = json.loads((rtbench.directory / "out" / "result.json").read_text())
    return content["variants"][0]["verdict"], content["variants"][0]["reasons"]


@pytest.mark.process
@pytest.mark.alone
def test_a_busy_core_makes_a_run_invalid(rtbench: Program) -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        done = rtbench(
            "run", "--transport", "websocket", "--trials", "2", "--duration", "500ms", "--strict", "--out", "out"
        )
        spinning.kill()
    assert done.returncode == 4, done.stdout
    verdict, reasons = _verdict(rtbench)
    assert verdict == INVALID
    assert "other processes used" in reasons


@pytest.mark.process
@pytest.mark.alone
def test_more_than_a_publisher_can_send_is_an_overload(rtbench: Program) -> None:
    flags = (
        "--rate",
        "20000",
        "--subscribers",
        "1",
        "--trials",
        "1",
        "--duration",
        "300ms",
        "--warmup",
        "0",
        "--strict",
    )
    done = rtbench("run", "--transport", "polling", *flags, "--out", "out")
    assert done.returncode == 4, done.stdout
    verdict, reasons = _verdict(rtbench)
    assert verdict == INVALID
    assert "overload" in reasons


@pytest.mark.process
@pytest.mark.alone
def test_a_frozen_server_is_charged_for_every_message_that_was_due_meanwhile(rtbench: Program) -> None:
    flags = ("--rate", "200", "--subscribers", "1", "--trials", "1", "--duration", "3s", "--warmup", "0")
    process = rtbench.start("run", "--transport", "websocket", *flags, "--out", "out")
    frozen_ms = 1000 * rtbench.freeze_server(0.8)
    process.communicate(timeout=60)
    result = package.load(rtbench.directory / "out")
    assert isinstance(result, Comparison)
    latency_ms = result.latency_ms("websocket")
    longest = latency_ms.max()
    assert longest > 0.75 * frozen_ms  # the sends went on
    assert result.summary["websocket"]["lag_p99_ms"] < longest / 5
    assert "stood still" in result.summary["websocket"]["reasons"]
    # messages were due evenly all through the freeze, so a quarter of it was waited by three quarters of those
    assert (latency_ms > longest / 4).sum() > 0.5 * 200 * longest / 1000 * 0.75
