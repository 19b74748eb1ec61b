"""What the commands that measure share: an experiment as a command, progress, report, charts, exit code."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtbench.cli import drop
from rtbench.cli.options import MeasuringCommand, check_variables, output_options, settings_from, with_sources
from rtbench.errors import UsageError

if TYPE_CHECKING:
    from rtbench.experiments.progress import Watch
    from rtbench.experiments.runner import Experiment
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
        check_variables(ctx)
        given = settings_from(ctx, chosen.settings(), config, many)
        try:
            with result_directory(out, chosen.kind) as directory:
                return carry_out(lambda watch: run(chosen, given, directory, watch), chart, as_json, quiet, strict)
        except UsageError as error:
            raise with_sources(error, given, config) from error

    return command


def carry_out(measure: Callable[[Watch], Result[Any]], chart: bool, as_json: bool, quiet: bool, strict: bool) -> int:
    """Measure with a progress line, print the result, draw its charts if asked to; return the exit code."""
    from rtbench.experiments.progress import progress_line
    from rtbench.experiments.runner import NotSaved, Stopped

    try:
        with progress_line(False if quiet else None) as watch:
            result = measure(watch)
    except (Stopped, NotSaved) as error:
        if error.result.trials:
            print_result(error.result, as_json)
        raise
    print_result(result, as_json)
    if chart:
        _draw(result, quiet)
    if not quiet:
        hint = "" if chart else f"; draw it: rtbench chart {result.path}"
        click.echo(f"saved in {result.path}{hint}", err=True)
    return result.exit_code(strict)


def print_result(result: Result[Any], as_json: bool) -> None:
    """Print the report, or the result as JSON with the rows of its summary; to a pipe as long as somebody reads it."""
    if as_json:
        text = json.dumps({**result.description(), "summary": list(result.summary)}, indent=1)
    else:
        text = result.report(output_width())
    try:
        click.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)  # the exit code is that of the result, all the same


def output_width() -> int:
    """Return the width of the terminal, at most `WIDTH`; `WIDTH` if standard output is none."""
    from rtbench.table import WIDTH

    return min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH) if sys.stdout.isatty() else WIDTH


def _draw(result: Result[Any], quiet: bool) -> None:
    from rtbench.cli.chart import draw_charts

    assert result.path is not None
    for path in draw_charts(result, result.path / "charts"):
        if not quiet:
            click.echo(f"drew {path}", err=True)


@contextmanager
def result_directory(out: Path | None, kind: str) -> Iterator[Path]:
    """Yield where a result is saved: `out`, or a new directory that no other program has; it is gone if it stays empty.

    Raises:
        UsageError: it cannot be made.
    """
    if out is not None:
        yield out
        return
    above = Path("results")
    made = [] if above.exists() else [above]
    made = [_new_directory(above, kind), *made]
    try:
        yield made[0]
    finally:
        with suppress(OSError):  # it is not empty
            for directory in made:
                directory.rmdir()


def _new_directory(above: Path, kind: str) -> Path:
    name = f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    for number in itertools.count(1):
        directory = above / (name if number == 1 else f"{name}-{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"{directory} cannot be made: {error.strerror}; --out names another") from error
        return directory
    raise AssertionError
