"""`rtbench compare`: measure all variants side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtbench.cli.measuring import experiment_command

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment


def _experiment() -> Experiment[Any, Any]:
    from rtbench.experiments.compare import COMPARISON

    return COMPARISON


command = experiment_command(
    "compare",
    _experiment,
    "Measure all variants side by side.",
    "Measure variants side by side, all of them by default, in about a minute.",
)
