"""The result of a run or a comparison, and everything that can be had from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.disturbance import counted as counted_trials
from rtbench.analysis.disturbance import disturbance
from rtbench.analysis.measured import Measured
from rtbench.analysis.metric import Group
from rtbench.analysis.metrics import fastest_ms, observation, summary_row, trial_row
from rtbench.analysis.precision import Precision, widths
from rtbench.analysis.regimes import BUSY, SPARSE, rate_row, sparse_groups
from rtbench.analysis.steady import NO_LAW, Law, law
from rtbench.analysis.verdict import INVALID, Finding, judge
from rtbench.plan.clients import AUTO, RULE
from rtbench.plan.network import LOOPBACK, network_shown
from rtbench.plan.records import Deliveries, Publishes
from rtbench.plan.settings import faults_of, sparse_workloads
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result import storage
from rtbench.result.result import COMPLETE, UNFIT, Result
from rtbench.table import WIDTH, Table
from rtbench.transports import registry
from rtbench.units import counted, format_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.analysis.difference import Difference
    from rtbench.charts import Chart


_SPARSE = "sparse-"  # the beginning of the names of the samples of the sparse part


@dataclass(repr=False, kw_only=True)
class Comparison(Result[Measured]):
    """A run or a comparison: trials of one variant, or of several in random order.

    `sparse` has a trial of each variant at each low rate, all variants measured at once: for bytes, requests and the
    age of information, not for latency. `laws` say by variant what to expect at any rate.
    """

    workload: Workload
    sparse: list[Measured] = field(default_factory=list)
    laws: dict[str, Law] = field(default_factory=dict)

    counts = TrialCounts
    sampled = True
    own_fields = ("workload", "precision", "sparse", "laws")
    charts = (
        "latency-ecdf",
        "latency-percentiles",
        "latency-breakdown",
        "bytes-per-delivery",
        "server-cpu",
        "latency-against-bytes",
        "bytes-against-rate",
        "age-against-rate",
        "latency-by-network",
        "latency-through-fault",
        "messages-through-fault",
        "tier-ratios",
    )

    @cached_property
    def summary(self) -> Table:
        """One row a variant: the columns of summary.csv."""
        fastest = self.fastest_ms
        return Table(
            [
                summary_row(v, self.trials_of(v.name), self.workload, fastest, self.sparse_of(v.name))
                for v in self.variants
            ]
        )

    @property
    def fastest_ms(self) -> float | None:
        """The smallest median latency among the variants, milliseconds; None if nothing was delivered."""
        return fastest_ms(self.trials_of(v.name) for v in self.variants)

    @cached_property
    def findings(self) -> dict[str, list[Finding]]:
        """What the verdict on each variant rests on."""
        rows = {row["variant"]: row for row in self.summary}
        return {
            name: judge(row, self.trials_of(name), self.fastest_ms, self.sparse_of(name))[1]
            for name, row in rows.items()
        }

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial: the columns of trials.csv."""
        by_name = {variant.name: variant for variant in self.variants}
        return Table([trial_row(t, by_name[t.counts.variant]) for t in self.trials])

    @cached_property
    def rate_table(self) -> Table:
        """One row a variant and update rate: the columns of rates.csv."""
        rows = []
        for variant in self.variants:
            busy = Group(variant, self.workload, counted_trials(self.trials_of(variant.name)))
            sparse = sparse_groups(variant, self.sparse_of(variant.name))
            for part, group in ((BUSY, busy), *((SPARSE, group) for group in sparse)):
                rows.append(rate_row(group, part, self.laws.get(variant.name, NO_LAW).at(group.workload.rate_hz)))
        return Table(rows)

    def sparse_of(self, variant: str) -> list[Measured]:
        """Return the trials of a variant in the sparse part, one for each rate, failed ones included."""
        return [trial for trial in self.sparse if trial.counts.variant == variant]

    def finish(self, status: str = COMPLETE) -> None:
        """Note what formats and laws predict at any update rate; then as for every result."""
        self.laws = {variant.name: law for variant in self.variants if (law := self._law(variant)) is not None}
        super().finish(status)

    def tables(self) -> dict[str, Table]:
        """Return the table of update rates too, for a comparison."""
        return super().tables() | ({"rates.csv": self.rate_table} if self.kind == "comparison" else {})

    def sample_files(self) -> Iterator[tuple[str, Measured]]:
        """Yield those of the sparse part too."""
        yield from super().sample_files()
        for trial in self.sparse:
            yield storage.samples_name(trial.counts.index, _SPARSE), trial

    def _law(self, variant: Variant) -> Law | None:
        client = registry.client(variant.transport, variant.client)
        urls = [trial.counts.server_url for trial in self.trials_of(variant.name) if trial.counts.server_url]
        if client.predict is None or not urls or registry.has_own_format(variant):
            return None
        rates_hz = [self.workload.rate_hz, *(w.rate_hz for w in self.sparse_workloads)]
        tls = self.settings["tls"].value
        return law(self.workload, rates_hz, client.predict, client.steady, variant.options, urls[0], tls)

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
    def repeated(self) -> int:
        """How often a trial was run again because the one before was disturbed."""
        return len(self.trials) - len({(t.counts.block, t.counts.variant) for t in self.trials})

    def disturbed(self) -> list[tuple[int, str]]:
        """Return block and variant of each planned trial of which every run so far was disturbed."""
        last = {(t.counts.block, t.counts.variant): t for t in self.trials}
        undisturbed = {(t.counts.block, t.counts.variant) for t in self.trials if disturbance(t.counts) is None}
        return [place for place, trial in last.items() if place not in undisturbed and not trial.counts.error]

    @property
    def sparse_workloads(self) -> list[Workload]:
        """The workloads of the sparse part, highest rate first; none if it has no sparse part."""
        return sparse_workloads(self.settings) if self.kind == "comparison" else []

    @property
    def steps(self) -> tuple[int, int]:
        """How many trials and sparse parts are done, and how many are planned so far."""
        parts = len({trial.workload.rate_hz for trial in self.sparse})
        return len(self.trials) + parts, self.planned_trials + self.repeated + len(self.sparse_workloads)

    @property
    def missing(self) -> str:
        """What an interruption left, in words; empty if the result is complete."""
        if self.status == COMPLETE:
            return ""
        if len(self.trials) - self.repeated < self.planned_trials:
            return f"{len(self.trials)} of {self.planned_trials + self.repeated} trials"
        steps_left = self.steps[1] - self.steps[0]  # of the sparse part; repetitions are planned one by one
        return "the sparse part is missing" if steps_left else "repetitions of disturbed trials are missing"

    def add_sparse(self, trials: Sequence[Measured]) -> None:
        """Take in the trials of all variants at a low rate, and save them."""
        self.sparse.extend(trials)
        self.forget_tables()
        self.save()

    @property
    def precision(self) -> Precision | None:
        """The precision that was asked for and what was reached of it; None where none was asked for."""
        asked = self.settings.get("precision")
        if asked is None or asked.value is None:
            return None
        return Precision(asked.value, self.settings["most_trials"].value, widths(self.summary))

    @property
    def problem(self) -> int:
        """0 fine, 1 a trial failed, 3 the precision asked for was not reached, 4 measured but not fit to conclude."""
        if any(t.counts.error for t in (*self.trials, *self.sparse)):
            return 1
        if INVALID in self.summary.column("verdict"):
            return UNFIT
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
            *self.beside,
            *self.between,
        ]

    @property
    def beside(self) -> list[str]:
        """What other clients do meanwhile, in phrases."""
        filters = self.settings["filters"].value if "filters" in self.settings else 0
        return [f"{filters:,} filters like {self.settings['filter'].value} beside"] if filters else []

    @property
    def client_rule(self) -> str:
        """The rule that chose the kind of client; empty where the user did."""
        return RULE if self.settings["client"].value == AUTO else ""

    @property
    def between(self) -> list[str]:
        """What lies between clients and server, in phrases: networks, the kind of link, TLS, and the faults."""
        here = str(self.environment.get("link", "unknown link"))
        names = dict.fromkeys(v.network for v in self.variants)
        kinds = {v.link for v in self.variants} - {LOOPBACK}
        faults = [f"fault {fault}" for fault in faults_of(self.settings)]
        if not kinds:
            return [here, *faults]
        found = [f"network {network_shown(name)}" for name in names]
        return [*found, f"{' and '.join(sorted(kinds))} link{here.removeprefix(LOOPBACK)}", *faults]

    # samples

    def latency_ms(self, variant: str) -> NDArray[np.float64]:
        """Return the latencies of a variant's deliveries in milliseconds, pooled over the trials that count.

        Shape (delivered,).
        """
        self.check_name(variant)
        values = [t.latency_ms for t in counted_trials(self.trials_of(variant))]
        return np.concatenate(values) if values else np.empty(0)

    def samples(self, variant: str) -> dict[str, NDArray[Any]]:
        """Return every delivery of a variant, warm-up included: one array a column, all of the same length.

        trial, publisher, sequence, subscriber; due_ns, ready_ns, sent_ns, relayed_ns, arrived_ns and received_ns after
        the start of the trial; intact (bool). arrived_ns is 0 without the kernel's stamp, relayed_ns without the
        server's, and ready_ns, sent_ns and relayed_ns for a delivery that belongs to no message of the trial.
        """
        self.check_name(variant)
        parts = [_sample_columns(t) for t in self.trials_of(variant)]
        if not parts:
            return {}
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    # words and pictures

    def report(self, width: int = WIDTH) -> str:
        """Return what `rtbench run` and `rtbench compare` print, at most `width` columns wide (60 or more)."""
        from rtbench.result.report import report

        return report(self, width)

    def overview(self) -> Table:
        """Return the table of the report."""
        from rtbench.result.report import overview

        return overview(self)

    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw one chart; see `rtbench.charts.CHARTS`."""
        from rtbench.charts import CHARTS, draw

        return draw(CHARTS, self, name, preset, notes)

    def latency_ecdf(self, preset: str = "slides") -> Chart:
        """Draw which share of deliveries had arrived after which time."""
        return self.chart("latency-ecdf", preset)

    def latency_percentiles(self, preset: str = "slides") -> Chart:
        """Draw latency by percentile, as far into the tail as the sample supports."""
        return self.chart("latency-percentiles", preset)

    def latency_breakdown(self, preset: str = "slides") -> Chart:
        """Draw where the time of a delivery goes: lag, publish hop, delivery hop, client."""
        return self.chart("latency-breakdown", preset)

    def bytes_per_delivery(self, preset: str = "slides") -> Chart:
        """Draw bytes on the wire for each delivery, stacked by hop and layer."""
        return self.chart("bytes-per-delivery", preset)

    def server_cpu(self, preset: str = "slides") -> Chart:
        """Draw the server's CPU time for each delivery."""
        return self.chart("server-cpu", preset)

    def latency_against_bytes(self, preset: str = "slides") -> Chart:
        """Draw latency against bytes: the comparison in one picture."""
        return self.chart("latency-against-bytes", preset)

    def bytes_against_rate(self, preset: str = "slides") -> Chart:
        """Draw bytes for each delivery against the update rate, measured and according to the wire format."""
        return self.chart("bytes-against-rate", preset)

    def age_against_rate(self, preset: str = "slides") -> Chart:
        """Draw the age of information against the update rate, measured and according to the law."""
        return self.chart("age-against-rate", preset)

    def latency_by_network(self, preset: str = "slides") -> Chart:
        """Draw the median latency over each of several networks, beside the ranges of the course guide."""
        return self.chart("latency-by-network", preset)

    def latency_through_fault(self, preset: str = "slides") -> Chart:
        """Draw the latency of each delivery over the time of a trial with faults, which are shaded."""
        return self.chart("latency-through-fault", preset)

    def messages_through_fault(self, preset: str = "slides") -> Chart:
        """Draw the messages under way, and those lost in each second, over the time of a trial with faults."""
        return self.chart("messages-through-fault", preset)

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
        return columns_of_samples(trial)

    def more(self) -> dict[str, Any]:
        """Return precision and workload."""
        precision = None if self.precision is None else self.precision.description()
        sparse = [
            {"workload": asdict(w), "trials": [self.trial_description(t, _SPARSE) for t in trials]}
            for w in self.sparse_workloads
            if (trials := [t for t in self.sparse if t.workload == w])
        ]
        laws = {name: asdict(law) for name, law in self.laws.items()}
        return {"precision": precision, "workload": asdict(self.workload), "sparse": sparse, "laws": laws}

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return the verdict on a variant."""
        row = self.summary[variant.name]
        return {"verdict": row["verdict"], "reasons": row["reasons"]}

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> Comparison:
        """Make a result of the content of its result.json, and of its samples."""
        parts = [content, *content["sparse"]]
        workloads = [Workload(**part["workload"]) for part in parts]
        trials, *sparse = (
            [saved_trial(path, dict(trial), content["files"], workload) for trial in part["trials"]]
            for part, workload in zip(parts, workloads, strict=True)
        )
        common = cls.common_of(content)
        laws = {name: Law(**law) for name, law in content["laws"].items()}
        return cls(**common, workload=workloads[0], trials=trials, sparse=list(chain(*sparse)), laws=laws, path=path)


def columns_of_samples(trial: Measured) -> dict[str, NDArray[Any]]:
    """Return every message and every delivery of a trial, as they are saved."""
    columns = {f"publish_{name}": column for name, column in vars(trial.publishes).items()}
    return columns | {f"delivery_{name}": column for name, column in vars(trial.deliveries).items()}


def saved_trial(path: Path, content: dict[str, Any], files: Mapping[str, Any], workload: Workload) -> Measured:
    """Make a trial of what result.json says of it, and of its samples."""
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
        "relayed_ns": of_its_message(p.relayed_ns),
        "arrived_ns": d.arrived_ns if len(d.arrived_ns) else np.zeros(len(wanted), dtype=np.int64),
        "received_ns": d.received_ns,
        "intact": d.intact,
    }
