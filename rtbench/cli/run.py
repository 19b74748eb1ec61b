"""`rtbench run`: measure one variant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtbench.cli.measuring import experiment_command

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment


def _experiment() -> Experiment[Any, Any]:
    from rtbench.experiments.compare import RUN

    return RUN


command = experiment_command(
    "run",
    _experiment,
    "Measure one variant.",
    "Measure one variant, several times, and print what was seen.",
    many=False,
)
