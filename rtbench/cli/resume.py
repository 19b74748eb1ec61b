"""`rtbench resume`: measure what is left of an interrupted result."""

from __future__ import annotations

from pathlib import Path

import click

from rtbench.cli.options import check_variables
from rtbench.cli.paths import UserPath


@click.command("resume", short_help="Measure what is left of an interrupted result.")
@click.argument("result", type=UserPath())
@click.option("--chart", is_flag=True, help="draw the charts too")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
@click.option("--strict", is_flag=True, help="exit code 4 if a variant is invalid")
@click.option("--quiet", is_flag=True, help="no progress, no hints")
@click.pass_context
def command(ctx: click.Context, result: Path, chart: bool, as_json: bool, strict: bool, quiet: bool) -> int:
    """Measure what is left of RESULT, which was interrupted; its finished trials stay as they are.

    It is refused where the rest would be measured under other conditions.
    """
    from rtbench.cli.measuring import carry_out
    from rtbench.experiments import experiment_of, load
    from rtbench.experiments.runner import resume

    check_variables(ctx)
    loaded = load(result)
    return carry_out(lambda watch: resume(experiment_of(loaded), loaded, watch), chart, as_json, quiet, strict)
