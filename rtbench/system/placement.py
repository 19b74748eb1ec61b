"""Placement: on which cores the processes of a trial run.

`free` leaves it to the scheduler. `split` gives the server the first half of the cores that this process may use, and
the client processes the others, one core each as far as there are enough: a client that wakes up then takes no time
from the server, and neither moves to a core whose caches do not know it. The link between them stays free.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from rtbench.errors import UsageError, did_you_mean

FREE, SPLIT = "free", "split"
PLACEMENTS = (FREE, SPLIT)
Cores = tuple[int, ...]


@dataclass(frozen=True)
class Placement:
    """The cores of the server and of each client process by its name; none: the scheduler decides."""

    server: Cores = ()
    clients: dict[str, Cores] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return it as it stands in a result: `server 0; subscriber-0 1; publisher-0 1`."""
        each = {"server": self.server, **self.clients} if self.server else {}
        return "; ".join(f"{name} {','.join(map(str, cores))}" for name, cores in each.items())


def cores_here() -> Cores:
    """Return the cores that this process may use; none where the system does not tell (macOS, Windows)."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def check_placement(how: str, cores: Cores) -> None:
    """Refuse what cannot be done with these cores.

    Raises:
        UsageError: there is no such placement, or the cores cannot be split.
    """
    if how not in PLACEMENTS:
        raise UsageError(f"--cores must be one of {', '.join(PLACEMENTS)}: got {how!r}{did_you_mean(how, PLACEMENTS)}")
    if how == SPLIT and len(cores) < 2:
        here = f"this process may use {len(cores)}" if cores else "this system has no way to choose cores"
        raise UsageError(f"--cores split needs two cores, one for the server and one for the clients: {here}")


def placed(how: str, names: Sequence[str], cores: Cores) -> Placement:
    """Return the placement of a server and of client processes, subscribers first.

    Raises:
        UsageError: the cores cannot be split.
    """
    check_placement(how, cores)
    if how == FREE:
        return Placement()
    server, clients = cores[: len(cores) // 2], cores[len(cores) // 2 :]
    in_order = sorted(names, key=lambda name: not name.startswith("subscriber"))
    return Placement(server, {name: (clients[i % len(clients)],) for i, name in enumerate(in_order)})


def stay_on(cores: Cores) -> None:
    """Let this process, and those that it starts, run on these cores only; on any, if there are none."""
    if cores:
        os.sched_setaffinity(0, cores)
