"""What a server would need for another number of subscribers: linear costs, fitted to a sweep over subscribers. Pure.

A forecast goes beyond what was measured, so each stands beside a hold-out check: the same model, fitted without the
largest level, predicts that level, and what it predicts is compared with what was measured there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtbench.analysis import linear_costs, usl
from rtbench.analysis.growth import Growth, growth
from rtbench.analysis.linear_costs import LinearCost, Point
from rtbench.analysis.statistics import Estimate
from rtbench.analysis.usl import Scalability
from rtbench.analysis.verdict import INVALID
from rtbench.errors import UsageError

Row = Mapping[str, Any]
LEAST_LEVELS = 4  # two coefficients, fitted without the largest level, need three others for an interval
TOLERATED_PERCENT = 10.0  # error in a hold-out check
MOST = 10**9  # of subscribers, publishers and messages per second
_FAILED = 0.1  # share of the messages that may be missing because their publish was refused
_HOW = "rtbench sweep --vary subscribers=1,10,100,1000"


@dataclass(frozen=True)
class Figure:
    """A cost: its name with the unit, and its terms at levels with one message rate or with several."""

    name: str
    terms: tuple[str, ...]
    terms_of_rates: tuple[str, ...]


FIGURES = (
    Figure("cores", ("base", "per_client"), tuple(linear_costs.TERMS)),
    Figure("memory_mb", ("base", "per_client"), ("base", "per_client")),
    Figure("mbit_per_s", ("base", "per_client"), ("per_client", "per_message", "per_delivery")),
)


@dataclass(frozen=True)
class Load:
    """What is forecast: subscribers that receive every message, publishers, and the rate of each."""

    subscribers: int
    publishers: int
    rate_hz: float

    def __post_init__(self) -> None:
        for name, value in (("subscribers", self.subscribers), ("publishers", self.publishers)):
            if not 1 <= value <= MOST:
                raise UsageError(f"--{name} must be 1 to {MOST:,}: got {value}")
        if not 0 < self.rate_hz <= MOST:
            raise UsageError(f"--rate must be above 0 and at most {MOST:,}: got {self.rate_hz:g}")

    @property
    def messages_per_s(self) -> float:
        """The messages that all publishers publish per second."""
        return self.publishers * self.rate_hz


@dataclass(frozen=True)
class HoldOut:
    """The largest level, measured, and predicted from the smaller ones."""

    subscribers: int
    measured: float
    predicted: Estimate

    @property
    def error_percent(self) -> float:
        """How far the prediction is from what was measured."""
        return 100 * (self.predicted.value / self.measured - 1)

    @property
    def inside(self) -> bool:
        """Whether the measured value lies in the interval of the prediction."""
        return (self.predicted.low or 0.0) <= self.measured <= (self.predicted.high or float("inf"))

    @property
    def failed(self) -> bool:
        """Whether the prediction is wrong: outside of the interval, and by more than the error that is tolerated."""
        return not self.inside and abs(self.error_percent) > TOLERATED_PERCENT


@dataclass(frozen=True)
class CostForecast:
    """The forecast of one cost of one variant."""

    figure: str
    points: list[Point]
    model: LinearCost
    value: Estimate
    hold_out: HoldOut
    growth: Growth | None


@dataclass(frozen=True)
class VariantForecast:
    """The forecasts of one variant by figure; its deliveries per second, with the scalability law if levels suffice."""

    variant: str
    costs: dict[str, CostForecast]
    throughput: list[tuple[float, float]]
    law: Scalability | None


@dataclass(frozen=True)
class Forecast:
    """The forecasts of all variants, and the variants that have none, with the reason."""

    load: Load
    variants: list[VariantForecast]
    left_out: dict[str, str]

    @property
    def largest(self) -> int:
        """The largest level that a forecast is fitted to."""
        return max((c.hold_out.subscribers for v in self.variants for c in v.costs.values()), default=0)


def forecast(
    rows: Sequence[Row], subscribers: int, rate_hz: float | None = None, publishers: int | None = None
) -> Forecast:
    """Forecast the costs of every variant.

    Args:
        rows: a row a level and variant, with the columns of summary.csv.
        subscribers: for how many.
        rate_hz: messages per second of each publisher; None: the rate of the sweep.
        publishers: their number; None: that of the sweep.

    Raises:
        UsageError: the rows are no sweep over subscribers, or have too few levels for this forecast.
    """
    _check(rows)
    load = Load(subscribers, int(_only(rows, "publishers", publishers)), float(_only(rows, "rate_hz", rate_hz)))
    several = _several_rates(rows, load)
    found, left_out = [], {}
    for variant in dict.fromkeys(row["variant"] for row in rows):
        valid = [row for row in rows if row["variant"] == variant and row["verdict"] != INVALID]
        if _levels(valid) < LEAST_LEVELS:
            left_out[variant] = f"it has {_levels(valid)} valid levels of subscribers, and {LEAST_LEVELS} are needed"
            continue
        found.append(_of_variant(variant, valid, load, several))
    if not found:
        raise UsageError(f"nothing can be forecast: {'; '.join(f'{name}: {why}' for name, why in left_out.items())}")
    return Forecast(load, found, left_out)


def _check(rows: Sequence[Row]) -> None:
    if _levels(rows) < LEAST_LEVELS:
        raise UsageError(
            f"a forecast needs a sweep with at least {LEAST_LEVELS} levels of subscribers, and this result has "
            f"{_levels(rows)}; measure one with {_HOW}"
        )
    for column in ("payload_bytes", "network", "link"):
        if len(values := dict.fromkeys(row[column] for row in rows)) > 1:
            raise UsageError(
                f"a forecast needs one value of {column}, and the sweep has {', '.join(map(str, values))}; "
                "sweep over subscribers, publishers and rate only"
            )
    places = [(row["variant"], row["subscribers"], row["publishers"], row["rate_hz"]) for row in rows]
    if len(set(places)) < len(places):
        raise UsageError(
            "a forecast needs one row a variant and load, and the sweep has several: it varies something else, too; "
            "sweep over subscribers, publishers and rate only"
        )
    if any(not math.isclose(row["expected"], row["published"] * row["subscribers"], rel_tol=_FAILED) for row in rows):
        raise UsageError("a forecast needs the pattern fan-out, in which every subscriber receives every message")


def _levels(rows: Sequence[Row]) -> int:
    return len({row.get("subscribers") for row in rows} - {None})


def _only(rows: Sequence[Row], column: str, given: float | None) -> float:
    """Return the value given, or the only one of the sweep."""
    if given is not None:
        return given
    values = sorted({row[column] for row in rows})
    if len(values) > 1:
        option = "--rate" if column == "rate_hz" else f"--{column}"
        raise UsageError(f"{option} is needed: the sweep has {', '.join(f'{value:g}' for value in values)}")
    return float(values[0])


def _several_rates(rows: Sequence[Row], load: Load) -> bool:
    """Return whether the sweep has several message rates, so that it tells what a message costs."""
    rates = {row["publishers"] * row["rate_hz"] for row in rows}
    if len(rates) > 1:
        return True
    (rate,) = rates
    if rate != load.messages_per_s:
        raise UsageError(
            f"the sweep has {rate:g} messages/s only, so it does not tell the cost at {load.messages_per_s:g}; "
            f"measure two rates: {_HOW} --vary rate={rate:g},{load.messages_per_s:g}"
        )
    return False


def _of_variant(variant: str, rows: Sequence[Row], load: Load, several: bool) -> VariantForecast:
    costs = {}
    for figure in FIGURES:
        points = [p for row in rows if (p := _point(row, figure.name)) is not None]
        terms = figure.terms_of_rates if several else figure.terms
        cost = _of_figure(figure.name, points, terms, load)
        if cost is not None:
            costs[figure.name] = cost
    throughput = list(_throughput(rows))
    levels = [subscribers for subscribers, _ in throughput]
    enough = len(set(levels)) >= usl.LEAST_LEVELS
    law = usl.fit(levels, [deliveries_per_s for _, deliveries_per_s in throughput]) if enough else None
    return VariantForecast(variant, costs, throughput, law)


def _point(row: Row, figure: str) -> Point | None:
    messages_per_s = row["publishers"] * row["rate_hz"]
    deliveries_per_s = messages_per_s * row["subscribers"]
    value = {
        "cores": (row["server_cpu_us_per_delivery"], deliveries_per_s / 1e6),
        "memory_mb": (row["server_rss_mb"], 1.0),
        "mbit_per_s": (row["wire_bytes_per_delivery"], deliveries_per_s * 8 / 1e6),
    }[figure]
    return Point(row["subscribers"], messages_per_s, float(value[0] * value[1])) if value[0] else None


def _of_figure(name: str, points: list[Point], terms: Sequence[str], load: Load) -> CostForecast | None:
    """Return the forecast of a cost; None if it was not measured at enough levels."""
    largest = max((p.clients for p in points), default=0)
    smaller = [p for p in points if p.clients < largest]
    if len({p.clients for p in smaller}) < LEAST_LEVELS - 1 or not linear_costs.separable(smaller, terms):
        return None
    if len(smaller) <= len(terms):
        return None
    held = max((p for p in points if p.clients == largest), key=lambda p: p.messages_per_s)
    model = linear_costs.fit(points, terms)
    predicted = linear_costs.fit(smaller, terms).predict(held.clients, held.messages_per_s)
    alike = [p for p in points if p.messages_per_s == held.messages_per_s]
    return CostForecast(
        name,
        points,
        model,
        model.predict(load.subscribers, load.messages_per_s),
        HoldOut(int(largest), held.cost, predicted),
        growth([p.clients for p in alike], [p.cost for p in alike]),
    )


def _throughput(rows: Sequence[Row]) -> Iterator[tuple[float, float]]:
    """Yield subscribers and measured deliveries per second, at the highest message rate."""
    highest = max(row["publishers"] * row["rate_hz"] for row in rows)
    for row in rows:
        percent, us = row["server_cpu_percent"], row["server_cpu_us_per_delivery"]
        if row["publishers"] * row["rate_hz"] == highest and percent and us:
            yield row["subscribers"], percent / 100 / (us / 1e6)
