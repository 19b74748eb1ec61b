"""Latency: the distribution function, and the percentiles up to the tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis import ranking, statistics
from rtbench.analysis.disturbance import counted
from rtbench.charts import words
from rtbench.charts.page import Page
from rtbench.charts.scale import plain, plain_log, span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

    Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

_MOST_STEPS = 600  # of one line; a slide cannot show more
_ENDS = 25  # steps that are kept at each end, where single deliveries are visible
_SHARES = (0.5, *np.linspace(0.1, 0.9, 17))  # where the label of a line may be; the marker is at the first
_MANY = 5  # lines
_POINTS_A_DECADE = 80
_PERCENTS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)


def latency_ecdf(result: Comparison, preset: Preset) -> Chart:
    """Draw the share of deliveries that had arrived, over time since due.

    Thick lines: until the kernel of the subscriber had it, if that is known for all variants; thin ones: until the
    application had it.
    """
    application = {v.name: ecdf(values) for v in result.variants if len(values := result.latency_ms(v.name))}
    if not application:
        raise words.refuse("latency-ecdf", "no variant has a delivery from a completed trial")
    arrived = {v.name: ecdf(values) for v in result.variants if len(values := _arrived_ms(result, v.name))}
    curves = arrived if arrived.keys() == application.keys() else application
    page = Page(result, preset)
    if curves is arrived:
        lines(page, application, drawstyle="steps-post", thin=True)
    lines(page, curves, drawstyle="steps-post")
    plain_log(page.axes, "x", *with_room_on_the_left(page, curves, application))
    page.axes.set_ylim(0, 1.015)
    page.axes.set_yticks(np.linspace(0, 1, 5), [f"{100 * share:g} %" for share in np.linspace(0, 1, 5)])
    page.grid("both")
    end = "arrived (network and server)" if curves is arrived else "received"
    page.name_axes(f"from due to {end}, ms (log)", "deliveries that had arrived")
    notes = words.missing(result, curves, "because they have no delivery")
    if curves is arrived:
        notes.append("Thin lines: until the application had it.")
    median = ranking.NETWORK if curves is arrived else ranking.APPLICATION
    medians = {row["variant"]: row[median] for row in result.summary if row[median] is not None}
    headline = words.headline(result, medians, "takes", "times as long as")
    page.frame("How soon messages arrive", ["Further left is faster.", *notes], headline=headline)
    anchors = {name: at_shares(curve) for name, curve in curves.items()}
    mark(page, anchors)
    page.label({name: for_label(page, curve, anchors[name]) for name, curve in curves.items()})
    return page.chart("latency-ecdf", _alt(result, "share of deliveries that had arrived after a time, in per cent"))


def _arrived_ms(result: Comparison, variant: str) -> NDArray[np.float64]:
    """Return `arrived - due` of all deliveries, ms; shape (0,) if a trial has no receive stamps of the kernel."""
    parts = [(trial.arrived_ms, trial.latency_ms) for trial in counted(result.trials_of(variant))]
    if not parts or any(len(arrived) != len(latency) for arrived, latency in parts):
        return np.empty(0)
    return np.concatenate([arrived for arrived, _ in parts])


def ecdf(values: NDArray[np.float64]) -> Curve:
    """Return the steps of the empirical distribution function, without steps too small to see; each step is exact."""
    ordered = np.sort(values)
    count = len(ordered)
    middle = np.linspace(0, count - 1, _MOST_STEPS).round().astype(np.int64)
    ends = np.concatenate([np.arange(min(_ENDS, count)), np.arange(max(count - _ENDS, 0), count)])
    kept = np.unique(np.concatenate([middle, ends]))
    x, share = ordered[kept], np.searchsorted(ordered, ordered[kept], side="right") / count
    return np.concatenate([x[:1], x]), np.concatenate([[0.0], share])


def latency_percentiles(result: Comparison, preset: Preset) -> Chart:
    """Draw latency by percentile, up to the highest percentile that has enough messages beyond it."""
    curves = {}
    for variant in result.variants:
        messages = sum(trial.messages for trial in counted(result.trials_of(variant.name)))
        if statistics.supported(messages, 50):
            curves[variant.name] = percentiles(result.latency_ms(variant.name), messages)
    if not curves:
        raise words.refuse("latency-percentiles", "no variant has the 20 messages that a median needs")
    page = Page(result, preset)
    lines(page, curves)
    plain_log(page.axes, "y", *_positive_span(curves, 1))
    end = max(float(x[-1]) for x, _ in curves.values())
    page.axes.set_xscale("log")
    page.axes.set_xlim(1, end)
    shown = [p for p in _PERCENTS if _reciprocal(p) <= end * (1 + 1e-9)]
    page.axes.xaxis.set_ticks([], minor=True)
    page.axes.xaxis.set_ticks([_reciprocal(p) for p in shown], [f"{plain(p)} %" for p in shown])
    page.grid("both")
    page.name_axes("percentile of deliveries (log of 1/(1-p))", "latency, ms (log)")
    note = f"A line ends where fewer than {statistics.BEYOND} messages lie beyond it."
    notes = [note, *words.missing(result, curves, "because they have fewer than 20 messages")]
    page.frame("Latency into the tail", notes)
    room_on_the_right(page, 1, end, list(curves))
    ends = {name: (x[-1:], y[-1:]) for name, (x, y) in curves.items()}
    mark(page, ends)
    page.label_ends({name: page.to_pixels(*end)[0] for name, end in ends.items()})
    return page.chart(
        "latency-percentiles",
        _alt(result, "latency by percentile, up to the highest percentile with enough messages"),
    )


def percentiles(values: NDArray[np.float64], messages: int) -> Curve:
    """Return 1/(1-p) and the value at p, up to the highest percentile with enough messages beyond it.

    `values` are those of all deliveries, shape (deliveries,); `messages` is how many messages they come from.
    """
    end = messages / statistics.BEYOND
    x = np.geomspace(1.0, end, max(int(np.log10(end) * _POINTS_A_DECADE), 2))
    percent = np.clip(100 * (1 - 1 / x), 0, 100)
    return x, np.percentile(values, percent, method="inverted_cdf")


def _reciprocal(percent: float) -> float:
    return 100 / (100 - percent)


def lines(page: Page, curves: dict[str, Curve], drawstyle: str = "default", thin: bool = False) -> None:
    """Draw the lines of variants, in their looks."""
    for variant in page.result.variants:
        if variant.name not in curves:
            continue
        look = page.look(variant)
        page.axes.plot(
            *curves[variant.name],
            color=look.colour,
            linestyle=look.dash,
            linewidth=look.line_pt / 4 if thin else look.line_pt,
            drawstyle=drawstyle,
            label=f"{variant.name}, application" if thin else variant.name,
            solid_joinstyle="round",
            zorder=2 if thin else 3,
        )


def _positive_span(curves: dict[str, Curve], axis: int) -> tuple[float, float]:
    values = np.concatenate([curve[axis] for curve in curves.values()])
    positive = values[values > 0]
    return span([float(positive.min()), float(positive.max())] if len(positive) else [1.0])


def at_shares(curve: Curve) -> Curve:
    """Return the points of a distribution where its label may be; the marker is at the first one."""
    x, share = curve
    at = np.searchsorted(share, _SHARES)
    return x[at], np.array(_SHARES)


def for_label(
    page: Page, curve: Curve, anchors: Curve
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a line as `Page.label` takes it: in pixels, with where its label may be; the middle is best."""
    x, y = (np.repeat(values, 2) for values in curve)
    return page.to_pixels(x[1:], y[:-1]), page.to_pixels(*anchors), 8 * np.abs(anchors[1] - 0.5)


