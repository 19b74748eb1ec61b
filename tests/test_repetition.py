"""Trials that something else disturbed are run again: how often, and what of them counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rtbench as package
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.experiments.compare import COMPARISON, SparsePart
from rtbench.result.comparison import Comparison
from rtbench.result.report import report
from rtbench.trial.planning import TrialPlan
from tests import builders
from tests.builders import settings
from tests.conftest import Program

CHOSEN = {"transport": ["sse", "websocket"], "control": False, "sparse": False, "rate": 100.0, "repeat": True}
DISTURBED_MS, QUIET_MS = 30.0, 1.0
Busy = Callable[[TrialPlan], bool]


def go_on(result: Comparison, busy: Busy, steps: int | None = None) -> Comparison:
    """Take the steps of a comparison without a process; while the machine is busy, everything is slow."""
    for count, step in enumerate(COMPARISON.steps(result), start=1):
        assert not isinstance(step, SparsePart)
        counts: dict[str, Any] = {"index": step.index, "block": step.block, "variant": step.variant.name}
        latency_ms, others = (DISTURBED_MS, 0.9) if busy(step) else (QUIET_MS, 0.0)
        result.add(
            builders.trial(step.workload, latency_ns=latency_ms * 1e6, stamped=True, others_cpu=others, **counts)
        )
        if count == steps:
            break
    return result


def compared(busy: Busy, trials: int = 3, **flags: Any) -> Comparison:
    return go_on(COMPARISON.start(settings(**{**CHOSEN, "trials": trials, **flags})), busy)


def test_a_machine_left_alone_repeats_nothing() -> None:
    result = compared(lambda _: False)
    assert (len(result.trials), result.repeated) == (6, 0)


def test_a_disturbed_trial_is_run_again_and_stays_in_the_result_outside_the_figures() -> None:
    result = compared(lambda plan: plan.index in (1, 4))
    spoiled = [result.trials[1].counts, result.trials[4].counts]
    assert len(result.trials) == 8
    assert [(t.counts.block, t.counts.variant) for t in result.trials[6:]] == [(c.block, c.variant) for c in spoiled]
    assert set(result.summary.column("verdict")) == {VALID}
    assert set(result.summary.column("latency_p50_ms")) == {QUIET_MS}
    assert [len(result.latency_ms(name)) for name in ("sse", "websocket")] == [3 * 60 * 10] * 2
    trial_rows = result.trial_table.column("disturbed")
    assert [bool(row) for row in trial_rows] == [False, True, False, False, True, False, False, False]


def test_the_report_names_the_spoiled_trials() -> None:
    result = compared(lambda plan: plan.index == 1)
    said = " ".join(report(result).split())
    named = f"other processes used 90% of a core in trial 1 ({result.trials[1].counts.variant})"
    assert f"Disturbed trials, run again and not part of any figure: {named}." in said


def test_a_disturbed_trial_counts_if_it_is_not_to_be_repeated() -> None:
    result = compared(lambda plan: plan.index == 1, repeat=False)
    assert len(result.trials) == 6
    assert np.max(result.summary.column("latency_p50_ms")) <= DISTURBED_MS
    assert sum(verdict != VALID for verdict in result.summary.column("verdict")) == 1


def test_a_machine_that_is_busy_all_the_time_ends_the_repetitions_after_a_block_in_vain() -> None:
    result = compared(lambda _: True, trials=5)
    assert len(result.trials) == 10 + 3  # a block of two variants, and three at least
    assert set(result.summary.column("verdict")) == {INVALID}


def test_there_are_at_most_as_many_repetitions_as_trials() -> None:
    result = compared(lambda plan: plan.index < 6 or plan.index % 2 == 0, trials=3)
    assert result.repeated <= result.planned_trials == 6
    never_the_same = compared(lambda plan: plan.index % 3 != 2, trials=3)
    assert never_the_same.repeated <= never_the_same.planned_trials


def test_repetitions_are_resumed_where_they_were_interrupted() -> None:
    def busy(plan: TrialPlan) -> bool:
        return plan.index in (1, 4)

    interrupted = go_on(COMPARISON.start(settings(**CHOSEN, trials=3)), busy, steps=7)
    assert len(interrupted.trials) == 7
    resumed = go_on(interrupted, busy)
    assert [t.counts.index for t in resumed.trials] == list(range(8))
    assert [(t.counts.block, t.counts.variant) for t in resumed.trials] == [
        (t.counts.block, t.counts.variant) for t in compared(busy).trials
    ]


def test_what_an_interruption_left_is_said() -> None:
    def left(steps: int, **flags: Any) -> str:
        begun = COMPARISON.start(settings(**{**CHOSEN, "trials": 2, **flags}))
        return go_on(begun, lambda plan: plan.index == 1, steps).missing

    assert left(3) == "3 of 4 trials"
    assert left(4) == "repetitions of disturbed trials are missing"
    assert left(5, sparse=True) == "the sparse part is missing"


def test_a_precision_asks_for_more_trials_only_after_the_disturbed_ones_were_repeated() -> None:
    result = compared(lambda plan: plan.index == 1, trials=3, precision=0.5, most_trials=6)
    assert (len(result.trials), result.blocks) == (11, 5)
    blocks = [trial.counts.block for trial in result.trials]
    assert blocks == [0, 0, 1, 1, 2, 2, 0, 3, 3, 4, 4]


@pytest.mark.parametrize("strict", [False, True])
def test_only_strict_makes_a_measurement_that_is_not_fit_an_error(strict: bool) -> None:
    result = compared(lambda _: True)
    assert result.exit_code(strict=strict) == (4 if strict else 0)


@pytest.mark.process
@pytest.mark.alone
def test_a_busy_core_does_not_end_a_comparison_in_an_error(rtbench: Program) -> None:
    from tests.test_sabotage import SPIN, beside

    size = ("--trials", "2", "--duration", "300ms", "--warmup", "100ms", "--no-sparse", "--repeat", "--out", "out")
    with beside(SPIN, "0"):
        done = rtbench("compare", "--transport", "websocket", "--transport", "sse", "--no-control", *size)
    assert done.returncode == 0, done.stderr
    result = package.load(rtbench.directory / "out")
    assert isinstance(result, Comparison)
    assert result.repeated >= 1
    assert "other processes used" in done.stdout
