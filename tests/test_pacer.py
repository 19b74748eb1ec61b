"""The pacer on a clock of the test's own: an alarm that rings late, and a loop whose every turn takes its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeAlias

import numpy as np
import pytest

from rtbench.trial import pacer

NewLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]
LATE_NS = 230_000  # how late an alarm rings on a core that was idle
TURN_NS = 10_000  # of the event loop
LONG_TURN_NS = 22_000  # it passes the time when a message is due, after the alarm and one more turn


class Clock:
    """Stands where the module expects `time`: it goes on by a turn each time it is read, and leaps when all sleep."""

    def __init__(self) -> None:
        self.now_ns = 10**9
        self.awake_ns = 0
        self.alarms_late_ns = LATE_NS

    def monotonic_ns(self) -> int:
        self.now_ns += TURN_NS
        self.awake_ns += TURN_NS
        return self.now_ns


class LateAlarm:
    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self.clock, self.loop, self.callback = clock, loop, callback

    def set(self, at_ns: int) -> None:
        self.clock.now_ns = max(self.clock.now_ns, at_ns + self.clock.alarms_late_ns)
        self.loop.call_soon(self.callback)

    def close(self) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pacer, "time", made)
    monkeypatch.setattr(pacer, "make_alarm", lambda loop, callback: LateAlarm(made, loop, callback))
    return made


def lags(clock: Clock, gaps_ns: list[int], new_loop: NewLoop = asyncio.SelectorEventLoop) -> list[int]:
    """Return how late each message is called for, in order."""
    due_ns = (clock.now_ns + 10**7 + np.cumsum([0, *gaps_ns])).tolist()
    called: list[int] = []
    late: list[int] = []

    def send(position: int) -> None:
        called.append(position)
        late.append(clock.now_ns - due_ns[position])

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(pacer.pace(due_ns, send))
    assert called == list(range(len(due_ns)))
    assert min(late) >= 0, "nothing is called for before it is due"
    return late


def test_a_late_alarm_makes_no_late_message(clock: Clock) -> None:
    assert max(lags(clock, [20_000_000] * 50)) <= 2 * TURN_NS


def test_without_waking_early_every_message_would_be_as_late_as_the_alarm(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacer, "EARLY_NS", 0)
    assert min(lags(clock, [20_000_000] * 50)) >= LATE_NS


def test_a_message_does_not_wait_for_a_long_turn_of_the_loop(clock: Clock) -> None:
    class SlowLoop(asyncio.SelectorEventLoop):
        def call_soon(self, *call: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
            clock.now_ns += LONG_TURN_NS
            return super().call_soon(*call, context=context)

    gaps_ns = np.random.default_rng(1).integers(19_000_000, 21_000_000, 200).tolist()
    assert max(lags(clock, gaps_ns, SlowLoop)) <= TURN_NS


@pytest.mark.parametrize("rate_hz", [1, 50, 166, 1000, 5000, 100_000])
@pytest.mark.parametrize("poisson", [False, True], ids=["constant", "poisson"])
def test_the_loop_turns_for_a_twentieth_of_the_time_at_most(clock: Clock, rate_hz: int, poisson: bool) -> None:
    mean_ns = 10**9 // rate_hz
    gaps = np.random.default_rng(1).exponential(mean_ns, 400).astype(int).tolist() if poisson else [mean_ns] * 400
    clock.alarms_late_ns = 0  # so that all of the time before a message is spent turning
    began_ns = clock.now_ns
    lags(clock, gaps)
    turns_that_any_pacer_takes_ns = 2 * TURN_NS * (len(gaps) + 2)
    assert clock.awake_ns - turns_that_any_pacer_takes_ns <= (clock.now_ns - began_ns) / 20


@pytest.mark.parametrize("due_ns", [[], [5], [5, 5, 5], [1, 2, 3]])
def test_what_was_due_already_is_called_for_at_once(clock: Clock, due_ns: list[int]) -> None:
    called: list[int] = []
    asyncio.run(pacer.pace(due_ns, called.append))
    assert called == list(range(len(due_ns)))


def test_a_pacer_that_is_cancelled_calls_for_nothing_more(clock: Clock) -> None:
    called: list[int] = []

    async def main() -> None:
        due_ns = [
            clock.now_ns + 20 * TURN_NS,
            clock.now_ns + 10**9,
        ]  # at a gap of which it turns, waiting for the first
        pacing = asyncio.create_task(pacer.pace(due_ns, called.append))
        await asyncio.sleep(0)
        pacing.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        assert pacing.cancelled()

    asyncio.run(main())
    assert called == []
    assert clock.now_ns < 10**9 + 20 * TURN_NS


def test_the_real_alarm_rings() -> None:
    called: list[int] = []

    async def main() -> None:
        now_ns = time.monotonic_ns()
        await asyncio.wait_for(pacer.pace([now_ns + 10**6, now_ns + 50 * 10**6], called.append), 20)
        assert time.monotonic_ns() >= now_ns + 50 * 10**6

    asyncio.run(main())
    assert called == [0, 1]
