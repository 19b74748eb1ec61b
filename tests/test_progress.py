"""Progress: the phases of a trial, the time left, and the line that shows both."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rtbench.experiments.compare import COMPARISON, SparsePart, plans
from rtbench.experiments.idle import IDLE
from rtbench.experiments.progress import Durations, Progress, progress_line
from rtbench.trial.phase import Course, Phase, Standing, closing_s, reporting, return_within_s
from tests import builders
from tests.builders import idle_result, variant

PUSHED = Course(1, 20_000, 20_000, 60_000, schedule_s=3.0, fetching_s=0.0, set_up_within_s=422.0, drain_timeout_s=2.0)
POLLED = Course(1, 10, 10, 400, schedule_s=0.8, fetching_s=600.0, set_up_within_s=1222.0, drain_timeout_s=1202.0)


@pytest.mark.parametrize(
    ("course", "at", "shown", "left_s"),
    [
        (PUSHED, Standing("", 0.2, 0, 0.2), "starting", 40),
        (PUSHED, Standing("connect", 6.0, 12_000, 0.1), "connecting 12,000 of 20,000", 34),
        (PUSHED, Standing("connect", 60.0, 12_000, 0.1), "connecting 12,000 of 20,000", 59),  # slower than expected
        (PUSHED, Standing("connect", 60.0, 0, 60.0), "connecting 0 of 20,000", 381),  # up to the limit
        (PUSHED, Standing("probe", 0.1, 5_000, 0.0), "probing 5,000 of 20,000", 19),
        (PUSHED, Standing("start", 1.0, 1_000, 0.0), "measuring 1,000 of 60,000", 14),
        (PUSHED, Standing("start", 3.5, 59_000, 0.4), "draining 59,000 of 60,000", 14),
        (PUSHED, Standing("start", 3.5, 60_000, 0.4), "draining 60,000 of 60,000", 12),
        (PUSHED, Standing("stop", 2.0, 0, 2.0), "closing", 10),
        (POLLED, Standing("probe", 60.0, 1, 1.0), "probing 1 of 10", 1141),
        (POLLED, Standing("start", 300.0, 0, 300.0), "draining 0 of 400", 301),
        (POLLED, Standing("start", 700.0, 399, 200.0), "draining 399 of 400", 1002),  # one is lost
    ],
)
def test_a_phase_says_what_is_done_and_the_time_left(course: Course, at: Standing, shown: str, left_s: float) -> None:
    phase = course.phase(at)
    assert str(phase) == shown
    assert phase.left_s == pytest.approx(left_s, abs=1.0)


def polled_trial() -> Iterator[tuple[float, Standing]]:
    """Yield the seconds left and the standing, second by second, of a trial that polls every ten minutes."""
    for step, begins_s, lasts_s, count in (("probe", 0, 600, 10), ("start", 600, 601, 400)):
        for second in range(lasts_s):
            share = second / lasts_s
            yield 1201 - begins_s - second, Standing(step, second, int(count * share), second % (lasts_s / count))


def test_the_time_left_of_a_long_wait_is_about_right_all_the_time() -> None:
    for left_s, at in polled_trial():
        assert POLLED.phase(at).left_s == pytest.approx(left_s, abs=3.0), at


@pytest.mark.parametrize("step", ["", "connect", "probe", "start", "stop"])
@pytest.mark.parametrize("course", [PUSHED, POLLED])
def test_no_time_left_is_negative(course: Course, step: str) -> None:
    for elapsed_s in (0.0, 1.0, 10.0, 1e3, 1e5):
        for count in (0, 1, course.deliveries, course.deliveries + 5):
            assert course.phase(Standing(step, elapsed_s, count, elapsed_s)).left_s >= 0


@pytest.mark.parametrize("connections", [1, 100, 15_000, 99_999])
def test_processes_may_take_far_longer_than_expected_to_close_their_connections(connections: int) -> None:
    assert return_within_s(connections) > 5 * closing_s(connections)


def test_a_plan_expects_what_an_interval_implies() -> None:
    result = builders.comparison([variant("polling"), variant("sse")])
    polling = replace(result.variants[0], options={"interval_s": 600.0})
    slow, fast = plans([polling, result.variants[1]], result.workload, 1, result.settings)
    slow, fast = (slow, fast) if slow.variant is polling else (fast, slow)
    assert slow.expected_s - fast.expected_s == pytest.approx(2 * 600.0)
    assert COMPARISON.expected_s(result, SparsePart([fast, slow])) == slow.expected_s


def test_the_phase_is_reported_though_nothing_happens() -> None:
    seen: list[Phase] = []

    async def trial() -> None:
        twice = asyncio.Event()

        def report(phase: Phase) -> None:
            seen.append(phase)
            if len(seen) == 2:
                twice.set()

        async with reporting(lambda: Phase("waiting", 5.0), report), asyncio.timeout(20):
            await twice.wait()

    asyncio.run(trial())
    assert seen == [Phase("waiting", 5.0)] * 2


def test_steps_are_expected_to_take_as_long_as_those_before() -> None:
    durations = Durations()
    assert durations.of("sse", 2.0) == 2.0
    durations.add("polling", 10.0, 10.5)
    assert durations.of("polling", 10.0) == 10.5
    assert durations.of("sse", 2.0) == 2.5
    durations.add("polling", 10.0, 11.5)
    assert durations.of("polling", 10.0) == 11.0


def test_all_that_follows_a_step_is_counted() -> None:
    result = builders.comparison([variant("polling"), variant("sse")], trials=3)
    del result.trials[3:]
    first = plans(result.variants, result.workload, 3, result.settings)[0]
    step = replace(first, block=1, variant=result.variants[1])
    following = {COMPARISON.name(s): number for s, number in COMPARISON.following(result, step)}
    assert following == {"polling": 1, "sse": 1, "all at 0.5/s": 1}
    idle = idle_result(variant("polling"), variant("sse"), variant("websocket"))
    del idle.trials[1:]
    assert [(v.name, number) for v, number in IDLE.following(idle, idle.variants[1])] == [("websocket", 1)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


class Notebook(io.StringIO):
    """A stream as Jupyter's kernel puts it in place of standard output."""


