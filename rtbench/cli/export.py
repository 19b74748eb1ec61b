"""`rtbench export`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from rtbench.errors import UsageError

if TYPE_CHECKING:
    from rtbench.results import Result


@click.command("export")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--summary", "what", flag_value="summary", default=True, help="a row a variant (the default)")
@click.option("--trials", "what", flag_value="trials", help="a row a trial")
@click.option("--deliveries", "what", flag_value="deliveries", help="a row a delivery, times in integer nanoseconds")
@click.option("--hgrm", metavar="VARIANT", help="the latencies of a variant in HdrHistogram's percentile format, ms")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="write here [standard output]",
)
@click.pass_context
def command(ctx: click.Context, result: Path, what: str, hgrm: str | None, out: Path | None) -> None:
    """Print the data of a saved result as CSV, or a distribution of latencies for HdrHistogram's plotter."""
    from rtbench.storage import load

    if hgrm is not None and ctx.get_parameter_source("what") is not ParameterSource.DEFAULT:
        raise UsageError(f"--hgrm and --{what} are two files; ask for one at a time")
    loaded = load(result)
    lines = {
        "summary": lambda: iter([loaded.summary.to_csv()]),
        "trials": lambda: iter([loaded.trial_table.to_csv()]),
        "deliveries": lambda: delivery_lines(loaded),
    }[what]()
    _write(lines if hgrm is None else hgrm_lines(loaded, hgrm), out)


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


def hgrm_lines(result: Result, variant: str) -> Iterator[str]:
    """Yield the latencies of a variant, milliseconds, in HdrHistogram's percentile format.

    Raises:
        UsageError: no such variant, or none of its messages arrived.
    """
    from rtbench.hgrm import lines

    latencies = result.latency_ms(variant)
    if not len(latencies):
        raise UsageError(f"{variant} has no deliveries in this result")
    return lines(latencies)


def delivery_lines(result: Result) -> Iterator[str]:
    """Yield CSV with a row a delivery; times are nanoseconds after the start of the trial."""
    columns = [
        "trial",
        "publisher",
        "sequence",
        "subscriber",
        "due_ns",
        "ready_ns",
        "sent_ns",
        "arrived_ns",
        "received_ns",
        "intact",
    ]
    columns += ["latency_ns", "measured"]
    yield ",".join(["variant", *columns]) + "\n"
    warmup_ns = round(result.workload.warmup_s * 1e9)
    for variant in result.variants:
        name = f'"{variant.name}"' if "," in variant.name else variant.name
        samples = result.samples(variant.name)
        if not samples:
            continue
        samples["latency_ns"] = samples["received_ns"] - samples["due_ns"]
        samples["measured"] = samples["due_ns"] >= warmup_ns
        for row in zip(*(samples[column].astype("int64").tolist() for column in columns), strict=True):
            yield f"{name},{','.join(map(str, row))}\n"
