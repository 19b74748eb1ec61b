"""`rtbench laws`: reproduce over an emulated link what is known of the transports beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtbench.cli.measuring import experiment_command

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment


def _experiment() -> Experiment[Any, Any]:
    from rtbench.experiments.laws import ALL_LAWS

    return ALL_LAWS


command = experiment_command(
    "laws",
    _experiment,
    "Reproduce the laws of the transports over an emulated link.",
    """Reproduce the laws of the transports over an emulated link: what each predicts, and what is measured.

    All of them, five trials each over a round trip of 100 ms, take seven minutes. A law holds if the whole interval of
    what was measured lies within 5 % of the prediction. Exit code 3: a law does not hold.
    """,
)
