"""`rtbench run`."""

from __future__ import annotations

from typing import Any

import click

from rtbench.cli.measuring import measure_and_print
from rtbench.cli.options import SHARED, measuring


@click.command("run")
@measuring(many=False)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Measure one variant, several times, and print what was seen."""
    return measure_and_print(ctx, "run", **{name: options[name] for name in SHARED})
