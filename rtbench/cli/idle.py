"""`rtbench idle`: measure what idle connections cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtbench.cli.measuring import experiment_command

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment


def _experiment() -> Experiment[Any, Any]:
    from rtbench.experiments.idle import IDLE

    return IDLE


command = experiment_command(
    "idle",
    _experiment,
    "Measure what idle connections cost.",
    """Measure what idle connections cost: memory, CPU time, bytes and requests while nothing is sent.

    Every variant has a fresh server, and all its connections one subscription each. All of them, 100 connections and
    10 s each, take a minute and a half. Figures per hour are extrapolated from the time observed.
    """,
)
