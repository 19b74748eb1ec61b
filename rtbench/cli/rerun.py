"""`rtbench rerun`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtbench.cli.options import check_variables
from rtbench.cli.paths import UserPath
from rtbench.table import WIDTH

if TYPE_CHECKING:
    from rtbench.result.comparison import Comparison


@click.command("rerun", short_help="Measure a saved result again, and say whether it agrees.")
@click.argument("result", type=UserPath())
@click.option("--out", type=UserPath(), metavar="DIR", help="save here [results/rerun-TIME]")
@click.option("--strict", is_flag=True, help="exit 4 where nothing can be concluded")
@click.option("--quiet", is_flag=True, help="no progress, no hints")
@click.pass_context
def command(ctx: click.Context, result: Path, out: Path | None, strict: bool, quiet: bool) -> int:
    """Measure RESULT again with its own settings, seed and schedule, and say of each variant whether it agrees.

    It agrees if as much was delivered, and the interval of the ratio of the medians contains 1 and is within 25 %. If
    the interval contains 1 and is wider, these trials cannot tell.

    Exit 0: none disagrees; 1: a trial failed; 3: one does not agree; with --strict, 4: these trials cannot tell, or
    the new measurement is not fit to conclude from.
    """
    from rtbench.cli.measuring import result_directory
    from rtbench.experiments import experiment_of
    from rtbench.experiments.compare import load_comparison
    from rtbench.experiments.progress import progress_line
    from rtbench.experiments.rerun import settings_of
    from rtbench.experiments.runner import run

    check_variables(ctx)
    before = load_comparison(result)
    settings = settings_of(before)
    with result_directory(out, "rerun") as directory, progress_line(False if quiet else None) as watch:
        after = run(experiment_of(before), settings, directory, watch)
    code = _say(before, after, strict)
    if not quiet:
        click.echo(f"saved in {after.path}", err=True)
    return code


def _say(before: Comparison, after: Comparison, strict: bool) -> int:
    from rtbench.experiments.rerun import NO, UNKNOWN, YES, agreements, differences, table

    found = agreements(before, after)
    click.echo(table(found).text(left=["variant", "p50 ms", "again", "ratio"]))
    click.echo()
    differing = differences(before, after)
    _paragraph("environment: " + ("; ".join(differing) if differing else "the same, as far as it is recorded"))
    for agreement in found:
        if agreement.agrees != YES:
            _paragraph(f"{agreement.variant}: {agreement.reason}")
    for row in after.summary:
        if row["reasons"]:
            _paragraph(f"{row['variant']} is {row['verdict']} this time: {row['reasons']}")
    state, agrees = after.problem, [agreement.agrees for agreement in found]
    unfit = " (in a measurement that is NOT FIT TO CONCLUDE FROM)" if state == 4 else ""
    _paragraph(_conclusion(agrees) + unfit)
    if state == 1:
        return 1
    if NO in agrees:
        return 3
    return 4 if strict and (unfit or UNKNOWN in agrees) else 0


def _conclusion(agrees: list[str]) -> str:
    from rtbench.experiments.rerun import NO, UNKNOWN

    if NO in agrees:
        return f"does not agree: {agrees.count(NO)} of {len(agrees)} variants"
    if UNKNOWN in agrees:
        return f"CANNOT TELL: {agrees.count(UNKNOWN)} of {len(agrees)} variants"
    return "agrees"


def _paragraph(text: str) -> None:
    click.echo(textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False))
