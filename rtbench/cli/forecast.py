"""`rtbench forecast`: what servers would need for more subscribers."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rtbench.cli.paths import UserPath


@click.command("forecast", short_help="Extrapolate a sweep over subscribers.")
@click.argument("result", type=UserPath())
@click.option("--subscribers", type=int, required=True, metavar="N", help="for how many")
@click.option("--publishers", type=int, metavar="N", help="for how many [that of the sweep]")
@click.option("--rate", type=float, metavar="HZ", help="messages per second of each publisher [that of the sweep]")
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def command(result: Path, subscribers: int, publishers: int | None, rate: float | None, as_json: bool) -> None:
    """Say what cores, memory and bandwidth a server would need, by RESULT, a sweep over subscribers.

    Costs are fitted as linear functions of the load. Beside each forecast is a check: the same model, fitted without
    the largest level, predicts that level. With six levels or more, the Universal Scalability Law says where the
    throughput is highest. docs/models.md has the formulas.

    \b
    rtbench sweep --vary subscribers=1,10,30,100,300,1000 --out DIR
    rtbench forecast DIR --subscribers 1000000
    """
    from rtbench.analysis.forecast import forecast
    from rtbench.experiments import load
    from rtbench.result.forecast import as_json as described
    from rtbench.result.forecast import text

    found = forecast(list(load(result).summary), subscribers, rate, publishers)
    click.echo(json.dumps(described(found), indent=1) if as_json else text(found))
