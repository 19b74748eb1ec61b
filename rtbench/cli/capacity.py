"""`rtbench capacity`: the highest load that a server sustains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rtbench.cli.measuring import experiment_command

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment


def _experiment() -> Experiment[Any, Any]:
    from rtbench.experiments.capacity import CAPACITY

    return CAPACITY


command = experiment_command(
    "capacity",
    _experiment,
    "Find the highest load that a server sustains.",
    """Find the highest load at which a server keeps to an objective, and what runs out first.

    \b
    rtbench capacity --transport mqtt --qos 0 --slo "p99<50ms, lost=0" --subscribers 100
    rtbench capacity --transport sse --of subscribers --rate 10 --first 100 --most 5000

    The load is doubled until it fails, then the search narrows. Where the load generator is what runs out, the answer
    is "at least", and not fit to conclude from.
    """,
)
