"""A check of a law: what the law predicts, what was measured, and whether the two agree. Pure.

A check holds if the whole interval of the measured value lies within the limits, and does not hold if all of it lies
beyond them. Between the two nothing is shown: more trials make the interval narrower. Without an interval (a single
trial, a count) the value alone decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis import statistics
from rtbench.analysis.disturbance import counted
from rtbench.analysis.metric import Column
from rtbench.analysis.statistics import Estimate
from rtbench.errors import Error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.analysis.measured import Measured

HOLDS, FAILS, UNDECIDED, NOT_MEASURED = "holds", "does not hold", "undecided", "not measured"
TOLERANCE = 0.05  # of the prediction, where the law is exact


class NotMeasuredError(Error):
    """What a law needs was not measured here; the text says why."""


@dataclass(frozen=True)
class Check:
    """One figure of a law. `least` and `most` are the limits within which the law holds; `of` is the set-up."""

    claim: str
    of: str
    unit: str
    predicted: float | None
    least: float
    most: float
    measured: Estimate | None
    trials: int = 0
    reason: str = ""

    @property
    def verdict(self) -> str:
        """Whether the law holds here."""
        if self.measured is None:
            return NOT_MEASURED
        low, high = self.measured.low, self.measured.high
        if low is None or high is None:
            low = high = self.measured.value
        if self.least <= low and high <= self.most:
            return HOLDS
        return FAILS if high < self.least or low > self.most else UNDECIDED


class Seen:
    """What was measured in each set-up, over a network with the round-trip time `rtt_ms`."""

    def __init__(self, trials: Mapping[str, Sequence[Measured]], rtt_ms: float) -> None:
        self._trials = trials
        self.rtt_ms = rtt_ms
        self.one_way_ms = rtt_ms / 2

    def trials(self, name: str) -> list[Measured]:
        """Return the trials of a set-up that figures are computed from: completed, over the link that was asked for.

        Raises:
            NotMeasuredError: there is none.
        """
        measured = self._trials.get(name, ())
        fit = [t for t in counted(measured) if not t.counts.link_wrong]
        if not fit:
            why = next((t.counts.error or t.counts.link_wrong for t in measured), None)
            raise NotMeasuredError(f"{name}: {why or 'no trial was run'}")
        return fit

    def delivery_hop_ms(self, name: str) -> list[NDArray[np.float64]]:
        """Return `arrived - relayed` of the deliveries of each trial: the way from server to client."""
        return self._between(name, lambda t: t.arrived_ms - t.relayed_ms)

    def publish_hop_ms(self, name: str) -> list[NDArray[np.float64]]:
        """Return `relayed - sent` of the deliveries of each trial: the way from client to server."""
        return self._between(name, lambda t: t.relayed_ms - t.delivered_lag_ms)

    def end_to_end_ms(self, name: str) -> list[NDArray[np.float64]]:
        """Return `arrived - sent` of the deliveries of each trial."""
        return self._between(name, lambda t: t.network_server_ms)

    def _between(self, name: str, of: Callable[[Measured], NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        trials = self.trials(name)
        if not all(len(t.arrived_ms) and len(t.relayed_ms) for t in trials):
            raise NotMeasuredError(f"{name}: deliveries have no receive stamps of the kernel, which Linux gives")
        return [of(t) for t in trials]

    def about(
        self, claim: str, of: str, unit: str, predicted: float, measured: Estimate | None, tolerance: float = TOLERANCE
    ) -> Check:
        """Return a check that a value is what is predicted, within a tolerance."""
        least, most = predicted * (1 - tolerance), predicted * (1 + tolerance)
        return Check(claim, of, unit, predicted, least, most, measured, len(self.trials(of)))

    def at_most(self, claim: str, of: str, unit: str, limit: float, measured: float) -> Check:
        """Return a check that a value does not exceed a limit."""
        return Check(claim, of, unit, limit, -math.inf, limit, Estimate(measured), len(self.trials(of)))

    def at_least(self, claim: str, of: str, unit: str, limit: float, measured: float) -> Check:
        """Return a check that a value reaches a limit."""
        return Check(claim, of, unit, limit, limit, math.inf, Estimate(measured), len(self.trials(of)))


def mean(trials: Sequence[NDArray[np.float64]]) -> Estimate | None:
    """Return the mean of the pooled values, with its interval over trials."""
    return statistics.mean(trials)


def each(values: Sequence[float]) -> Estimate | None:
    """Return the mean of a value that each trial has once, with its interval over trials."""
    return statistics.estimate(statistics.pooled_cost(list(values), [1] * len(values)))


def maximum(trials: Sequence[NDArray[np.float64]]) -> Estimate | None:
    """Return the largest value of a trial, as a mean over trials."""
    return each([float(values.max()) for values in trials if len(values)])


def not_measured(reason: str) -> Check:
    """Return the check of a law that could not be measured."""
    return Check("", "", "", None, -math.inf, math.inf, None, 0, reason)


COLUMNS = (
    Column("law", "text", "number of the law"),
    Column("claim", "text", "what is predicted, in words"),
    Column("variant", "text", "the set-up in which it was measured"),
    Column("unit", "text", "unit of the next six columns; empty for a number without one"),
    Column("predicted", "number", "value according to the law"),
    Column("least", "number", "the law holds from here; empty: no limit"),
    Column("most", "number", "the law holds up to here; empty: no limit"),
    Column("measured", "number", "measured value"),
    Column("measured_low", "number", "lower end of its 95 % interval over trials; empty without an interval"),
    Column("measured_high", "number", "upper end of that interval"),
    Column("trials", "integer", "completed trials that it is computed from"),
    Column("verdict", "text", "`holds`, `does not hold`, `undecided` or `not measured`"),
    Column("reasons", "text", "why it was not measured"),
)


def row(law: str, check: Check) -> dict[str, Any]:
    """Return the row of summary.csv of a check."""
    m = check.measured
    return {
        "law": law,
        "claim": check.claim,
        "variant": check.of,
        "unit": check.unit,
        "predicted": check.predicted,
        "least": check.least if math.isfinite(check.least) else None,
        "most": check.most if math.isfinite(check.most) else None,
        "measured": m.value if m else None,
        "measured_low": m.low if m else None,
        "measured_high": m.high if m else None,
        "trials": check.trials,
        "verdict": check.verdict,
        "reasons": check.reason,
    }
