"""Precision: how narrow the intervals of the medians are, and whether more trials would make them narrow enough. Pure.

`--precision 5%` adds trials, a block of one of each variant at a time, until half the width of the 95 % interval of the
median latency is at most 5 % of the median, for every variant. The control counts too: it is the floor that the others
are held against, and no comparison is firmer than its weaker side.

The half-width shrinks as 1 / sqrt(trials), so each block tells how many trials would be needed. Where that is more than
may be run, the rest is not run either. What stopping so costs in coverage is in docs/methodology.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rtbench.plan.settings import LEAST_TRIALS_FOR_PRECISION, MOST_TRIALS
from rtbench.table import significant

LEAST_TO_PROJECT = 10  # trials; with fewer, the half-width itself is known to a third at best


@dataclass(frozen=True)
class Width:
    """The interval of a variant's median: its half-width, as a share of the median, after so many trials.

    `half` is None where there is no interval, because trials failed or delivered too little.
    """

    variant: str
    trials: int
    half: float | None

    def within(self, precision: float) -> bool:
        """Whether it is narrow enough, and of enough trials to tell."""
        return self.half is not None and self.half <= precision and self.trials >= LEAST_TRIALS_FOR_PRECISION

    def needed(self, precision: float) -> int | None:
        """Return about how many trials would make it narrow enough, one more at least; None without an interval.

        Two digits of it, rounded up: it is known no better.
        """
        if self.half is None:
            return None
        exact = max(math.ceil(self.trials * (self.half / precision) ** 2), self.trials + 1, LEAST_TRIALS_FOR_PRECISION)
        step: int = 10 ** max(len(str(exact)) - 2, 0)
        return math.ceil(exact / step) * step


def widths(summary: Iterable[Mapping[str, Any]]) -> list[Width]:
    """Return the widths of rows of summary.csv."""
    found = []
    for row in summary:
        value, low, high = (row[f"latency_p50_{end}ms"] for end in ("", "low_", "high_"))
        half = (high - low) / 2 / value if value and low is not None else None
        found.append(Width(row["variant"], row["trials"], half))
    return found


@dataclass(frozen=True)
class Precision:
    """What was asked for, a share of the median within so many trials, and how far the variants are."""

    asked: float
    most_trials: int
    widths: Sequence[Width]

    @property
    def reached(self) -> bool:
        """Whether every variant is precise enough."""
        return all(width.within(self.asked) for width in self.widths)

    def enough(self, blocks: int) -> bool:
        """Whether to stop after some blocks: all is precise enough, or something will not be within `most_trials`."""
        if self.reached or blocks >= self.most_trials:
            return True
        return blocks >= LEAST_TO_PROJECT and any(
            not width.within(self.asked) and (width.needed(self.asked) or math.inf) > self.most_trials
            for width in self.widths
        )

    def description(self) -> dict[str, Any]:
        """Return what result.json says of it."""
        return {"reached": self.reached, "widths": [asdict(w) for w in self.widths], "sentences": self.sentences()}

    def sentences(self) -> list[str]:
        """Say which variants are precise enough, and what the others lack, a line each."""
        reached = [width for width in self.widths if width.within(self.asked)]
        said = []
        if reached:
            least, most = (choose(width.trials for width in reached) for choose in (min, max))
            who = "" if self.reached else f" by {', '.join(width.variant for width in reached)}"
            trials = f"{most}" if least == most else f"{least} to {most}"
            said.append(f"precision: {100 * self.asked:.3g} % reached{who} with {trials} trials")
        for width in self.widths:
            if width not in reached:
                said.append(f"precision: {width.variant} {_lacks(width, self.asked, self.most_trials)}")
        return said


def _lacks(width: Width, precision: float, most_trials: int) -> str:
    needed = width.needed(precision)
    if width.half is None or needed is None:
        return f"has no interval of its median after {_trials(width.trials)}"
    hint = f" (--most-trials {needed})" if most_trials < needed <= MOST_TRIALS else ""
    return f"±{significant(100 * width.half, 2)} % after {_trials(width.trials)}, about {needed} would be needed{hint}"


def _trials(count: int) -> str:
    return f"{count} trial{'s' * (count != 1)}"
