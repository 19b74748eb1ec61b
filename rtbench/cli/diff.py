"""`rtbench diff`: compare two saved results, or the variants of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rtbench.cli.paths import UserPath

if TYPE_CHECKING:
    from rtbench.analysis.difference import Difference


@click.command("diff", short_help="Compare two saved results, or the variants of one.")
@click.argument("a", type=UserPath())
@click.argument("b", type=UserPath(), required=False)
@click.option("--baseline", metavar="VARIANT", help="compare the variants of A with this one")
@click.option("--aa", is_flag=True, help="compare A with itself: the noise floor")
@click.option("--anyway", is_flag=True, help="compare results that were not measured alike")
@click.option("--strict", is_flag=True, help="exit 4 where nothing can be concluded")
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def command(a: Path, b: Path | None, baseline: str | None, aa: bool, anyway: bool, strict: bool, as_json: bool) -> int:
    """Compare two saved results, or the variants of one, by ratios with 95 % intervals.

    \b
    rtbench diff A B                     what changed from A to B
    rtbench diff A --baseline websocket  the other variants as multiples of one
    rtbench diff A --aa                  how much differs where nothing does

    Exit 0; with --strict, 4 if a variant among them is invalid, or if a row cannot tell.
    """
    _check(b, baseline, aa, anyway)
    found = _difference(a, b, baseline, anyway)
    if as_json:
        about = {"a": found.sides[0], "b": found.sides[1], "conditions": list(found.conditions)}
        said = {"notes": list(found.notes), "conclusion": found.conclusion}
        click.echo(json.dumps({**about, "rows": list(found), **said}, indent=1))
    else:
        click.echo(str(found))
    return 4 if strict and not found.conclusive else 0


def _check(b: Path | None, baseline: str | None, aa: bool, anyway: bool) -> None:
    from rtbench.errors import UsageError

    asked = [name for name, given in (("B", b), ("--baseline", baseline), ("--aa", aa or None)) if given is not None]
    if not asked:
        raise UsageError("nothing to compare A with: give a second result, --baseline VARIANT or --aa")
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} do not go together; give one of them")
    if anyway and b is None:
        raise UsageError("--anyway is for two results; one result was measured under one set of conditions")


def _difference(a: Path, b: Path | None, baseline: str | None, anyway: bool) -> Difference:
    from rtbench.analysis.difference import between, noise_floor, ratios
    from rtbench.experiments.compare import load_comparison

    first = load_comparison(a)
    if b is not None:
        return between(first, load_comparison(b), anyway)
    return noise_floor(first) if baseline is None else ratios(first, baseline)
