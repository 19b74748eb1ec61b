"""Result: what a run or a comparison gave, and everything that can be had from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench import storage, transport
from rtbench.environment import describe
from rtbench.errors import UsageError
from rtbench.figures import observation, summary_row, trial_row
from rtbench.measured import Measured, measured
from rtbench.precision import Precision, widths
from rtbench.settings import Given
from rtbench.table import Table
from rtbench.variant import Variant
from rtbench.verdict import INVALID
from rtbench.workload import Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.charts import Chart
    from rtbench.difference import Difference
    from rtbench.trial import Trial

COMPLETE, INCOMPLETE = "complete", "incomplete"


@dataclass(repr=False)
class Result:
    """A run or a comparison. `path` is where it is saved, None if it is not."""

    kind: str
    settings: Mapping[str, Given]
    workload: Workload
    variants: list[Variant]
    environment: Mapping[str, Any]
    created: str
    trials: list[Measured] = field(default_factory=list)
    status: str = INCOMPLETE
    planned_trials: int = 0
    observations: dict[str, str] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def start(
        cls,
        kind: str,
        settings: Mapping[str, Given],
        workload: Workload,
        variants: Sequence[Variant],
        path: Path | None,
    ) -> Result:
        """Return a result without trials, its directory made and marked incomplete.

        Raises:
            UsageError: the directory cannot be written, or holds something already.
        """
        created = datetime.now(UTC).isoformat(timespec="seconds")
        planned = len(variants) * settings["trials"].value
        environment = describe(settings["tls"].value)
        result = cls(kind, settings, workload, list(variants), environment, created, planned_trials=planned, path=path)
        if path is not None:
            storage.claim(path)
            storage.write_description(path, result.description())
        return result

    def add(self, trial: Trial) -> None:
        """Take in a trial and save it."""
        taken = measured(trial)
        self.trials.append(taken)
        self._forget()
        if self.path is not None:
            storage.write_samples(self.path, taken)
            storage.write_description(self.path, self.description())

    def extend(self) -> bool:
        """Plan another trial of each variant, unless the precision asked for is reached, or out of reach."""
        if self.precision is None or self.precision.enough(self.blocks):
            return False
        self.planned_trials += len(self.variants)
        return True

    def finish(self, status: str = COMPLETE) -> None:
        """Mark the result complete (or left incomplete) and write what is derived from it."""
        self.status = status
        for variant, row in zip(self.variants, self.summary, strict=True):
            words = transport.client(variant.transport, variant.client).observation
            self.observations[variant.name] = observation(variant, row, words)
        if self.path is not None:
            storage.write_description(self.path, self.description())
            storage.write_text(self.path / "summary.csv", self.summary.to_csv())
            storage.write_text(self.path / "trials.csv", self.trial_table.to_csv())

    def _forget(self) -> None:
        for name in ("summary", "trial_table"):
            self.__dict__.pop(name, None)

    # what can be had from a result

    def trials_of(self, variant: str) -> list[Measured]:
        """Return the trials of a variant, failed ones too."""
        return [t for t in self.trials if t.figures.variant == variant]

    @cached_property
    def summary(self) -> Table:
        """One row a variant: the columns of summary.csv."""
        return Table([summary_row(v, self.trials_of(v.name), self.workload) for v in self.variants])

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial: the columns of trials.csv."""
        by_name = {variant.name: variant for variant in self.variants}
        return Table([trial_row(t, by_name[t.figures.variant]) for t in self.trials])

    def latency_ms(self, variant: str) -> NDArray[np.float64]:
        """Return the latencies of a variant's deliveries in milliseconds, all good trials pooled, shape
        (delivered,).
        """
        self._check_name(variant)
        values = [t.latency_ms for t in self.trials_of(variant) if not t.figures.error]
        return np.concatenate(values) if values else np.empty(0)

    def samples(self, variant: str) -> dict[str, NDArray[Any]]:
        """Return every delivery of a variant, warm-up too: one array a column, all of the same length.

        trial, publisher, sequence, subscriber; due_ns, ready_ns, sent_ns, arrived_ns and received_ns after the start
        of the trial; intact (bool). arrived_ns is 0 without the kernel's stamp, ready_ns and sent_ns for a delivery
        that belongs to no message of the trial.
        """
        self._check_name(variant)
        parts = [_sample_columns(t) for t in self.trials_of(variant)]
        if not parts:
            return {}
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _check_name(self, variant: str) -> None:
        names = [v.name for v in self.variants]
        if variant not in names:
            raise UsageError(f"no variant {variant!r} in this result; it has {', '.join(names)}")

    @property
    def blocks(self) -> int:
        """How many trials of each variant were to be run; with a precision, as many as it came to so far."""
        return self.planned_trials // len(self.variants)

    @property
    def precision(self) -> Precision | None:
        """The precision that was asked for and what was reached of it; None where none was."""
        asked = self.settings.get("precision")
        if asked is None or asked.value is None:
            return None
        return Precision(asked.value, self.settings["most_trials"].value, widths(self.summary))

    @property
    def exit_code(self) -> int:
        """0 fine, 1 a trial failed, 3 the precision asked for was not reached, 4 measured but not fit to conclude."""
        if any(t.figures.error for t in self.trials):
            return 1
        if INVALID in self.summary.column("verdict"):
            return 4
        return 3 if self.precision is not None and not self.precision.reached else 0

    def report(self) -> str:
        """Return the table and the sentences that `rtbench run` and `rtbench compare` print, at most 100 columns
        wide.
        """
        from rtbench.report import report

        return report(self)

    def __repr__(self) -> str:
        """Name what it is of."""
        return f"<{self.kind} of {', '.join(v.name for v in self.variants)}: {len(self.trials)} trials, {self.status}>"

    def __str__(self) -> str:
        """Return the report."""
        return self.report()

    def _repr_html_(self) -> str:
        from rtbench.report import overview

        return overview(self)._repr_html_()

    def chart(self, name: str, preset: str = "slides") -> Chart:
        """Draw one of the charts by its name; see `rtbench.charts.CHARTS`.

        Raises:
            UsageError: no such chart or preset.
        """
        from rtbench.charts import draw

        return draw(self, name, preset)

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
        """Compare every other variant with one of them; see `rtbench.difference`."""
        from rtbench.difference import ratios

        return ratios(self, baseline)

    def noise_floor(self) -> Difference:
        """Compare each variant with itself, even blocks with odd ones; see `rtbench.difference`."""
        from rtbench.difference import noise_floor

        return noise_floor(self)

    # on disk

    def description(self) -> dict[str, Any]:
        """Return the content of result.json."""
        return {
            "schema": storage.SCHEMA,
            "kind": self.kind,
            "status": self.status,
            "created": self.created,
            "planned_trials": self.planned_trials,
            "precision": None if self.precision is None else self.precision.description(),
            "settings": {name: asdict(given) for name, given in self.settings.items()},
            "workload": asdict(self.workload),
            "environment": dict(self.environment),
            "variants": [
                {
                    **asdict(variant),
                    "name": variant.name,
                    "verdict": row["verdict"],
                    "reasons": row["reasons"],
                    "observation": self.observations.get(variant.name, ""),
                }
                for variant, row in zip(self.variants, self.summary, strict=True)
            ],
            "trials": [{**asdict(t.figures), "samples": storage.samples_name(t)} for t in self.trials],
        }


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
        "trial": np.full(len(wanted), trial.figures.index),
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
