"""The result of a run or a comparison, and everything that can be had from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis import disturbance
from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.measured import Measured
from rtbench.analysis.metrics import observation, summary_row, trial_row
from rtbench.analysis.precision import Precision, widths
from rtbench.analysis.verdict import INVALID
from rtbench.plan.records import Deliveries, Publishes
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result import storage
from rtbench.result.result import Result
from rtbench.table import Table
from rtbench.transports import registry
from rtbench.units import counted, format_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.analysis.difference import Difference
    from rtbench.charts import Chart


@dataclass(repr=False, kw_only=True)
class Comparison(Result[Measured]):
    """A run or a comparison: trials of one variant, or of several in random order."""

    workload: Workload

    counts = TrialCounts
    sampled = True
    charts = (
        "latency-ecdf",
        "latency-percentiles",
        "latency-breakdown",
        "bytes-per-delivery",
        "server-cpu",
        "latency-against-bytes",
    )

    @cached_property
    def summary(self) -> Table:
        """One row a variant: the columns of summary.csv."""
        return Table([summary_row(v, self.trials_of(v.name), self.workload) for v in self.variants])

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial: the columns of trials.csv."""
        by_name = {variant.name: variant for variant in self.variants}
        return Table([trial_row(t, by_name[t.counts.variant]) for t in self.trials])

    def observe(self) -> dict[str, str]:
        """Return one sentence on each variant: that of its client, or a plain one."""
        found = {}
        for variant, row in zip(self.variants, self.summary, strict=True):
            words = registry.client(variant.transport, variant.client).observation
            found[variant.name] = observation(variant, row, words)
        return found

    def extend(self) -> bool:
        """Plan another trial of each variant, unless the precision asked for is reached, or out of reach."""
        if self.precision is None or self.precision.enough(self.blocks):
            return False
        self.planned_trials += len(self.variants)
        return True

    @property
    def blocks(self) -> int:
        """How many trials of each variant were to be run; with a precision, as many as it came to so far."""
        return self.planned_trials // len(self.variants)

    @property
    def precision(self) -> Precision | None:
        """The precision that was asked for and what was reached of it; None where none was asked for."""
        asked = self.settings.get("precision")
        if asked is None or asked.value is None:
            return None
        return Precision(asked.value, self.settings["most_trials"].value, widths(self.summary))

    @property
    def exit_code(self) -> int:
        """0 fine, 1 a trial failed, 3 the precision asked for was not reached, 4 measured but not fit to conclude."""
        if any(t.counts.error for t in self.trials):
            return 1
        if INVALID in self.summary.column("verdict"):
            return 4
        return 3 if self.precision is not None and not self.precision.reached else 0

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement, in phrases."""
        w = self.workload
        return [
            w.pattern,
            counted(w.publishers, "publisher"),
            counted(w.subscribers, "subscriber"),
            f"{w.rate_hz:g} messages/s each ({w.arrivals})",
            f"{w.payload_bytes}-byte payload",
            f"{counted(self.blocks, 'trial')} of {format_seconds(w.duration_s)}",
            str(self.environment.get("link", "unknown link")),
        ]

    # samples

    def latency_ms(self, variant: str) -> NDArray[np.float64]:
        """Return the latencies of a variant's deliveries in milliseconds, pooled over the trials that count.

        Shape (delivered,).
        """
        self.check_name(variant)
        values = [t.latency_ms for t in disturbance.counted(self.trials_of(variant))]
        return np.concatenate(values) if values else np.empty(0)

    def samples(self, variant: str) -> dict[str, NDArray[Any]]:
        """Return every delivery of a variant, warm-up included: one array a column, all of the same length.

        trial, publisher, sequence, subscriber; due_ns, ready_ns, sent_ns, arrived_ns and received_ns after the start
        of the trial; intact (bool). arrived_ns is 0 without the kernel's stamp, ready_ns and sent_ns for a delivery
        that belongs to no message of the trial.
        """
        self.check_name(variant)
        parts = [_sample_columns(t) for t in self.trials_of(variant)]
        if not parts:
            return {}
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    # words and pictures

    def report(self) -> str:
        """Return the table and the sentences that `rtbench run` and `rtbench compare` print."""
        from rtbench.result.report import report

        return report(self)

    def _repr_html_(self) -> str:
        from rtbench.result.report import overview

        return overview(self)._repr_html_()

    def draw(self, name: str, preset: str) -> Chart:
        """Draw one chart; see `rtbench.charts.CHARTS`."""
        from rtbench.charts import CHARTS, draw

        return draw(CHARTS, self, name, preset)

    def latency_ecdf(self, preset: str = "slides") -> Chart:
        """Draw which share of deliveries had arrived after which time."""
        return self.chart("latency-ecdf", preset)

    def latency_percentiles(self, preset: str = "slides") -> Chart:
        """Draw latency by percentile, as far into the tail as the sample supports."""
        return self.chart("latency-percentiles", preset)

    def latency_breakdown(self, preset: str = "slides") -> Chart:
        """Draw where the time of a delivery goes: lag, network and server, client."""
        return self.chart("latency-breakdown", preset)

    def bytes_per_delivery(self, preset: str = "slides") -> Chart:
        """Draw bytes on the wire for each delivery, stacked by layer."""
        return self.chart("bytes-per-delivery", preset)

    def server_cpu(self, preset: str = "slides") -> Chart:
        """Draw the server's CPU time for each delivery."""
        return self.chart("server-cpu", preset)

    def latency_against_bytes(self, preset: str = "slides") -> Chart:
        """Draw latency against bytes: the comparison in one picture."""
        return self.chart("latency-against-bytes", preset)

    def ratios(self, baseline: str) -> Difference:
        """Compare every other variant with one of them; see `rtbench.analysis.difference`."""
        from rtbench.analysis.difference import ratios

        return ratios(self, baseline)

    def noise_floor(self) -> Difference:
        """Compare each variant with itself, even blocks with odd ones; see `rtbench.analysis.difference`."""
        from rtbench.analysis.difference import noise_floor

        return noise_floor(self)

    # on disk

    def samples_of(self, trial: Measured) -> Mapping[str, NDArray[Any]]:
        """Return every message and every delivery of a trial."""
        columns = {f"publish_{name}": column for name, column in vars(trial.publishes).items()}
        return columns | {f"delivery_{name}": column for name, column in vars(trial.deliveries).items()}

    def more(self) -> dict[str, Any]:
        """Return precision and workload."""
        precision = None if self.precision is None else self.precision.description()
        return {"precision": precision, "workload": asdict(self.workload)}

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return the verdict on a variant."""
        row = self.summary[variant.name]
        return {"verdict": row["verdict"], "reasons": row["reasons"]}

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> Comparison:
        """Make a result of the content of its result.json, and of its samples."""
        workload = Workload(**content["workload"])
        return cls(
            **cls.common_of(content),
            workload=workload,
            trials=[_trial(path, dict(trial), content["files"], workload) for trial in content["trials"]],
            path=path,
        )


def _trial(path: Path, content: dict[str, Any], files: Mapping[str, Any], workload: Workload) -> Measured:
    samples = storage.read_samples(path, content.pop("samples"), files)
    publishes = Publishes(**{f.name: samples[f"publish_{f.name}"] for f in fields(Publishes)})
    deliveries = Deliveries(**{f.name: samples[f"delivery_{f.name}"] for f in fields(Deliveries)})
    return Measured(storage.made(TrialCounts, content), workload, publishes, deliveries)


def _sample_columns(trial: Measured) -> dict[str, NDArray[Any]]:
    p, d = trial.publishes, trial.deliveries
    stride = int(max(p.sequence.max(initial=0), d.sequence.max(initial=0))) + 1
    keys = p.publisher * stride + p.sequence
    order = np.argsort(keys, kind="stable")
    wanted = d.publisher * stride + d.sequence
    place = np.minimum(np.searchsorted(keys[order], wanted), max(len(keys) - 1, 0))

    def of_its_message(times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(keys):
            return np.zeros(len(wanted), dtype=np.int64)
        message = order[place]
        return np.where(keys[message] == wanted, times_ns[message], 0)

    return {
        "trial": np.full(len(wanted), trial.counts.index),
        "publisher": d.publisher,
        "sequence": d.sequence,
        "subscriber": d.subscriber,
        "due_ns": d.due_ns,
        "ready_ns": of_its_message(p.ready_ns),
        "sent_ns": of_its_message(p.sent_ns),
        "arrived_ns": d.arrived_ns if len(d.arrived_ns) else np.zeros(len(wanted), dtype=np.int64),
        "received_ns": d.received_ns,
        "intact": d.intact,
    }
