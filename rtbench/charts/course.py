"""Course: a trial with faults over its time: latency, messages under way, and losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtbench.analysis.course import Course, course_of
from rtbench.analysis.disturbance import counted
from rtbench.charts import words
from rtbench.charts.page import Page
from rtbench.charts.scale import plain_log, span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.artist import Artist

    from rtbench.analysis.measured import Measured
    from rtbench.analysis.view import Comparison
    from rtbench.charts.chart import Chart
    from rtbench.charts.style import Preset

_MOST_POINTS = 4000  # of a variant; a slide cannot show more
_SHADE = 0.13  # opacity of a fault


def latency_through_fault(result: Comparison, preset: Preset) -> Chart:
    """Draw the latency of each delivery over its due time, in one trial of each variant; the faults are shaded."""
    name = "latency-through-fault"
    trials = _trials(result, name)
    courses = {variant: course_of(trial) for variant, trial in trials.items()}
    page = Page(result, preset)
    latencies = np.concatenate([course.latency_ms for course in courses.values()])
    if not (latencies > 0).any():
        raise words.refuse(name, "nothing was delivered")
    low, high = span([float(latencies[latencies > 0].min()), float(latencies.max())])
    plain_log(page.axes, "y", low, high * (high / low) ** 0.05)
    handles = [_points(page, variant, course, high) for variant, course in courses.items()]
    page.axes.set_xlim(0, _schedule_s(trials))
    page.grid("both")
    page.name_axes("due time, s after the start of the trial", "latency, ms (log)")
    notes = [
        "One trial of each variant; a point is a delivery, a cross at the top one that was lost.",
        *_shade(page, trials),
    ]
    page.frame("Latency through a fault", notes, legend=handles, headline=_headline(courses))
    said = [f"{variant}: {_said(course)}" for variant, course in courses.items()]
    what = "Scatter chart: latency in ms, logarithmic, over the time of a trial; the faults are shaded."
    return page.chart(name, words.alternative(result, what, f"{'; '.join(said)}."))


def messages_through_fault(result: Comparison, preset: Preset) -> Chart:
    """Draw the messages under way over time, upwards, and those lost in each second, downwards."""
    name = "messages-through-fault"
    trials = _trials(result, name)
    courses = {variant: course_of(trial) for variant, trial in trials.items()}
    page = Page(result, preset)
    last_s = max(float(course.received_s.max(initial=0)) for course in courses.values())
    end_s = max(last_s, _schedule_s(trials))
    handles: list[Artist] = []
    for number, (variant, course) in enumerate(courses.items()):
        look = page.look(next(v for v in result.variants if v.name == variant))
        times_s, under_way = course.under_way()
        (line,) = page.axes.plot(
            np.concatenate([[0.0], times_s]),
            np.concatenate([[0], under_way]),
            color=look.colour,
            linestyle=look.dash,
            linewidth=look.line_pt * 0.6,
            drawstyle="steps-post",
            label=variant,
            zorder=3,
        )
        handles.append(line)
        lost = course.lost_per_second(end_s)
        width = 0.8 / len(courses)
        at = np.arange(len(lost)) + 0.1 + width * (number + 0.5)
        page.axes.bar(at[lost > 0], -lost[lost > 0], width=width, color=look.colour, hatch=look.hatch, zorder=3)
    page.axes.axhline(0, color=preset.faint, linewidth=preset.line_pt / 3, zorder=4)
    page.axes.set_xlim(0, end_s)
    page.axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    page.grid("both")
    page.name_axes("s after the start of the trial", "lost in a second  |  under way")
    notes = [
        "One trial of each variant; upwards: deliveries that are due and have not arrived; downwards: those that "
        "never arrived, by the second in which they were due.",
        *_shade(page, trials),
    ]
    page.frame("Messages through a fault", notes, legend=handles, headline=_headline(courses))
    said = [f"{variant}: {_said(course)}" for variant, course in courses.items()]
    what = "Chart over the time of a trial: deliveries under way upwards, lost ones in each second downwards."
    return page.chart(name, words.alternative(result, what, f"{'; '.join(said)}."))


def _trials(result: Comparison, name: str) -> dict[str, Measured]:
    """Return the first trial with faults of each variant that has one."""
    found = {}
    for variant in result.variants:
        with_faults = [trial for trial in counted(result.trials_of(variant.name)) if trial.counts.faults]
        if with_faults:
            found[variant.name] = with_faults[0]
    if not found:
        raise words.refuse(name, "no trial has a fault (--fault)")
    return found


def _schedule_s(trials: Mapping[str, Measured]) -> float:
    return max(trial.workload.schedule_ns for trial in trials.values()) / 1e9


def _points(page: Page, variant: str, course: Course, lost_at: float) -> Artist:
    """Draw the deliveries of a variant, and crosses for those that were lost; return what stands in the legend."""
    look = page.look(next(v for v in page.result.variants if v.name == variant))
    kept = np.unique(np.linspace(0, len(course.due_s) - 1, min(_MOST_POINTS, len(course.due_s))).astype(np.int64))
    (points,) = page.axes.plot(
        course.due_s[kept],
        course.latency_ms[kept],
        linestyle="none",
        marker=look.marker,
        markersize=page.preset.marker_pt * 0.4,
        fillstyle=look.fill,
        color=look.colour,
        markeredgewidth=page.preset.line_pt / 4,
        label=variant,
        zorder=3,
    )
    page.axes.plot(
        course.lost_s,
        np.full(len(course.lost_s), lost_at),
        linestyle="none",
        marker="x",
        markersize=page.preset.marker_pt * 0.5,
        color=look.colour,
        markeredgewidth=page.preset.line_pt / 3,
        zorder=4,
    )
    return points


def _shade(page: Page, trials: Mapping[str, Measured]) -> list[str]:
    """Shade the faults of the first trial where they were seen; return a note that names them."""
    faults = next(iter(trials.values())).counts.faults
    for evidence in faults:
        if evidence.began_ns is None:
            continue
        began_s = evidence.began_ns / 1e9
        ended_s = evidence.ended_ns / 1e9 if evidence.ended_ns is not None else began_s
        page.axes.axvspan(began_s, ended_s, color=page.preset.warning, alpha=_SHADE, linewidth=0, zorder=1)
        page.axes.axvline(began_s, color=page.preset.warning, linewidth=page.preset.line_pt / 3, zorder=2)
    return [f"Shaded: {words.joined([evidence.fault for evidence in faults])}."]


def _headline(courses: Mapping[str, Course]) -> str:
    """Say who lost messages."""
    losers = [name for name, course in courses.items() if len(course.lost_s)]
    if not losers:
        return "No message was lost"
    return f"Lost messages: {words.joined(losers)}" if len(losers) < len(courses) else ""


def _said(course: Course) -> str:
    lost = f"{len(course.lost_s)} lost"
    if not len(course.due_s):
        return lost
    return f"longest latency {course.latency_ms.max():.0f} ms, {lost}"
