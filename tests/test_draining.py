"""The end of a trial: what is late is waited for, and a duplicate that comes after everything else is counted."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from rtbench.analysis.ledger import Ledger
from rtbench.analysis.measured import account_for
from rtbench.links.link import HERE, Place
from rtbench.plan.variant import DEFAULT_CLIENT, DEFAULT_SERVER
from rtbench.plan.workload import Workload
from rtbench.transports import registry
from rtbench.transports.choice import variants_of
from rtbench.transports.serving import serve
from rtbench.trial.planning import TrialPlan
from rtbench.trial.servers import RunningServer
from rtbench.trial.trial import conduct

MESSAGES = 10
WORKLOAD = Workload("fan-out", 1, 1, rate_hz=100, duration_s=MESSAGES / 100, warmup_s=0)
(VARIANT,) = variants_of("tcp", DEFAULT_SERVER, DEFAULT_CLIENT, {})
PLAN = TrialPlan(0, 0, VARIANT, WORKLOAD, seed=1)

Last = Callable[[Callable[[], None]], object]


class Here:
    """A server in this process."""

    @asynccontextmanager
    async def running(self, place: Place = HERE) -> AsyncIterator[RunningServer]:
        async with serve("tcp") as url:
            yield RunningServer(url)


def ledger(monkeypatch: pytest.MonkeyPatch, plan: TrialPlan, last: Last) -> Ledger:
    """Run a trial in this process, in which the server treats the last message with `last`."""
    connection: Any = inspect.getmodule(registry.server("tcp").serve)
    publish, count = connection.Connection.publish, 0

    def counting(self: Any, payload: bytes) -> None:
        nonlocal count
        count += 1
        if count == 1 + MESSAGES:  # the readiness probe is one
            last(lambda: publish(self, payload))
        else:
            publish(self, payload)

    monkeypatch.setattr(connection.Connection, "publish", counting)
    trial = asyncio.run(conduct(plan, ThreadPoolExecutor(2), source=Here()))
    assert trial.error is None
    assert trial.publishes is not None
    assert trial.deliveries is not None
    return account_for(WORKLOAD, trial.publishes, trial.deliveries, 0)[0]


def late(after_s: float) -> Last:
    return lambda send: asyncio.get_running_loop().call_later(after_s, send)


def twice(after_s: float) -> Last:
    def send_twice(send: Callable[[], None]) -> None:
        send()
        late(after_s)(send)

    return send_twice


@pytest.mark.process
def test_a_duplicate_after_all_expected_deliveries_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ledger(monkeypatch, replace(PLAN, settle_s=1.0), twice(0.15))  # a busy machine may be late by a while
    assert (found.delivered, found.lost, found.duplicated) == (MESSAGES, 0, 1)


@pytest.mark.parametrize(("drain_s", "lost"), [(None, 0), (0.5, 1)])
@pytest.mark.process
@pytest.mark.long
def test_what_is_late_is_waited_for_as_long_as_asked(
    monkeypatch: pytest.MonkeyPatch, drain_s: float | None, lost: int
) -> None:
    found = ledger(monkeypatch, replace(PLAN, drain_s=drain_s), late(1.2))
    assert (found.delivered, found.lost, found.duplicated) == (MESSAGES - lost, lost, 0)


def test_the_client_says_how_long_to_wait_unless_the_user_does() -> None:
    (polling,) = variants_of("polling", DEFAULT_SERVER, DEFAULT_CLIENT, {"interval": "3s"})
    plan = replace(PLAN, variant=polling)
    assert [replace(plan, drain_s=s).drain_timeout_s for s in (None, 0.5, 60.0)] == [8.0, 0.5, 60.0]