def mark(page: Page, anchors: dict[str, Curve]) -> None:
    """Draw a marker on each line at the first of its anchors."""
    for variant in page.result.variants:
        if variant.name not in anchors:
            continue
        look = page.look(variant)
        x, y = anchors[variant.name]
        page.axes.plot(
            x[:1],
            y[:1],
            linestyle="none",
            marker=look.marker,
            markersize=page.preset.marker_pt,
            fillstyle=look.fill,
            color=look.colour,
            markerfacecoloralt=page.preset.background,
            markeredgewidth=page.preset.line_pt / 2,
            zorder=5,
            clip_on=False,
        )


def with_room_on_the_left(page: Page, curves: dict[str, Curve], others: dict[str, Curve]) -> tuple[float, float]:
    """Return limits for both, with room for names on the left of the fastest lines, if there are many lines."""
    ends = [*_positive_span(curves, 0), *_positive_span(others, 0)]
    low, high = min(ends), max(ends)
    if len(curves) < _MANY:
        return low, high
    widest = max(page.text_width(name, page.preset.text_pt) for name in curves)
    return low * (low / high) ** min(widest / page.width, 0.2), high


def room_on_the_right(page: Page, low: float, high: float, names: list[str]) -> None:
    """Lengthen a logarithmic axis from `low` to `high` so that names fit beyond `high`; the ticks do not change."""
    page.axes.set_xlim(low, low * (high / low) ** (1 / (1 - _share_of_names(page, names))))


def linear_room(page: Page, low: float, high: float, names: list[str]) -> None:
    """Lengthen a linear axis from `low` to `high` so that marks at its ends are whole and names fit beyond `high`."""
    length = high - low or 1.0
    start = low - 0.04 * length
    page.axes.set_xlim(start, start + (high - start) / (1 - _share_of_names(page, names)))


def _share_of_names(page: Page, names: list[str]) -> float:
    """Return which share of the axes the names at the ends of lines take, with the space before them."""
    size = page.preset.text_pt
    room = max(page.text_width(name, size) for name in names) + page.pixels(size * 2)
    return min(room / float(page.axes.get_window_extent().width), 0.5)


def _alt(result: Comparison, what: str) -> str:
    rows = list(result.summary)
    sentences = [f"Median: {words.each(rows, 'latency_p50_ms', 'ms')}."]
    if tail := words.each(rows, "latency_p99_ms", "ms"):
        sentences.append(f"99th percentile: {tail}.")
    return words.alternative(
        result, f"Line chart, one line for each variant: {what}; time in ms, logarithmic.", *sentences
    )
