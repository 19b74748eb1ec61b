"""`rtbench sweep`: a comparison at each of several levels of a parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtbench.cli.measuring import experiment_command

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment


def _experiment() -> Experiment[Any, Any]:
    from rtbench.experiments.sweep import SWEEP

    return SWEEP


command = experiment_command(
    "sweep",
    _experiment,
    "Measure variants over several values of a parameter.",
    """Measure variants at several values of one or two parameters, and say where one becomes cheaper than another.

    \b
    rtbench sweep --vary subscribers=1,10,100,1000 --transport websocket --transport mqtt --qos 0
    rtbench sweep --vary rate=1..100*10 --vary payload=100,1000

    Each level is saved as a comparison of its own, in DIR/levels. An interrupted sweep goes on with `rtbench resume`.
    """,
)
