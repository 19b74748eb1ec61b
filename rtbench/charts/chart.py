"""Chart: a figure with its title and its alternative text, and methods to save it."""

from __future__ import annotations

import base64
import html
import io
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtbench.charts.style import settings
from rtbench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
_NOTEBOOK_WIDTH = 1280  # pixels


@dataclass(frozen=True)
class Chart:
    """A drawn chart. `alt` describes the picture in words; files of every format contain it.

    `notes` is the text below the picture: what it shows and under which conditions, a line each.
    """

    name: str
    figure: Figure
    title: str
    alt: str
    notes: str = ""

    def save(self, path: str | Path) -> None:
        """Write the chart to a file; the suffix determines the format. The file is written completely or not at all.

        SVG and PDF files of the same chart are always identical, byte by byte.

        Raises:
            UsageError: there is no such format, or the path cannot be written.
        """
        target = Path(path)
        kind = target.suffix.lower().removeprefix(".")
        if kind not in FORMATS:
            wanted = ", ".join(f".{name}" for name in FORMATS)
            raise UsageError(f"a chart is saved as {wanted}: got {target.name!r}")
        content = self._rendered(kind)
        try:
            _write(target, content)
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}") from error

    def save_notes(self, path: str | Path) -> None:
        """Write title and notes to a text file.

        Raises:
            UsageError: the path cannot be written.
        """
        try:
            _write(Path(path), f"{self.title}\n\n{self.notes}\n".encode())
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error

    def _rendered(self, kind: str, dpi: float | None = None) -> bytes:
        metadata: dict[str, dict[str, Any]] = {
            "png": {"Title": self.title, "Description": self.alt},
            "svg": {"Date": None},
            "pdf": {"Title": self.title, "Subject": self.alt, "CreationDate": None},
        }
        buffer = io.BytesIO()
        with settings():
            self.figure.savefig(buffer, format=kind, dpi=dpi or self.figure.dpi, metadata=metadata[kind])
        return self._with_words(buffer.getvalue()) if kind == "svg" else buffer.getvalue()

    def _with_words(self, svg: bytes) -> bytes:
        """Add title and description to an SVG for screen readers (WAI-ARIA Graphics, SVG 2 section 5.8)."""
        attributes = f'role="img" aria-labelledby="{self.name}-title {self.name}-desc"'
        words = (
            f'<title id="{self.name}-title">{html.escape(self.title, quote=False)}</title>\n'
            f' <desc id="{self.name}-desc">{html.escape(self.alt, quote=False)}</desc>'
        )
        return re.sub(
            r"<svg ([^>]*)>",
            lambda tag: f"<svg {attributes} {tag[1]}>\n {words}",
            svg.decode("utf-8"),
            count=1,
        ).encode("utf-8")

    def _repr_html_(self) -> str:
        png = self._rendered("png", dpi=_NOTEBOOK_WIDTH / self.figure.get_figwidth())
        data = base64.b64encode(png).decode("ascii")
        return f'<img alt="{html.escape(self.alt)}" style="max-width: 100%" src="data:image/png;base64,{data}">'


def _write(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        part.chmod(0o644)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
