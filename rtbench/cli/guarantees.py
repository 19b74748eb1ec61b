"""`rtbench guarantees`: what is lost and what comes twice when a connection or the server is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtbench.cli.measuring import experiment_command

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment


def _experiment() -> Experiment[Any, Any]:
    from rtbench.experiments.guarantees import GUARANTEES

    return GUARANTEES


command = experiment_command(
    "guarantees",
    _experiment,
    "Break connections and servers, and see which promises hold.",
    """Break connections and servers, and count what is lost and what comes twice, beside what was promised.

    Every transport and QoS, with clients that resume and clients that do not, under each fault. All of it takes less
    than five minutes. Exit code 3 says that a promise did not hold: without options it is the usual one, since a broker
    that keeps its sessions in memory loses them when it is killed.
    """,
)
