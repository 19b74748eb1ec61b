"""A metric: a column with its name, type, meaning and computation. And the trials that it is computed from. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from rtbench.analysis.ledger import Ledger
from rtbench.analysis.measured import Measured
from rtbench.analysis.statistics import Pooled

if TYPE_CHECKING:
    from rtbench.analysis.counts import TrialCounts
    from rtbench.plan.variant import Variant
    from rtbench.plan.workload import Workload

Trials = Sequence[Measured]
Kind = Literal["text", "integer", "number", "boolean"]


@dataclass(frozen=True)
class Group:
    """The trials that a row is computed from: one trial of a variant, or all its completed trials.

    `sparse` are those of the variant at the lowest rate of the sparse part, None without such a part.
    """

    variant: Variant
    workload: Workload
    trials: Trials
    failed: int = 0
    sparse: Group | None = None

    @cached_property
    def ledger(self) -> Ledger:
        """The counts of the messages of all trials."""
        return sum((trial.ledger for trial in self.trials), start=Ledger())

    def per_delivery(self, total: Callable[[TrialCounts], float | None], scale: float = 1.0) -> float | None:
        """Return the sum of `total` divided by the deliveries of all trials; None if it is not known for a trial."""
        values = [total(t.counts) for t in self.trials]
        deliveries = sum(t.counts.deliveries for t in self.trials)
        if not deliveries or any(value is None for value in values):
            return None
        return scale * sum(value for value in values if value is not None) / deliveries

    @property
    def only(self) -> Measured:
        """The trial of a group that has exactly one."""
        (trial,) = self.trials
        return trial


@dataclass(frozen=True)
class Metric:
    """A column. `of` computes it from a `Group` (or a trial of another experiment); None: the value is not known.

    A metric with `pooled` can be compared between groups of trials (`rtbench.analysis.difference`). The value of a
    metric with `interval` is an `Estimate`, and summary.csv has two more columns for the ends of its 95 % interval.
    """

    name: str
    kind: Kind
    meaning: str
    of: Callable[[Any], Any]
    first: bool = False
    pooled: Callable[[Trials], Pooled | None] | None = None
    interval: bool = False

    def columns(self, group: Any, intervals: bool) -> dict[str, Any]:
        """Return {column name: value}, with the ends of the interval if `intervals`."""
        value = self.of(group)
        if not self.interval:
            return {self.name: value}
        found = {self.name: value.value if value else None}
        if intervals:
            low, high = self.interval_names
            found |= {low: value.low if value else None, high: value.high if value else None}
        return found

    @property
    def interval_names(self) -> tuple[str, str]:
        """The names of the columns with the ends of its interval: `latency_p50_low_ms` and `latency_p50_high_ms`.

        The unit may be a quotient: `data_low_bytes_per_delivery`.
        """
        name, per, whole = self.name.partition("_per_")
        stem, _, unit = name.rpartition("_")
        return f"{stem}_low_{unit}{per}{whole}", f"{stem}_high_{unit}{per}{whole}"


@dataclass(frozen=True)
class Column:
    """An entry of the data dictionary."""

    name: str
    kind: Kind
    meaning: str


def columns_of(metric: Metric, intervals: bool) -> list[Column]:
    """Return the columns of a metric with their meanings, those of its interval too if `intervals`."""
    found = [Column(metric.name, metric.kind, metric.meaning)]
    if metric.interval and intervals:
        low, high = metric.interval_names
        how = "log(value) ± t * bootstrap standard error over trials; empty where it would not cover"
        found.append(Column(low, metric.kind, f"lower end of the 95 % interval of `{metric.name}`: {how}"))
        found.append(Column(high, metric.kind, f"upper end of the 95 % interval of `{metric.name}`"))
    return found


IDENTITY = (
    Metric(
        "variant",
        "text",
        "the transport, with the options, server or client that distinguish the variant",
        lambda g: g.variant.name,
    ),
    Metric("transport", "text", "how a message gets from publisher to subscriber", lambda g: g.variant.transport),
    Metric(
        "qos", "integer", "MQTT quality of service; empty for other transports", lambda g: g.variant.options.get("qos")
    ),
    Metric("server", "text", "the implementation that serves the transport", lambda g: g.variant.server),
    Metric("client", "text", "the implementation that speaks the transport", lambda g: g.variant.client),
)
