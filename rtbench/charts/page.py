"""Page: the layout of a chart: title at the top, caption at the bottom, axes between them, labels beside the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rtbench.charts import words
from rtbench.charts.chart import Chart
from rtbench.charts.placement import Box, Label, column, place
from rtbench.charts.style import Look, Preset, look

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox
    from numpy.typing import NDArray

    from rtbench.analysis.view import Drawn
    from rtbench.plan.variant import Variant

_MARGIN = 0.022  # of the width
_LEADER_FROM = 1.5  # gaps between a label and its line; from here on a leader connects them
_WATERMARK_ANGLE = 18.0


class Page:
    """A figure with one pair of axes. First draw on `axes`, then call `frame`, then `label`, then `chart`."""

    def __init__(self, result: Drawn, preset: Preset) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.result, self.preset = result, preset
        size = (preset.width_in, preset.height_in)
        self.figure = Figure(size, dpi=preset.dpi, facecolor=preset.background)
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]
        self.width, self.height = (float(v) for v in self.figure.bbox.size)
        self.axes: Axes = self.figure.add_axes((0.1, 0.15, 0.8, 0.7), facecolor=preset.background)
        self.title = ""
        self.notes: list[str] = []
        self._area = Box(*(self.width * _MARGIN,) * 2, self.width * (1 - _MARGIN), self.height - self.width * _MARGIN)
        self._style_axes()

    def pixels(self, points: float) -> float:
        """Return a length in points as pixels."""
        return points * self.preset.dpi / 72

    def look(self, variant: Variant) -> Look:
        """Return the colour, dash, marker and hatch of a variant on this page."""
        return look(variant, self.preset)

    def _style_axes(self) -> None:
        p = self.preset
        for side, spine in self.axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(p.faint)
            spine.set_linewidth(p.line_pt / 3)
        self.axes.tick_params(
            which="both",
            labelsize=p.tick_pt,
            labelcolor=p.ink,
            color=p.faint,
            width=p.line_pt / 3,
            length=p.tick_pt / 3,
        )
        self.axes.tick_params(which="minor", length=p.tick_pt / 6)
        self.axes.set_axisbelow(True)

    def grid(self, which: str) -> None:
        """Draw faint lines at the ticks of an axis, `x`, `y` or `both`."""
        self.axes.grid(True, axis=which, color=self.preset.grid, linewidth=self.preset.line_pt / 3)  # type: ignore[arg-type]

    def name_axes(self, x: str, y: str = "") -> None:
        """Write the names of the axes, with their units."""
        for setter, text in ((self.axes.set_xlabel, x), (self.axes.set_ylabel, y)):
            setter(text, fontsize=self.preset.text_pt, color=self.preset.ink, labelpad=self.preset.text_pt / 3)

    def frame(self, heading: str, notes: Sequence[str], legend: Sequence[Artist] = (), headline: str = "") -> None:
        """Write the title at the top and notes and conditions at the bottom, and fit the axes between them.

        The title is the headline, with the heading below it; without a headline it is the heading. A preset without
        notes has only the warnings at the bottom.
        """
        subject = words.subject(self.result)
        self.title = f"{heading}: {subject}"
        if headline:
            heading, subject = headline, self.title
            self.title = f"{headline}. {self.title}"
        left, bottom, right, top = self._area
        p = self.preset
        head = self._paragraph([heading], p.title_pt, p.ink, left, top, va="top", weight="bold")
        top = self._box(head).y0 - self.pixels(p.title_pt * 0.3)
        beneath = self._paragraph([subject], p.text_pt, p.faint, left, top, va="top")
        warnings = " ".join(words.findings(self.result))
        remarks = " ".join([*words.findings(self.result), *notes, words.conditions(self.result)])
        self.notes = [remarks, words.implementations(self.result)]
        top = self._box(beneath).y0 - self.pixels(p.text_pt * 0.7)
        if written := self.notes if p.notes else [warnings] * bool(warnings):
            foot = self._paragraph(written, p.caption_pt, p.faint, left, bottom, va="bottom")
            bottom = self._box(foot).y1 + self.pixels(p.caption_pt * 0.8)
        if legend:
            top = self._legend(legend, top) - self.pixels(p.text_pt * 0.5)
        self._area = Box(left, bottom, right, top)
        self.fit()

    def _paragraph(
        self, texts: Sequence[str], size: float, colour: str, x: float, y: float, va: str, weight: str = "normal"
    ) -> Text:
        """Write texts, each starting on a new line, with line breaks at the width of the page."""
        drawn = self.figure.text(
            x / self.width, y / self.height, "", va=va, fontsize=size, color=colour, weight=weight, linespacing=1.25
        )
        lines = []
        for text in texts:
            lines.append("")
            for word in text.split():
                drawn.set_text(longer := f"{lines[-1]} {word}".strip())
                if self._box(drawn).width <= self._area.right - self._area.left:
                    lines[-1] = longer
                else:
                    lines.append(word)
        drawn.set_text("\n".join(line for line in lines if line))
        return drawn

    def _legend(self, handles: Sequence[Artist], top: float) -> float:
        """Draw the legend in as few rows as possible; return its lower end in pixels."""
        p = self.preset
        for columns in range(len(handles), 0, -1):
            legend = self.figure.legend(
                handles=list(handles),
                ncols=columns,
                loc="upper left",
                bbox_to_anchor=(self._area.left / self.width, top / self.height),
                borderpad=0,
                borderaxespad=0,
                frameon=False,
                fontsize=p.tick_pt,
                labelcolor=p.ink,
                handlelength=1.2,
                handletextpad=0.5,
                columnspacing=1.4,
            )
            box = legend.get_window_extent(self._renderer)
            if box.x1 <= self._area.right or columns == 1:
                return float(box.y0)
            legend.remove()
        return top

    def fit(self) -> None:
        """Make the axes, with their labels, fill the area between title and caption."""
        wanted = self._area
        inner = wanted
        for _ in range(3):
            self._put_axes(inner)
            tight = self.axes.get_tightbbox(self._renderer)
            assert tight is not None
            at = self.axes.get_window_extent(self._renderer)
            inner = Box(
                wanted.left + (at.x0 - tight.x0),
                wanted.bottom + (at.y0 - tight.y0),
                wanted.right - max(tight.x1 - at.x1, 0),
                wanted.top - max(tight.y1 - at.y1, 0),
            )
        self._put_axes(inner)

    def _put_axes(self, box: Box) -> None:
        left, bottom, right, top = box
        self.axes.set_position(
            (left / self.width, bottom / self.height, (right - left) / self.width, (top - bottom) / self.height)
        )

    def row_points(self, rows: float) -> float:
        """Return the height of one row if the axes are divided into `rows` rows, in points."""
        return float(self.axes.get_window_extent(self._renderer).height) / rows * 72 / self.preset.dpi

    def text_width(self, text: str, size: float) -> float:
        """Return the width of a text, in pixels."""
        drawn = self.figure.text(0, 0, text, fontsize=size)
        width = float(self._box(drawn).width)
        drawn.remove()
        return width

    def _box(self, text: Text) -> Bbox:
        return text.get_window_extent(self._renderer)

    def to_pixels(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return data points as pixels, clipped to the axes, shape (points, 2)."""
        low, high = np.sort(self.axes.get_xlim()), np.sort(self.axes.get_ylim())
        data = np.stack([np.clip(x, *low), np.clip(y, *high)], axis=1)
        return np.asarray(self.axes.transData.transform(data), dtype=np.float64)

    def label(self, lines: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]) -> None:
        """Write the names of variants beside their lines.

        `lines` maps a name to its line, the points where its label may be, both in pixels, and the cost of each point.
        """
        gap = self.pixels(self.preset.text_pt * 0.65)
        at = self.axes.get_window_extent(self._renderer)
        bounds = Box(at.x0 + gap / 2, at.y0 + gap / 2, self._area.right, self._area.top)
        texts = [self._label_text(name) for name in lines]
        boxes = [self._box(text) for text in texts]
        wanted = [
            Label(float(box.width), float(box.height), *line) for box, line in zip(boxes, lines.values(), strict=True)
        ]
        for name, text, where in zip(lines, texts, place(wanted, bounds, gap), strict=True):
            text.set_position((where.x / self.width, where.y / self.height))
            if where.away > _LEADER_FROM * gap:
                self._leader(name, where.anchor, self._nearest(self._box(text), where.anchor), dot=True)

    def label_ends(self, ends: Mapping[str, NDArray[np.float64]]) -> None:
        """Write the names of variants in a column to the right of the ends of their lines; `ends` are in pixels."""
        texts = {name: self._label_text(name) for name in ends}
        box = self._box(next(iter(texts.values())))
        at = self.axes.get_window_extent(self._renderer)
        bounds = (at.y0 + box.height / 2, self._area.top - box.height / 2)
        heights = column([float(end[1]) for end in ends.values()], float(box.height) * 1.08, bounds)
        left = max(float(end[0]) for end in ends.values()) + self.pixels(self.preset.text_pt * 1.7)
        for (name, end), height in zip(ends.items(), heights, strict=True):
            texts[name].set_horizontalalignment("left")
            texts[name].set_position((left / self.width, height / self.height))
            self._leader(name, (float(end[0]), float(end[1])), (left - self.pixels(self.preset.text_pt * 0.3), height))

    def _label_text(self, name: str) -> Text:
        variant = next(variant for variant in self.result.variants if variant.name == name)
        return self.figure.text(
            0.5,
            0.5,
            name,
            fontsize=self.preset.text_pt,
            color=self.look(variant).text,
            ha="center",
            va="center",
            path_effects=self.halo(),
            gid=f"label-{self.result.variants.index(variant)}",
        )

    def halo(self) -> list[AbstractPathEffect]:
        """Return an outline in the background colour, which keeps a text readable on the grid."""
        from matplotlib.patheffects import withStroke

        return [withStroke(linewidth=self.preset.line_pt * 1.5, foreground=self.preset.background)]

    @staticmethod
    def _nearest(box: Bbox, point: tuple[float, float]) -> tuple[float, float]:
        return float(np.clip(point[0], box.x0, box.x1)), float(np.clip(point[1], box.y0, box.y1))

    def _leader(self, name: str, start: tuple[float, float], end: tuple[float, float], dot: bool = False) -> None:
        """Draw a thin line from the line of a variant to its label, with a dot at its start if `dot`."""
        from matplotlib.lines import Line2D

        p = self.preset
        colour = next(self.look(variant).colour for variant in self.result.variants if variant.name == name)
        x, y = (np.array([start, end]) / (self.width, self.height)).T
        line = Line2D(x, y, transform=self.figure.transFigure, color=colour, linewidth=p.line_pt / 2.5, zorder=4)
        if dot:
            line.set(marker="o", markevery=[0], markersize=p.marker_pt * 0.55)
            line.set(markeredgecolor=p.background, markeredgewidth=p.line_pt / 3)
        self.figure.add_artist(line)

    def _watermark(self) -> None:
        text = words.watermark(self.result)
        if not text:
            return
        at = self.axes.get_window_extent(self._renderer)
        drawn = self.figure.text(
            (at.x0 + at.x1) / 2 / self.width,
            (at.y0 + at.y1) / 2 / self.height,
            text,
            ha="center",
            va="center",
            fontsize=100,
            weight="bold",
            color=self.preset.warning,
            alpha=0.32,
            rotation=_WATERMARK_ANGLE,
            zorder=10,
            gid="watermark",
        )
        box = self._box(drawn)
        drawn.set_fontsize(
            min(100 * 0.95 * min(at.width / box.width, at.height / box.height), 3 * self.preset.title_pt)
        )

    def chart(self, name: str, alt: str) -> Chart:
        """Return the chart, with a watermark if it is not fit to conclude from."""
        self._watermark()
        return Chart(name, self.figure, self.title, alt, "\n".join(self.notes))
