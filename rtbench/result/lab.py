"""A session of the lab, saved by its page: what each lane did, what was predicted, and what Pong felt like."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.lab import METRICS, OF_DELIVERIES, OF_MESSAGES, Felt, LaneCounts, LaneTrial, felt_of
from rtbench.plan.variant import Variant
from rtbench.result import storage
from rtbench.result.result import Result
from rtbench.table import LEAST_WIDTH, WIDTH, Table
from rtbench.units import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.charts import Chart

KIND = "lab"
_REASON = "a session of the lab: one trial, whose conditions a person changed"
_SHOWN = {
    "variant": "lane",
    "latency_p50_ms": "p50 ms",
    "latency_p99_ms": "p99 ms",
    "expected": "expected",
    "delivered": "delivered",
    "lost": "lost",
    "duplicated": "twice",
    "requests": "requests",
}


@dataclass(repr=False, kw_only=True)
class LabResult(Result[LaneTrial]):
    """A session: a trial for each lane. `session` is what the page says of it as a whole."""

    counts = LaneCounts
    charts = ("lab-latency", "lab-pong")
    sampled = True
    own_fields = ("session",)

    session: dict[str, Any] = field(default_factory=dict)

    @property
    def felt(self) -> list[Felt]:
        """What Pong felt like, by lane and round-trip time."""
        return felt_of(self.session["pong"])

    @cached_property
    def summary(self) -> Table:
        """One row a lane: the columns of summary.csv."""
        return Table([{m.name: m.of(trial) for m in METRICS} for trial in self.trials])

    @cached_property
    def trial_table(self) -> Table:
        """The same: each lane is one trial."""
        return self.summary

    @property
    def problem(self) -> int:
        """0: a session is what it is."""
        return 0

    @property
    def conditions(self) -> list[str]:
        """The settings of the page when it was saved, in phrases."""
        value = self.session["settings"]
        words = {"rate": "messages a second", "payload": "bytes", "rtt": "ms round-trip time", "jitter": "ms jitter"}
        found = [f"{plain(float(value[name]))} {unit}" for name, unit in words.items() if name in value]
        faults = Counter(fault["fault"] for fault in self.session["faults"])
        return [*found, *(f"{count} × {fault}" for fault, count in faults.items())]

    def observe(self) -> dict[str, str]:
        """Return one sentence on each lane."""
        return {trial.variant.name: _sentence(trial) for trial in self.trials}

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return the verdict: a session shows and teaches."""
        return {"verdict": "suspect", "reasons": _REASON}

    def overview(self) -> Table:
        """Return the table of the report."""
        return Table([{head: row[name] for name, head in _SHOWN.items()} for row in self.summary])

    def report(self, width: int = WIDTH) -> str:
        """Return the table and the conditions, at most `width` columns wide (60 or more)."""
        width = max(width, LEAST_WIDTH)
        shown, _ = self.overview().fitted(width, ("requests", "expected"))
        note = f"Measured by a page of the lab in a browser: {', '.join(self.conditions)}. {_REASON.capitalize()}."
        return "\n".join([shown.text(left=["lane"]), "", textwrap.fill(note, width)])

    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw one chart; see `rtbench.charts.LAB_CHARTS`."""
        from rtbench.charts import LAB_CHARTS, draw

        return draw(LAB_CHARTS, self, name, preset, notes)

    def samples_of(self, trial: LaneTrial) -> Mapping[str, NDArray[Any]]:
        """Return the times of the messages and of their deliveries."""
        return trial.times_ms

    def more(self) -> dict[str, Any]:
        """Return what the page says of the session."""
        return {"session": self.session}

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> LabResult:
        """Make a session of the content of its result.json, and of its samples."""
        result = cls(**cls.common_of(content), path=path, session=content["session"])
        by_name = {variant.name: variant for variant in result.variants}
        for trial in content["trials"]:
            counts = storage.made(LaneCounts, {name: value for name, value in trial.items() if name != "samples"})
            samples = storage.read_samples(path, trial["samples"], content["files"])
            shape = (counts.subscribers, -1)
            times = {name: samples[name].astype(np.float64) for name in OF_MESSAGES}
            times |= {name: samples[name].astype(np.float64).reshape(shape) for name in OF_DELIVERIES}
            result.trials.append(LaneTrial(counts, by_name[counts.variant], times))
        felt_of(result.session["pong"])  # which raises where one of them is none
        return result


def _sentence(trial: LaneTrial) -> str:
    counts = trial.counts
    expected = counts.published * counts.subscribers
    return f"{counts.delivered:,} of {expected:,} deliveries, {counts.lost:,} lost, {counts.duplicated:,} twice"