Notebook.__module__ = "ipykernel.iostream"
LONG = Progress("a-transport-with-a-long-name", 13, 16, 60, "connecting 12,000 of 20,000", 5400.0)
SHORT = Progress("sse", 14, 60, 60, "starting", 9.0)


def line_of(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, shown: bool | None = None, columns: int = 100) -> str:
    """Return what is written to a stream while two standings are shown."""
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    monkeypatch.setattr("sys.stdout" if isinstance(stream, Notebook) else "sys.stderr", stream)
    with progress_line(shown) as watch:
        watch(LONG)
        watch(SHORT)
    return stream.getvalue()


def test_the_line_says_no_total_that_is_not_known() -> None:
    assert LONG.line().startswith("trial 13/16 (at most 60), at least 1:30:00 left: a-transport")
    assert SHORT.line() == "trial 14/60, 0:09 left: sse, starting"


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_the_line_is_never_wider_than_the_terminal_and_is_erased(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    written = line_of(Terminal(), monkeypatch, columns=columns)
    first, second, blank, after = written.split("\r")[1:]
    assert max(map(len, (first, second, blank))) < columns
    assert first == LONG.line()[: columns - 1]
    assert second.rstrip() == SHORT.line()[: columns - 1]
    assert len(second) == len(first), "the rest of the longer line before it stays"
    assert (blank.strip(), after) == ("", "")


def test_a_notebook_shows_the_line_and_no_control_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    written = line_of(Notebook(), monkeypatch)
    assert "1:30:00 left" in written
    assert "\x1b" not in written
    assert "\n" not in written


@pytest.mark.parametrize(
    ("stream", "shown", "written"),
    [(io.StringIO, None, False), (io.StringIO, True, True), (Terminal, False, False), (Notebook, False, False)],
)
def test_the_line_is_shown_where_it_can_be_written_over_or_is_asked_for(
    stream: Any, shown: bool | None, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bool(line_of(stream(), monkeypatch, shown)) == written


def test_the_line_is_erased_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)

    def measure() -> None:
        with progress_line() as watch:
            watch(SHORT)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        measure()
    assert stream.getvalue().split("\r")[-2].strip() == ""
