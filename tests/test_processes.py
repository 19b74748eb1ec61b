"""A trial with several client processes, and with processes whose clocks differ."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtbench.analysis.measured import account_for
from rtbench.plan.variant import DEFAULT_CLIENT, DEFAULT_SERVER
from rtbench.plan.workload import Workload
from rtbench.transports.choice import variants_of
from rtbench.trial import publisher, subscriber
from rtbench.trial.coordinator import SAME_CLOCK
from rtbench.trial.executor import FreshProcesses
from rtbench.trial.planning import TrialPlan
from rtbench.trial.trial import Trial, conduct
from tests.sabotage import clocks
from tests.sabotage.clients import Spoiled

ROOT = Path(__file__).parents[1]


def trial(executor: Executor, workload: Workload, publisher_processes: int, subscriber_processes: int) -> Trial:
    """Run a trial, which must deliver everything."""
    (variant,) = variants_of("websocket", DEFAULT_SERVER, DEFAULT_CLIENT, {})
    processes: Any = {"publisher_processes": publisher_processes, "subscriber_processes": subscriber_processes}
    plan = replace(TrialPlan(0, 0, variant, workload, seed=1), **processes)
    done = asyncio.run(conduct(plan, executor))
    assert done.error is None
    assert done.publishes is not None
    assert done.deliveries is not None
    ledger, _ = account_for(workload, done.publishes, done.deliveries, 0)
    assert ledger.published == len(done.publishes.due_ns) > 0
    assert ledger.delivered == ledger.expected
    assert ledger.lost == ledger.duplicated == ledger.reordered == ledger.unexpected == ledger.corrupt == 0
    return done


@pytest.mark.parametrize(
    ("pattern", "publishers", "subscribers"), [("fan-out", 2, 7), ("fan-in", 6, 3), ("room", 5, 5), ("pairs", 6, 6)]
)
@pytest.mark.process
def test_several_processes_share_publishers_and_subscribers_and_nothing_is_lost(
    pattern: str, publishers: int, subscribers: int
) -> None:
    workload = Workload(pattern, publishers, subscribers, rate_hz=50, duration_s=0.4, warmup_s=0)
    done = trial(FreshProcesses(), workload, 2, 3)
    assert set(done.clocks) == {"publisher-0", "publisher-1", "subscriber-0", "subscriber-1", "subscriber-2"}
    assert (len(done.publishers), len(done.subscribers)) == (2, 3)
    assert all(usage.cpu_ns > 0 for usage in (*done.publishers, *done.subscribers))
    assert done.publishes is not None
    assert done.deliveries is not None
    assert set(done.publishes.publisher.tolist()) == set(range(publishers))
    assert set(done.deliveries.subscriber.tolist()) == set(range(subscribers))


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client processes import what stands in for their functions."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))


SUBSTITUTES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "publisher": (publisher.publish, clocks.publish),
    "subscriber": (subscriber.subscribe, clocks.subscribe),
}


@pytest.mark.parametrize("shifted", [("subscriber",), ("publisher",), ("publisher", "subscriber")], ids=" and ".join)
@pytest.mark.usefixtures("importable")
@pytest.mark.process
def test_a_process_with_another_clock_gives_latencies_of_one_clock(shifted: tuple[str, ...]) -> None:
    workload = Workload("fan-out", 1, 4, rate_hz=50, duration_s=0.4, warmup_s=0)
    done = trial(Spoiled(dict(SUBSTITUTES[role] for role in shifted)), workload, 1, 2)
    for name, clock in done.clocks.items():
        role = name.partition("-")[0]
        if role in shifted:
            assert abs(clock.offset_ns - clocks.AHEAD_NS[role]) <= clock.bound_ns + 1000
        else:
            assert clock == SAME_CLOCK
    bound_ns = sum(clock.bound_ns for clock in done.clocks.values())
    assert done.publishes is not None
    assert done.deliveries is not None
    latency_ns = done.deliveries.received_ns - done.deliveries.due_ns
    least_shift_ns = min(abs(ahead_ns) for ahead_ns in clocks.AHEAD_NS.values())
    assert (latency_ns > -bound_ns).all()
    assert (latency_ns < least_shift_ns / 2).all()
    for times in (done.publishes.sent_ns, done.publishes.done_ns, done.deliveries.arrived_ns):
        assert (abs(times) < least_shift_ns).all()
