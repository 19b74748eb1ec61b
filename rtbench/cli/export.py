"""`rtbench export`: print the data of a saved result, or what its columns and properties mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from rtbench.cli.paths import UserPath
from rtbench.errors import UsageError

_KINDS = {
    "summary": "a row a variant (the default)",
    "rates": "a row a variant and update rate: bytes, requests, age",
    "trials": "a row a trial",
    "deliveries": "a row a delivery, times in integer nanoseconds",
    "schema": "the JSON Schema of every result.json; needs no RESULT",
    "markdown": "the table of the report, for Markdown",
}


def _kinds(function: Callable[..., None]) -> Callable[..., None]:
    for kind, help in reversed(_KINDS.items()):
        function = click.option(f"--{kind}", kind, is_flag=True, help=help)(function)
    return function


@click.command("export", short_help="Print the data of a saved result.")
@click.argument("result", type=UserPath(), required=False)
@_kinds
@click.option("--hgrm", metavar="VARIANT", help="the latencies of a variant in HdrHistogram's percentile format, ms")
@click.option("--out", type=UserPath(dir_okay=False), metavar="FILE", help="write here [standard output]")
def command(result: Path | None, hgrm: str | None, out: Path | None, **kinds: bool) -> None:
    """Print the data of a saved result as CSV or Markdown, or a distribution of latencies for HdrHistogram."""
    asked = [kind for kind, wanted in kinds.items() if wanted]
    files = [f"--{kind}" for kind in (["hgrm"] if hgrm is not None else []) + asked]
    if len(files) > 1:
        raise UsageError(f"{' and '.join(files)} are {len(files)} files; ask for one at a time")
    what = asked[0] if asked else "summary"
    if what == "schema" and result is not None:
        raise UsageError("--schema needs no RESULT: it describes every result")
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
