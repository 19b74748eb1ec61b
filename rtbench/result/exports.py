"""Every delivery of a comparison as CSV, and a distribution of latencies for HdrHistogram's plotter."""

from __future__ import annotations

from collections.abc import Iterator

from rtbench.analysis.metric import Column
from rtbench.errors import UsageError
from rtbench.result.comparison import Comparison
from rtbench.result.hgrm import lines

DELIVERY_COLUMNS = (
    Column("variant", "text", "as above"),
    Column("trial", "integer", "its place in the order of the trials, from 0"),
    Column("publisher", "integer", "number of the publisher, from 0"),
    Column("sequence", "integer", "number of the message within its publisher, from 0"),
    Column("subscriber", "integer", "number of the subscriber, from 0"),
    Column("due_ns", "integer", "when the message was due"),
    Column("ready_ns", "integer", "when the generator had it ready"),
    Column("sent_ns", "integer", "when it was handed to the client library"),
    Column("relayed_ns", "integer", "when the server had it whole and relayed it; 0 where the server does not tell"),
    Column("arrived_ns", "integer", "the kernel's receive stamp; 0 without one"),
    Column("received_ns", "integer", "when the subscriber had it"),
    Column("intact", "integer", "1: size, header and padding are right; 0: they are not"),
    Column("latency_ns", "integer", "`received_ns - due_ns`"),
    Column("measured", "integer", "1: due after the warm-up; 0: in it"),
)


def hgrm_lines(result: Comparison, variant: str) -> Iterator[str]:
    """Yield the latencies of a variant, milliseconds, in HdrHistogram's percentile format.

    Raises:
        UsageError: no such variant, or none of its messages arrived.
    """
    latencies = result.latency_ms(variant)
    if not len(latencies):
        raise UsageError(f"{variant} has no deliveries in this result")
    return lines(latencies)


def delivery_lines(result: Comparison) -> Iterator[str]:
    """Yield CSV with a row a delivery; times are nanoseconds after the start of the trial."""
    columns = [column.name for column in DELIVERY_COLUMNS]
    yield ",".join(columns) + "\n"
    warmup_ns = round(result.workload.warmup_s * 1e9)
    for variant in result.variants:
        name = f'"{variant.name}"' if "," in variant.name else variant.name
        samples = result.samples(variant.name)
        if not samples:
            continue
        samples["latency_ns"] = samples["received_ns"] - samples["due_ns"]
        samples["measured"] = samples["due_ns"] >= warmup_ns
        for row in zip(*(samples[column].astype("int64").tolist() for column in columns[1:]), strict=True):
            yield f"{name},{','.join(map(str, row))}\n"
