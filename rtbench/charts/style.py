"""Style: presets, and the look of variants. A transport has the same colour, dash and marker in every chart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rtbench.plan.variant import BROWSER_CLIENT, DEFAULT_CLIENT, DEFAULT_SERVER

if TYPE_CHECKING:
    from rtbench.plan.variant import Variant

# petroff10, as in matplotlib: distinguishable with every kind of colour blindness (Petroff 2021, arXiv:2107.02270)
COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#92dadd",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#94a4a2",  # of the control
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h", "*")
DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = (
    "solid",
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)

Fill = Literal["full", "none", "left", "top"]
# key: (server is not the default, client is not the default)
_FILLS: dict[tuple[bool, bool], Fill] = {
    (False, False): "full",
    (True, False): "none",
    (False, True): "left",
    (True, True): "top",
}
_HATCHES = {(False, False): "", (True, False): "///", (False, True): "...", (True, True): "xxx"}

_LEAST_CONTRAST_OF_TEXT = 4.5  # WCAG 2.2, 1.4.3
_LEAST_CONTRAST_OF_LINES = 3.0  # WCAG 2.2, 1.4.11


@dataclass(frozen=True)
class Preset:
    """Size and colours for one use; sizes of text, lines and markers are in points."""

    name: str
    width_in: float
    height_in: float
    dpi: int
    background: str
    ink: str
    faint: str
    grid: str
    warning: str
    title_pt: float
    text_pt: float
    tick_pt: float
    caption_pt: float
    line_pt: float
    marker_pt: float
    notes: bool = True  # below the picture

    @property
    def dark(self) -> bool:
        """Whether the background is dark."""
        return luminance(self.background) < 0.2


# 13.33 x 7.5 inches are a slide of 16:9, so that points are those of the slide; 5.5 inches are a column and a half
_SLIDE: dict[str, Any] = {
    "width_in": 40 / 3,
    "height_in": 7.5,
    "dpi": 150,
    "title_pt": 25.0,
    "text_pt": 19.0,
    "tick_pt": 17.0,
    "caption_pt": 13.0,
    "line_pt": 3.0,
    "marker_pt": 12.0,
}
_ON_WHITE: dict[str, Any] = {
    "background": "#ffffff",
    "ink": "#1b1d22",
    "faint": "#555a63",
    "grid": "#e2e4e8",
    "warning": "#c1121f",
}
_ON_DARK: dict[str, Any] = {
    "background": "#15181e",
    "ink": "#f3f4f6",
    "faint": "#b4bac5",
    "grid": "#353a44",
    "warning": "#ff6b6b",
}

PRESETS = {
    "slides": Preset(name="slides", **_SLIDE, **_ON_WHITE),
    "paper": Preset(
        name="paper",
        width_in=5.5,
        height_in=3.7,
        dpi=300,
        title_pt=9.0,
        text_pt=7.5,
        tick_pt=7.0,
        caption_pt=6.0,
        line_pt=1.2,
        marker_pt=4.5,
        **_ON_WHITE,
    ),
    "dark": Preset(name="dark", **_SLIDE, **_ON_DARK),
}


@dataclass(frozen=True)
class Look:
    """How a variant is drawn; `text` is its colour for text, which needs more contrast."""

    colour: str
    text: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str
    fill: Fill
    hatch: str
    line_pt: float


def look(variant: Variant, preset: Preset) -> Look:
    """Return the look of a variant: colour by transport, dash and marker by option, filling by server and client."""
    unusual = (variant.server != DEFAULT_SERVER, variant.client not in (DEFAULT_CLIENT, BROWSER_CLIENT))
    plain = COLOURS[variant.slot % len(COLOURS)]
    return Look(
        colour=legible(plain, preset, _LEAST_CONTRAST_OF_LINES) if preset.dark else plain,
        text=legible(plain, preset, _LEAST_CONTRAST_OF_TEXT),
        dash=DASHES[variant.shade % len(DASHES)],
        marker=MARKERS[(variant.slot + variant.shade) % len(MARKERS)],
        fill=_FILLS[unusual],
        hatch=_HATCHES[unusual],
        line_pt=preset.line_pt * (0.5 if any(unusual) else 1.0),
    )


def mixed(colour: str, other: str, share: float) -> str:
    """Return the mixture of `share` of a colour and 1 - `share` of the other."""
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def legible(colour: str, preset: Preset, contrast: float) -> str:
    """Return the colour, mixed with the text colour until it has this contrast with the background."""
    steps = (mixed(colour, preset.ink, share / 20) for share in range(20, -1, -1))
    return next((c for c in steps if contrast_of(c, preset.background) >= contrast), preset.ink)


def contrast_of(colour: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(colour), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of an sRGB colour, 0 to 1 (WCAG 2.2)."""
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in _channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


@contextmanager
def settings() -> Iterator[None]:
    """Use the defaults of matplotlib and our own settings; the settings of the user are restored afterwards."""
    from matplotlib import style

    own = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # part of matplotlib: the same font on every machine
        "text.parse_math": False,
        "svg.hashsalt": "rtbench",
        "pdf.fonttype": 42,
        "svg.fonttype": "none",  # text, not outlines: it can be searched, read aloud and edited
        "hatch.linewidth": 0.8,
    }
    with style.context(["default", own]):
        yield
