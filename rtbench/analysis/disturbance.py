"""Disturbance: whether something outside a trial spoiled it. Pure.

A disturbed trial is run again (`rtbench.experiments.compare`). It stays in the result, but no figure is computed from
it, unless every repetition was disturbed too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtbench.analysis.counts import TrialCounts
    from rtbench.analysis.measured import Measured

MOST_OTHERS_CPU = 0.25  # of a core, by processes that are not part of the trial
MOST_STOLEN = 0.1  # of a core; CPU times have a resolution of 10 ms, 2 % of a short trial
MOST_CLOCK_STEP_NS = 1_000_000


def disturbance(counts: TrialCounts) -> str | None:
    """Return what disturbed a trial, in words; None if nothing did."""
    if counts.others_cpu > MOST_OTHERS_CPU:
        return f"other processes used {counts.others_cpu:.0%} of a core"
    stolen = (counts.stolen_ns or 0) / 1e9 / counts.wall_s if counts.wall_s else 0.0
    if stolen > MOST_STOLEN:
        return f"the hypervisor took {stolen:.0%} of a core"
    if counts.clock_step_ns > MOST_CLOCK_STEP_NS:
        return f"the clock was set by {counts.clock_step_ns / 1e6:.0f} ms"
    return None


def counted(trials: Iterable[Measured]) -> list[Measured]:
    """Return the trials that figures are computed from: completed, and not replaced by an undisturbed repetition.

    A disturbed trial that could not be replaced counts, the last of its block; the verdict says that it was disturbed.
    """
    completed = [trial for trial in trials if not trial.counts.error]
    undisturbed = {trial.counts.block for trial in completed if disturbance(trial.counts) is None}
    last = {trial.counts.block: trial for trial in completed}
    return [
        trial
        for trial in completed
        if disturbance(trial.counts) is None
        or (trial.counts.block not in undisturbed and trial is last[trial.counts.block])
    ]
