"""The search for the highest load that holds: doubled until one fails, then halved on a logarithmic scale. Pure.

Whether a load holds is decided by most of its trials: with three trials a single disturbed one decides nothing. A load
that failed beside one that held is what the answer rests on; between the two nothing is known. Should a load hold above
one that failed, the server (or the machine) did not do the same twice, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_GROWTH = 2.0
_LEAST_SHARE = 1 / 64  # of the first load, below which nothing is tried


@dataclass(frozen=True)
class Probe:
    """A load that was tried, and how many of its trials kept to the objective."""

    load: float
    kept: int
    trials: int

    @property
    def held(self) -> bool:
        """Whether most of the trials did."""
        return self.kept * 2 > self.trials


@dataclass(frozen=True)
class Bracket:
    """The highest load that held, and the lowest that failed above it; None where there is none."""

    held: float | None
    failed: float | None
    monotonic: bool = True


def bracket(probes: Sequence[Probe]) -> Bracket:
    """Return what the probes tell so far."""
    failed = min((p.load for p in probes if not p.held), default=None)
    below = [p.load for p in probes if p.held and (failed is None or p.load < failed)]
    above = [p.load for p in probes if p.held and failed is not None and p.load > failed]
    return Bracket(max(below, default=None), failed, not above)


def next_load(
    probes: Sequence[Probe], first: float, most: float, resolution: float, whole: bool = False
) -> float | None:
    """Return the load to try next; None once the bracket is narrower than `resolution`, such as 0.15.

    `whole`: loads are whole numbers.
    """
    found = bracket(probes)
    if not probes:
        return first
    if found.failed is None:
        assert found.held is not None
        wanted = _rounded(found.held * _GROWTH, whole)
        return None if found.held >= most else min(wanted, most)
    if found.held is None:
        wanted = found.failed / _GROWTH
        return None if wanted < max(first * _LEAST_SHARE, 1.0 if whole else 0.0) else _rounded(wanted, whole)
    if found.failed / found.held <= 1 + resolution:
        return None
    middle = _rounded((found.held * found.failed) ** 0.5, whole)
    return None if middle in (found.held, found.failed) else middle


def _rounded(load: float, whole: bool) -> float:
    """Return a load with three digits, as people read it, or a whole number."""
    return float(round(load)) if whole else float(f"{load:.3g}")
