"""Precision: how narrow the intervals of the medians are, and how many trials make them narrow enough. Pure.

`--precision 5%` adds trials in blocks, one trial of each variant, until the 95 % interval of the median latency reaches
at most 5 % above the median, for every variant. The interval is median / f to median * f, so its upper side is the
larger one, and the half-width is f - 1 = sqrt(high / low) - 1. The control counts too: the other variants are compared
with it, and a comparison is only as precise as the less precise of its two sides.

log(f) shrinks as t / sqrt(trials), where t is Student's with trials - 1 degrees of freedom, so after each block the
number of trials needed can be estimated. If it is above the limit, the remaining trials are not run.
docs/methodology.md says how this rule for stopping reduces coverage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rtbench.analysis.statistics import CONFIDENCE, student_t
from rtbench.plan.settings import LEAST_TRIALS_FOR_PRECISION
from rtbench.plan.values import MOST_TRIALS
from rtbench.table import significant
from rtbench.units import plain

LEAST_TO_PROJECT = 10  # trials; with fewer, the half-width itself has an error of a third or more
_NEARLY_NORMAL = 200  # degrees of freedom, from which on t hardly changes


@dataclass(frozen=True)
class Width:
    """The half-width of the interval of a median, as a share of the median, and the number of trials.

    `half` is sqrt(high / low) - 1, the distance of the upper end; the lower end is a little closer.
    It is None if there is no interval, because trials failed or delivered too few messages.
    """

    variant: str
    trials: int
    half: float | None

    def within(self, precision: float) -> bool:
        """Return whether the interval is narrow enough and has enough trials."""
        return self.half is not None and self.half <= precision and self.trials >= LEAST_TRIALS_FOR_PRECISION

    def needed(self, precision: float) -> int | None:
        """Estimate how many trials make the interval narrow enough, more than now; None without an interval.

        The estimate is rounded up to two digits, because it is not more precise.
        """
        if self.half is None:
            return None
        exact = max(math.ceil(self._projected(precision)), self.trials + 1, LEAST_TRIALS_FOR_PRECISION)
        step: int = 10 ** max(len(str(exact)) - 2, 0)
        return math.ceil(exact / step) * step

    def _projected(self, precision: float) -> float:
        assert self.half is not None
        now = student_t(CONFIDENCE, self.trials - 1)
        by_the_root = self.trials * (math.log1p(self.half) / math.log1p(precision)) ** 2
        then = student_t(CONFIDENCE, min(max(math.ceil(by_the_root) - 1, 1), _NEARLY_NORMAL))
        return by_the_root * (then / now) ** 2


def widths(summary: Iterable[Mapping[str, Any]]) -> list[Width]:
    """Return the width of each row of summary.csv."""
    found = []
    for row in summary:
        value, low, high = (row[f"latency_p50_{end}ms"] for end in ("", "low_", "high_"))
        half = math.sqrt(high / low) - 1 if value and low is not None else None
        found.append(Width(row["variant"], row["trials"], half))
    return found


@dataclass(frozen=True)
class Precision:
    """The requested precision, as a share of the median, the limit of trials, and the width of each variant."""

    asked: float
    most_trials: int
    widths: Sequence[Width]

    @property
    def reached(self) -> bool:
        """Whether every variant is precise enough."""
        return all(width.within(self.asked) for width in self.widths)

    def enough(self, blocks: int) -> bool:
        """Return whether to stop after `blocks` blocks.

        Stop if every variant is precise enough, or if a variant will not be precise enough within `most_trials`.
        """
        if self.reached or blocks >= self.most_trials:
            return True
        return blocks >= LEAST_TO_PROJECT and any(
            not width.within(self.asked) and (width.needed(self.asked) or math.inf) > self.most_trials
            for width in self.widths
        )

    def description(self) -> dict[str, Any]:
        """Return the entry for result.json."""
        return {"reached": self.reached, "widths": [asdict(w) for w in self.widths], "sentences": self.sentences()}

    def sentences(self) -> list[str]:
        """Return sentences: which variants are precise enough, and for each other one how many trials it needs."""
        reached = [width for width in self.widths if width.within(self.asked)]
        said = []
        if reached:
            least, most = (choose(width.trials for width in reached) for choose in (min, max))
            who = "" if self.reached else f" by {', '.join(width.variant for width in reached)}"
            trials = f"{most}" if least == most else f"{least} to {most}"
            said.append(f"precision: {plain(100 * self.asked)} % reached{who} with {trials} trials")
        for width in self.widths:
            if width not in reached:
                said.append(f"precision: {width.variant} {_not_reached(width, self.asked, self.most_trials)}")
        return said


def _not_reached(width: Width, precision: float, most_trials: int) -> str:
    needed = width.needed(precision)
    if width.half is None or needed is None:
        return f"has no interval of its median after {_trials(width.trials)}"
    hint = f" (--most-trials {needed})" if most_trials < needed <= MOST_TRIALS else ""
    return f"±{significant(100 * width.half, 2)} % after {_trials(width.trials)}, about {needed} would be needed{hint}"


def _trials(count: int) -> str:
    return f"{count} trial{'s' * (count != 1)}"
