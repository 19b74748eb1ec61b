"""What the commands that measure share: an experiment as a command, progress, report, charts, exit code."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtbench.cli.options import MeasuringCommand, output_options, settings_from

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment, Progress
    from rtbench.result.result import Result


def experiment_command(
    name: str, experiment: Callable[[], Experiment[Any, Any]], short_help: str, help: str, many: bool = True
) -> click.Command:
    """Return the command that runs an experiment, which is imported when the command is used.

    `many` lets options be repeated where several variants are measured.
    """

    @click.command(
        name,
        cls=MeasuringCommand,
        settings=lambda: experiment().settings(),
        many=many,
        help=help,
        short_help=short_help,
    )
    @output_options
    @click.pass_context
    def command(
        ctx: click.Context,
        /,
        out: Path | None,
        config: Path | None,
        chart: bool,
        as_json: bool,
        strict: bool,
        quiet: bool,
        **_settings: Any,
    ) -> int:
        from rtbench.experiments.runner import run

        chosen = experiment()
        given = settings_from(ctx, chosen.settings(), config)
        directory = out or default_directory(chosen.kind)
        return carry_out(lambda watch: run(chosen, given, directory, watch), chart, as_json, quiet, strict)

    return command


def carry_out(
    measure: Callable[[Callable[[Progress], None]], Result[Any]], chart: bool, as_json: bool, quiet: bool, strict: bool
) -> int:
    """Measure with a progress line, print the result, draw its charts if asked to; return the exit code."""
    from rtbench.experiments.runner import Stopped

    line = ProgressLine(shown=not quiet and sys.stderr.isatty())
    try:
        result = measure(line.show)
    except Stopped as stopped:
        line.clear()
        if stopped.result.trials:
            print_result(stopped.result, as_json)
        raise
    finally:
        line.clear()
    print_result(result, as_json)
    if chart:
        _draw(result, quiet)
    if not quiet:
        hint = "" if chart else f"; draw it: rtbench chart {result.path}"
        click.echo(f"saved in {result.path}{hint}", err=True)
    return result.exit_code(strict)


def print_result(result: Result[Any], as_json: bool) -> None:
    """Print the report, or the result as JSON with the rows of its summary."""
    if as_json:
        click.echo(json.dumps({**result.description(), "summary": list(result.summary)}, indent=1))
    else:
        click.echo(result.report())


def _draw(result: Result[Any], quiet: bool) -> None:
    from rtbench.cli.chart import draw_charts

    assert result.path is not None
    for path in draw_charts(result, result.path / "charts"):
        if not quiet:
            click.echo(f"drew {path}", err=True)


def default_directory(kind: str) -> Path:
    """Return where a result is saved if the user does not say."""
    return Path("results") / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"


class ProgressLine:
    """One line on a terminal, written over as the measurement goes on."""

    _EVERY_S = 0.1

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        self._last = 0.0

    def show(self, progress: Progress) -> None:
        """Show where the measurement stands."""
        now = time.monotonic()
        if not self._shown or (progress.note and now - self._last < self._EVERY_S):
            return
        self._last = now
        minutes, seconds = divmod(round(progress.left_s), 60)
        open_ended = progress.most_steps > progress.steps
        text = (
            f"trial {progress.step}/{progress.steps}{f' (at most {progress.most_steps})' if open_ended else ''}  "
            f"{progress.name:<16} {progress.note:<18}  "
            f"{'at least ' if open_ended else ''}{minutes}:{seconds:02d} left"
        )
        width = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
        click.echo(f"\r\x1b[K{text[:width]}", err=True, nl=False)

    def clear(self) -> None:
        """Leave an empty line behind."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
