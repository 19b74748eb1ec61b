"""The search for the highest load that holds: doubled until one fails, then halved on a logarithmic scale. Pure.

Whether a load holds in a round is decided by most of its trials: with three trials a single disturbed one decides
nothing. The answer rests on a load that failed beside one that held; between the two nothing is known. A machine that
was busy for a moment could make a load fail that the server sustains, so that load is tried again in the end, and where
the rounds disagree, once more: most of its rounds decide. If it held, the search goes on above it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_GROWTH = 2.0
_LEAST_SHARE = 1 / 64  # of the first load, below which nothing is tried


@dataclass(frozen=True)
class Probe:
    """A round of trials at a load, and how many of them kept to the objective."""

    load: float
    kept: int
    trials: int

    @property
    def held(self) -> bool:
        """Whether most of the trials did."""
        return self.kept * 2 > self.trials


@dataclass(frozen=True)
class Bracket:
    """The highest load that held, and the lowest that failed above it; None where there is none.

    `monotonic`: no load failed below one that held.
    """

    held: float | None
    failed: float | None
    monotonic: bool = True


def bracket(probes: Sequence[Probe]) -> Bracket:
    """Return what the probes tell so far."""
    votes = _votes(probes)
    held = max((load for load, vote in votes.items() if vote > 0), default=None)
    failed = [load for load, vote in votes.items() if vote <= 0]
    above = min((load for load in failed if held is None or load > held), default=None)
    return Bracket(held, above, held is None or all(load > held for load in failed))


def _votes(probes: Sequence[Probe]) -> Counter[float]:
    """Return for each load how many more of its rounds held than failed."""
    votes: Counter[float] = Counter()
    for probe in probes:
        votes[probe.load] += 1 if probe.held else -1
    return votes


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
    middle = _rounded((found.held * found.failed) ** 0.5, whole)
    if found.failed / found.held <= 1 + resolution or middle in (found.held, found.failed):
        return found.failed if _votes(probes)[found.failed] > -2 else None
    return middle


def _rounded(load: float, whole: bool) -> float:
    """Return a load with three digits, as people read it, or a whole number."""
    return float(round(load)) if whole else float(f"{load:.3g}")
