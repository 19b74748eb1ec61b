"""The checks of the laws, on records that are made up: right ones hold, wrong ones do not."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from rtbench.analysis import laws
from rtbench.analysis.law_check import FAILS, HOLDS, NOT_MEASURED, UNDECIDED, Check, Seen
from rtbench.analysis.measured import Measured
from rtbench.analysis.statistics import Estimate
from rtbench.cli import run_program
from rtbench.errors import UsageError
from rtbench.experiments import load, laws as experiment, together
from rtbench.plan import laws as plan
from rtbench.plan.laws import at_knee, at_random, flooded, slow
from rtbench.plan.settings import resolve
from rtbench.result.laws import LawsResult
from tests.builders import ENVIRONMENT, changed, trial

RTT_MS = 100.0
D = RTT_MS / 2
SET_UPS = {each.name: each for each in plan.set_ups(RTT_MS / 1e3)}
LOSS, CLOSING = "websocket, loss", "sse, a connection for each request"
BUSY = at_random(max(plan.POISSON))


def made(name: str, hop_ms: ArrayLike = D, publish_ms: float = D, connect: float = 0.0, **counts: Any) -> Measured:
    """A trial of a set-up on one topic; `hop_ms` is the delivery hop of all messages or of each."""
    workload = replace(SET_UPS[name], topics=1, subscribers=1).workload(RTT_MS / 1e3)
    hops_ns = np.asarray(hop_ms, dtype=float) * 1e6
    latency_ns = np.ceil((publish_ms * 1e6 + hops_ns) * 1.5)  # two thirds of it are when the kernel had it
    return trial(
        workload,
        hops_ns.size if hops_ns.ndim else 60,
        latency_ns,
        lag_ns=0,
        stamped=True,
        relayed_after_ns=publish_ms * 1e6,
        connect_ns=(round(connect * RTT_MS * 1e6),) if connect else (),
        variant=name,
        **counts,
    )


def at_rate(name: str, per_s: float) -> Measured:
    """A trial whose publishes are finished at a rate, in the bursts of a window."""
    measured = made(name)
    count = np.arange(round(per_s * measured.workload.schedule_ns / 1e9))
    bursts = count // plan.WINDOW * plan.WINDOW
    publishes = {"done_ns": (bursts / per_s * 1e9).astype(np.int64), "status": np.ones(len(count), dtype=np.int64)}
    return replace(measured, publishes=replace(measured.publishes, **publishes))


def waits(rate: float) -> NDArray[np.float64]:
    """What Poisson messages wait, evenly over their distribution."""
    share = np.linspace(0, 1, 5001)
    idle = np.exp(-rate) / (rate + np.exp(-rate))
    return D + RTT_MS * np.clip((share - idle) / (1 - idle), 0, None)


RIGHT: dict[str, Callable[[float], Measured]] = {  # by set-up: a trial as the law says it, stretched by a factor
    **{at_knee(r): lambda f, r=r: made(at_knee(r), f * (D if r < 1 else 2 * D)) for r in plan.KNEE},  # type: ignore[misc]
    "websocket": lambda f: made("websocket", f * D, connect=2 * f),
    "websocket, TLS": lambda f: made("websocket, TLS", connect=3 * f),
    "tcp": lambda f: made("tcp", connect=2 * f),
    "sse": lambda f: made("sse", f * D, f * D, connect=2 * f),
    CLOSING: lambda f: made(CLOSING, D, 3 * f * D),
    "polling": lambda f: made("polling", f * (D + np.linspace(0, plan.INTERVAL * RTT_MS, 2001))),
    **{at_random(r): lambda f, r=r: made(at_random(r), f * waits(r)) for r in plan.POISSON},  # type: ignore[misc]
    **{
        slow(q): lambda f, q=q: made(slow(q), f * (5 * D if q == 2 else D), f * D, connect=3 * f)  # type: ignore[misc]
        for q in (0, 1, 2)
    },
    **{flooded(q): lambda f, q=q: at_rate(flooded(q), f * 200 / q) for q in (1, 2)},  # type: ignore[misc]
    LOSS: lambda f: made(LOSS, [D] * 20 + [D + 250 if f == 1 else D]),
}


def seen(wrong: str = "", factor: float = 1.0) -> Seen:
    """Five trials of every set-up, those of `wrong` stretched by a factor."""
    return Seen({name: [make(factor if name == wrong else 1.0)] * 5 for name, make in RIGHT.items()}, RTT_MS)


def verdicts(law: str, of: Seen) -> list[str]:
    return [check.verdict for check in laws.checks(law, of)]


@pytest.mark.parametrize("law", laws.LAWS)
def test_a_law_holds_on_records_that_follow_it(law: str) -> None:
    assert {*verdicts(law, seen())} == {HOLDS}


NEEDED = [(law, each.name) for each in SET_UPS.values() for law in each.laws]


@pytest.mark.parametrize(("law", "name"), NEEDED)
def test_a_law_does_not_hold_on_records_that_are_a_tenth_off(law: str, name: str) -> None:
    assert FAILS in verdicts(law, seen(name, 1.1))
    if name != LOSS:  # which has a limit at one side only
        assert FAILS in verdicts(law, seen(name, 0.9))


@pytest.mark.parametrize("law", laws.LAWS)
def test_every_set_up_of_a_law_is_needed_for_it(law: str) -> None:
    for name in RIGHT:
        without = Seen({other: [make(1.0)] for other, make in RIGHT.items() if other != name}, RTT_MS)
        assert (NOT_MEASURED in verdicts(law, without)) == ((law, name) in NEEDED), name


def test_a_message_that_is_lost_breaks_the_law_of_loss() -> None:
    right = made(LOSS, [D] * 20 + [D + 250])
    lost = replace(right.deliveries, **{name: column[1:] for name, column in vars(right.deliveries).items()})
    with_loss = Seen({LOSS: [right, replace(right, deliveries=lost)]}, RTT_MS)
    assert verdicts("L14", with_loss) == [FAILS, HOLDS]


def test_a_trial_that_failed_or_had_another_link_is_not_counted_and_says_why() -> None:
    of = Seen({"sse": [made("sse", error="the server died"), changed(made("sse"), link_wrong="too slow")]}, RTT_MS)
    (check,) = laws.checks("L2", of)
    assert (check.verdict, check.reason) == (NOT_MEASURED, "sse: the server died")


def test_without_the_stamps_of_the_kernel_a_law_is_not_measured() -> None:
    measured = made("sse")
    unstamped = replace(measured, deliveries=replace(measured.deliveries, arrived_ns=np.empty(0, dtype=np.int64)))
    (check,) = laws.checks("L2", Seen({"sse": [unstamped]}, RTT_MS))
    assert check.verdict == NOT_MEASURED
    assert "receive stamps" in check.reason


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(96, 104, HOLDS), (94, 104, UNDECIDED), (96, 106, UNDECIDED), (90, 110, UNDECIDED), (106, 120, FAILS), (80, 94, FAILS)],
)
def test_a_law_is_decided_by_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert Check("", "", "ms", 100, 95, 105, Estimate(100, low, high)).verdict == verdict


def test_without_an_interval_the_value_decides() -> None:
    assert [Check("", "", "", 1, 0.95, 1.05, Estimate(value)).verdict for value in (1, 1.06)] == [HOLDS, FAILS]


@pytest.mark.parametrize(("rate", "mean_ms"), [(0.01, 50.5), (0.1, 55.0), (0.4, 68.7), (2, 96.8), (10, 100.0)])
def test_the_law_of_poisson_arrivals_has_the_values_that_were_computed_and_simulated(rate: float, mean_ms: float) -> None:
    assert laws.poisson_mean_ms(rate, RTT_MS) == pytest.approx(mean_ms, abs=0.05)
    assert simulated_mean_ms(rate) == pytest.approx(mean_ms, rel=0.01)


def simulated_mean_ms(rate: float, messages: int = 200_000) -> float:
    """The mean delay of a server that answers a waiting request with all it has, and gets the next a round trip later."""
    arrivals = np.cumsum(np.random.default_rng(1).exponential(RTT_MS / rate, messages)).tolist()
    request_ms = total_ms = 0.0  # when the next request is there
    answered_ms = -RTT_MS
    for at in arrivals:
        if at > request_ms:  # it finds the request waiting
            answered_ms = at
        elif answered_ms < request_ms:  # it is the first that waits for the request
            answered_ms = request_ms
        total_ms += answered_ms - at + D
        request_ms = answered_ms + RTT_MS if at > request_ms - RTT_MS else request_ms
    return total_ms / messages


def test_the_distance_from_uniform_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    distance, bound = laws.uniform_distance([values[:100], values[100:]], 1, 9)
    assert distance == pytest.approx(scipy.stats.kstest(values, scipy.stats.uniform(1, 8).cdf).statistic)
    assert scipy.stats.kstwobign.sf(bound * 20) == pytest.approx(0.01, rel=0.02)
