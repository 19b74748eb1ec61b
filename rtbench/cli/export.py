"""`rtbench export`: print the data of a saved result, or what its columns and properties mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.core import ParameterSource

from rtbench.errors import UsageError


@click.command("export", short_help="Print the data of a saved result.")
@click.argument("result", type=click.Path(path_type=Path), required=False)
@click.option("--summary", "what", flag_value="summary", default=True, help="a row a variant (the default)")
@click.option("--rates", "what", flag_value="rates", help="a row a variant and update rate: bytes, requests, age")
@click.option("--trials", "what", flag_value="trials", help="a row a trial")
@click.option("--deliveries", "what", flag_value="deliveries", help="a row a delivery, times in integer nanoseconds")
@click.option("--schema", "what", flag_value="schema", help="the JSON Schema of every result.json; needs no RESULT")
@click.option("--markdown", "what", flag_value="markdown", help="the table of the report, for Markdown")
@click.option("--hgrm", metavar="VARIANT", help="the latencies of a variant in HdrHistogram's percentile format, ms")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="write here [standard output]",
)
@click.pass_context
def command(ctx: click.Context, result: Path | None, what: str, hgrm: str | None, out: Path | None) -> None:
    """Print the data of a saved result as CSV or Markdown, or a distribution of latencies for HdrHistogram."""
    if hgrm is not None and ctx.get_parameter_source("what") is not ParameterSource.DEFAULT:
        raise UsageError(f"--hgrm and --{what} are two files; ask for one at a time")
    if result is None and what != "schema":
        raise UsageError("RESULT is missing: the directory of a saved result")
    _write(_lines(result, what, hgrm), out)


def _lines(path: Path | None, what: str, hgrm: str | None) -> Iterator[str]:
    from rtbench.experiments import load, schema

    if path is None or what == "schema":
        return iter([json.dumps(schema(), indent=1) + "\n"])
    if hgrm is not None or what in ("deliveries", "rates"):
        from rtbench.experiments.compare import load_comparison
        from rtbench.result.exports import delivery_lines, hgrm_lines

        comparison = load_comparison(path)
        if what == "rates":
            return iter([comparison.rate_table.to_csv()])
        return delivery_lines(comparison) if hgrm is None else hgrm_lines(comparison, hgrm)
    result = load(path)
    if what == "markdown":
        return iter([result.overview().to_markdown()])
    return iter([(result.summary if what == "summary" else result.trial_table).to_csv()])


def _write(lines: Iterator[str], out: Path | None) -> None:
    if out is None:
        for text in lines:
            sys.stdout.write(text)
        return
    try:
        part = out.with_name(out.name + ".part")
        with part.open("w", encoding="utf-8") as file:
            file.writelines(lines)
        part.replace(out)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from error
