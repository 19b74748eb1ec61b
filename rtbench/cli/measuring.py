"""What `run` and `compare` do alike: measure with a live progress line, print the table, say where the result is."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtbench.cli.options import settings_from

if TYPE_CHECKING:
    from rtbench.comparison import Progress
    from rtbench.results import Result


def measure_and_print(
    ctx: click.Context,
    kind: str,
    out: Path | None,
    config: Path | None,
    chart: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Do all of it; return the exit code."""
    settings = settings_from(ctx, config)
    from rtbench.comparison import measure
    from rtbench.errors import Interrupted

    line = ProgressLine(shown=not quiet and sys.stderr.isatty())
    try:
        result = measure(settings, kind, out or _default_directory(kind), line.show)
    except Interrupted as interrupted:
        line.clear()
        stopped: Result | None = getattr(interrupted, "result", None)
        if stopped is not None and stopped.trials:
            _print(stopped, as_json)
        raise
    line.clear()
    _print(result, as_json)
    if chart:
        _draw(result, quiet)
    if not quiet:
        hint = "" if chart else f"; draw it: rtbench chart {result.path}"
        click.echo(f"saved in {result.path}{hint}", err=True)
    return result.exit_code


def _print(result: Result, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**result.description(), "summary": list(result.summary)}, indent=1))
    else:
        click.echo(result.report())


def _draw(result: Result, quiet: bool) -> None:
    from rtbench.cli.chart import draw_charts

    assert result.path is not None
    for path in draw_charts(result, result.path / "charts"):
        if not quiet:
            click.echo(f"drew {path}", err=True)


def _default_directory(kind: str) -> Path:
    return Path("results") / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"


class ProgressLine:
    """One line on a terminal, written over as the measurement goes on."""

    _EVERY_S = 0.1

    def __init__(self, shown: bool) -> None:
        """Write nothing unless `shown`."""
        self._shown = shown
        self._last = 0.0

    def show(self, progress: Progress) -> None:
        """Show where the measurement stands."""
        now = time.monotonic()
        if not self._shown or (progress.deliveries and now - self._last < self._EVERY_S):
            return
        self._last = now
        minutes, seconds = divmod(round(progress.left_s), 60)
        open_ended = progress.most_trials > progress.trials
        text = (
            f"trial {progress.trial}/{progress.trials}{f' (at most {progress.most_trials})' if open_ended else ''}  "
            f"{progress.variant:<16} {progress.deliveries:>8} messages  "
            f"{'at least ' if open_ended else ''}{minutes}:{seconds:02d} left"
        )
        width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        click.echo(f"\r\x1b[K{text[:width]}", err=True, nl=False)

    def clear(self) -> None:
        """Leave an empty line behind."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
