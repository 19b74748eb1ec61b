"""Forecast: measured levels of a sweep over subscribers, and the laws fitted to them, beyond the largest level."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.forecast import Forecast, VariantForecast, forecast
from rtbench.charts import words
from rtbench.charts.latency import room_on_the_right
from rtbench.charts.page import Page
from rtbench.charts.scale import plain, plain_log, span
from rtbench.errors import UsageError
from rtbench.table import significant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rtbench.analysis.forecast import CostForecast
    from rtbench.analysis.view import Drawn
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset
    from rtbench.plan.variant import Variant

    Curve = tuple[NDArray[np.float64], NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]]]

_BEYOND = 10  # times the largest level
_POINTS = 120


def cores_forecast(result: Drawn, preset: Preset) -> Chart:
    """Draw the cores of the server against the subscribers: measured points, fitted line, interval of a prediction."""
    name = "cores-forecast"
    found = _forecast(result, name)
    costs = {v.variant: v.costs["cores"] for v in found.variants if "cores" in v.costs}
    if not costs:
        raise words.refuse(name, "the CPU time of the server is not known")
    points = {variant: _at_highest_rate(cost) for variant, cost in costs.items()}
    smallest = min(float(n.min()) for n, _ in points.values())
    n = np.geomspace(smallest, found.load.subscribers, _POINTS)
    curves = {variant: _predicted(cost, n, found.load.messages_per_s) for variant, cost in costs.items()}
    page = Page(result, preset)
    _log_axes(page, curves, points)
    _mark_largest(page, found.largest)
    page.name_axes("subscribers (log)", "cores (log)")
    errors = ", ".join(f"{variant} {cost.hold_out.error_percent:+.0f} %" for variant, cost in costs.items())
    notes = [
        "Points: measured. Lines: linear cost, dotted beyond the largest level, with the 95 % interval of a "
        "measurement. "
        f"Hold-out check (the largest level predicted from the others): {errors}.",
        *words.missing(result, costs, "because too few levels are valid"),
    ]
    ends = {variant: float(y[-1]) for variant, (_, y, _) in curves.items()}
    headline = words.headline(result, ends, "needs", "times the cores of")
    where = f"at {plain(found.load.subscribers)} subscribers"
    page.frame("Forecast of server cores", notes, headline=f"{headline} {where}" if headline else "")
    _label(page, curves)
    said = ", ".join(f"{variant} {significant(end)}" for variant, end in ends.items())
    what = "Line chart, both axes logarithmic: cores of the server against subscribers, one line for each variant."
    return page.chart(name, words.alternative(result, what, f"Cores forecast {where}: {said}.", f"Errors: {errors}."))


def scaling_law(result: Drawn, preset: Preset) -> Chart:
    """Draw deliveries per second against the subscribers, with the Universal Scalability Law and its peaks."""
    name = "scaling-law"
    found = _forecast(result, name)
    laws = {v.variant: v for v in found.variants if v.law is not None}
    if not laws:
        raise words.refuse(name, "the law needs six levels of subscribers with known CPU time of the server")
    points = {variant: _columns(v.throughput) for variant, v in laws.items()}
    curves = {variant: _law(v, points[variant][0]) for variant, v in laws.items()}
    page = Page(result, preset)
    _log_axes(page, curves, points)
    _mark_peaks(page, laws)
    page.name_axes("subscribers (log)", "deliveries per second (log)")
    notes = [
        "Points: measured. Lines: Universal Scalability Law, with its 95 % interval. Vertical: peaks of the laws.",
        *words.missing(result, laws, "because too few levels are valid"),
    ]
    peaks = [f"{variant} at {peak.value:.3g}" for variant, v in laws.items() if v.law and (peak := v.law.peak)]
    headline = f"Throughput peaks: {words.joined(peaks)} subscribers" if peaks else ""
    page.frame("Throughput against subscribers", notes, headline=headline)
    _label(page, curves)
    said = [f"{variant}: {v.law.sentence}." for variant, v in laws.items() if v.law]
    what = "Line chart, both axes logarithmic: deliveries per second against subscribers, one line for each variant."
    return page.chart(name, words.alternative(result, what, *said))


def _forecast(result: Drawn, name: str) -> Forecast:
    """Return the forecast at the highest rate, for ten times the largest level."""
    rows = [row for row in result.summary if row.get("subscribers")]
    if not rows:
        raise words.refuse(name, "it has no levels of subscribers")
    subscribers, publishers, rate_hz = (max(row[c] for row in rows) for c in ("subscribers", "publishers", "rate_hz"))
    try:
        return forecast(rows, _BEYOND * subscribers, rate_hz, publishers)
    except UsageError as error:
        raise words.refuse(name, str(error)) from error


def _at_highest_rate(cost: CostForecast) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    highest = max(p.messages_per_s for p in cost.points)
    return _columns([(p.clients, p.cost) for p in cost.points if p.messages_per_s == highest])


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.array(sorted(pairs), dtype=float).T
    return x, y


def _predicted(cost: CostForecast, n: NDArray[np.float64], messages_per_s: float) -> Curve:
    found = [cost.model.predict(float(clients), messages_per_s) for clients in n]
    low, high = (np.array([getattr(e, end) for e in found]) for end in ("low", "high"))
    return n, np.array([e.value for e in found]), (low, high)


def _law(v: VariantForecast, levels: NDArray[np.float64]) -> Curve:
    assert v.law is not None
    n = np.geomspace(levels.min(), 2 * levels.max(), _POINTS)
    return n, v.law.at(n), v.law.interval_at(n)


def _log_axes(
    page: Page, curves: Mapping[str, Curve], points: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> None:
    """Draw curves with their bands and points; the limits are those of curves and points, bands may leave them."""
    drawn = [(x, y) for x, y, _ in curves.values()] + list(points.values())
    plain_log(page.axes, "x", *span([float(v) for x, _ in drawn for v in x], spare=0.03))
    plain_log(page.axes, "y", *span([float(v) for _, y in drawn for v in y]))
    for variant in page.result.variants:
        if variant.name in curves:
            _draw_variant(page, variant, curves[variant.name], *points[variant.name])
    page.grid("both")


def _draw_variant(page: Page, variant: Variant, curve: Curve, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    p, look = page.preset, page.look(variant)
    n, fitted, (low, high) = curve
    page.axes.fill_between(n, low, high, color=look.colour, alpha=0.15, linewidth=0, zorder=2)
    measured = n <= x.max() * 1.0001
    width = look.line_pt * 0.8
    page.axes.plot(n[measured], fitted[measured], color=look.colour, linestyle=look.dash, linewidth=width, zorder=3)
    page.axes.plot(
        n[~measured], fitted[~measured], color=look.colour, linestyle=(0, (1, 1.5)), linewidth=width, zorder=3
    )
    page.axes.plot(
        x,
        y,
        linestyle="none",
        marker=look.marker,
        markersize=p.marker_pt,
        fillstyle=look.fill,
        color=look.colour,
        markerfacecoloralt=p.background,
        markeredgewidth=p.line_pt / 2,
        label=variant.name,
        zorder=5,
    )


def _mark_largest(page: Page, largest: float) -> None:
    p = page.preset
    page.axes.axvline(largest, color=p.faint, linewidth=p.line_pt / 3, zorder=1)
    page.axes.annotate(
        "largest level ",
        (largest, 0.02),
        xycoords=("data", "axes fraction"),
        ha="right",
        fontsize=p.tick_pt,
        color=p.faint,
        path_effects=page.halo(),
    )


def _mark_peaks(page: Page, laws: Mapping[str, VariantForecast]) -> None:
    p = page.preset
    for variant in page.result.variants:
        law = laws[variant.name].law if variant.name in laws else None
        peak = law.peak if law else None
        if peak is None or peak.low is None or peak.high is None:
            continue
        look = page.look(variant)
        page.axes.axvspan(peak.low, peak.high, color=look.colour, alpha=0.1, linewidth=0, zorder=1)
        page.axes.axvline(peak.value, color=look.colour, linewidth=p.line_pt / 2, linestyle=look.dash, zorder=2)


def _label(page: Page, curves: Mapping[str, Curve]) -> None:
    low, high = page.axes.get_xlim()
    room_on_the_right(page, low, high, list(curves))
    page.label_ends({variant: page.to_pixels(x[-1:], y[-1:])[0] for variant, (x, y, _) in curves.items()})
