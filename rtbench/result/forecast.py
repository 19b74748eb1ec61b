"""A forecast as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rtbench.analysis.forecast import FIGURES, TOLERATED_PERCENT, CostForecast, Forecast, HoldOut
from rtbench.analysis.statistics import Estimate
from rtbench.analysis.usl import Scalability
from rtbench.table import Table
from rtbench.units import counted, plain


def text(found: Forecast) -> str:
    """Return the forecasts with their hold-out checks, the growth of the costs, and what is assumed."""
    load = found.load
    heading = (
        f"Forecast for {load.subscribers:,} subscribers, {counted(load.publishers, 'publisher')}, "
        f"{load.rate_hz:g} messages/s each:"
    )
    parts = [
        f"{heading}\n\n{forecasts(found)}",
        f"Hold-out check, fitted without the largest level and compared with it:\n\n{hold_outs(found)}",
    ]
    if grown := growths(found):
        parts.append(f"Growth of the costs with the subscribers (exponent 1 is linear, 0 logarithmic):\n\n{grown}")
    return "\n\n".join([*parts, "\n".join(sentences(found))])


def forecasts(found: Forecast) -> Table:
    """Return a row a variant: cores, memory and bandwidth, each with its interval."""
    rows = []
    for v in found.variants:
        values = {f.name: v.costs[f.name].value if f.name in v.costs else None for f in FIGURES}
        rows.append({"variant": v.variant, **{name: _with_interval(value) for name, value in values.items()}})
    return Table(rows)


def hold_outs(found: Forecast) -> Table:
    """Return a row a variant and cost: the largest level, measured and predicted from the smaller ones."""
    return Table(
        [
            {
                "variant": variant,
                "cost": cost.figure,
                "subscribers": cost.hold_out.subscribers,
                "measured": plain(cost.hold_out.measured),
                "predicted": _with_interval(cost.hold_out.predicted),
                "error_percent": f"{cost.hold_out.error_percent:+.1f}",
                "check": _check(cost.hold_out),
            }
            for variant, cost in _costs(found)
        ]
    )


def _check(held: HoldOut) -> str:
    if held.inside:
        return "in the interval"
    return "FAILED" if held.failed else f"within {TOLERATED_PERCENT:g} %"


def growths(found: Forecast) -> Table:
    """Return a row a variant and cost: how the cost grows with the subscribers."""
    return Table(
        [
            {
                "variant": variant,
                "cost": cost.figure,
                "exponent": _with_interval(cost.growth.exponent),
                "reading": cost.growth.reading,
            }
            for variant, cost in _costs(found)
            if cost.growth is not None
        ]
    )


def sentences(found: Forecast) -> Iterator[str]:
    """Yield what limits the throughput, what was left out, and what the forecast assumes."""
    for v in found.variants:
        if v.law is not None:
            yield f"{v.variant}, deliveries per second by the Universal Scalability Law: {v.law.sentence}."
    for variant, why in found.left_out.items():
        yield f"{variant} has no forecast: {why}."
    if wrong := [f"{variant} {cost.figure}" for variant, cost in _costs(found) if cost.hold_out.failed]:
        yield f"The check failed, so do not rely on the forecast: {', '.join(wrong)}."
    factor = found.load.subscribers / found.largest
    yield (
        f"Assumed: costs stay linear from {found.largest:,} subscribers, the largest level fitted, to {plain(factor)} "
        "times as many; cores are those of the machine measured; memory is without that of the kernel. "
        "The intervals do not include the error of these assumptions."
    )


def as_json(found: Forecast) -> dict[str, Any]:
    """Return the forecast as objects of JSON."""
    return {
        "load": asdict(found.load),
        "largest_level": found.largest,
        "variants": [
            {
                "variant": v.variant,
                "costs": {name: _cost(cost) for name, cost in v.costs.items()},
                "scalability": _scalability(v.law),
            }
            for v in found.variants
        ],
        "left_out": found.left_out,
        "notes": list(sentences(found)),
    }


def _scalability(law: Scalability | None) -> dict[str, Any] | None:
    if law is None:
        return None
    estimates = ("of_one", "contention", "coherence", "peak")
    return {name: _estimate(getattr(law, name)) for name in estimates} | {"limit": law.limit, "sentence": law.sentence}


def _cost(cost: CostForecast) -> dict[str, Any]:
    held = cost.hold_out
    return {
        "forecast": _estimate(cost.value),
        "coefficients": {name: _estimate(value) for name, value in cost.model.coefficients.items()},
        "hold_out": {
            "subscribers": held.subscribers,
            "measured": held.measured,
            "predicted": _estimate(held.predicted),
            "error_percent": held.error_percent,
            "in_interval": held.inside,
        },
        "growth": None
        if cost.growth is None
        else {
            "exponent": _estimate(cost.growth.exponent),
            "reading": cost.growth.reading,
        },
    }


def _costs(found: Forecast) -> Iterator[tuple[str, CostForecast]]:
    for v in found.variants:
        for cost in v.costs.values():
            yield v.variant, cost


def _estimate(value: Estimate | None) -> dict[str, float | None] | None:
    return None if value is None else asdict(value)


def _with_interval(value: Estimate | None) -> str:
    if value is None:
        return "–"
    low, high = ("?" if end is None else plain(end) for end in (value.low, value.high))
    return f"{plain(value.value)} ({low} to {high})"
