"""`rtbench compare`."""

from __future__ import annotations

from typing import Any

import click

from rtbench.cli.measuring import measure_and_print
from rtbench.cli.options import SHARED, measuring


@click.command("compare")
@measuring(many=True)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Measure variants side by side, all of them by default, in about a minute."""
    return measure_and_print(ctx, "comparison", **{name: options[name] for name in SHARED})
