"""The result of `rtbench laws`: the trials of each set-up, and what they say of each law."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.disturbance import disturbance
from rtbench.analysis.law_check import FAILS, HOLDS, NOT_MEASURED, TOLERANCE, UNDECIDED, Seen
from rtbench.analysis.laws import LAWS, rows
from rtbench.analysis.measured import Measured
from rtbench.analysis.metrics import trial_row
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result.comparison import columns_of_samples, saved_trial
from rtbench.result.result import UNFIT, Result
from rtbench.table import LEAST_WIDTH, WIDTH, Table, significant
from rtbench.units import counted, format_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.charts import Chart

_DROPPED = ("interval",)  # if the terminal is narrow


@dataclass(repr=False, kw_only=True)
class LawsResult(Result[Measured]):
    """The laws that were measured, the workload of each set-up, and why some laws cannot be measured here."""

    laws: list[str]
    workloads: dict[str, Workload]
    unmeasured: dict[str, str] = field(default_factory=dict)

    counts = TrialCounts
    sampled = True
    own_fields = ("measured_laws", "workloads", "unmeasured")
    charts = ("laws-knee", "laws-polling", "laws-qos")

    @property
    def seen(self) -> Seen:
        """The trials of each set-up."""
        trials = {variant.label: self.trials_of(variant.name) for variant in self.variants}
        return Seen(trials, self.settings["rtt"].value * 1e3)

    @cached_property
    def summary(self) -> Table:
        """One row a check of a law: the columns of summary.csv."""
        return Table(rows(self.laws, self.seen, self.unmeasured))

    @cached_property
    def trial_table(self) -> Table:
        """One row a trial: the columns of trials.csv."""
        by_name = {variant.name: variant for variant in self.variants}
        return Table([trial_row(t, by_name[t.counts.variant]) for t in self.trials])

    def add_all(self, trials: Sequence[Measured]) -> None:
        """Take in trials that ran at once, and save them."""
        self.trials.extend(trials)
        self.forget_tables()
        self.save()

    @property
    def repeated(self) -> int:
        """How often a trial was run again because the one before was disturbed."""
        return len(self.trials) - len({(t.counts.block, t.counts.variant) for t in self.trials})

    @property
    def steps(self) -> tuple[int, int]:
        """How many trials are done, and how many are planned so far."""
        return len(self.trials), self.planned_trials + self.repeated

    def disturbed(self) -> set[tuple[int, str]]:
        """Return block and variant of each trial of which every run so far was disturbed."""
        places = {(t.counts.block, t.counts.variant) for t in self.trials if not t.counts.error}
        return places - {(t.counts.block, t.counts.variant) for t in self.trials if _undisturbed(t)}

    @property
    def problem(self) -> int:
        """0 all laws hold, 1 a trial failed, 3 a law does not hold, 4 it is not decided whether one does."""
        if any(t.counts.error for t in self.trials):
            return 1
        verdicts = self.summary.column("verdict")
        if FAILS in verdicts:
            return 3
        return UNFIT if UNDECIDED in verdicts or any(t.counts.link_wrong for t in self.trials) else 0

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement, in phrases."""
        trials = counted(self.settings["trials"].value, "trial")
        rtt_s = self.settings["rtt"].value
        return [f"round trip R = {format_seconds(rtt_s)}", f"{self.variants[0].link} link", f"{trials} of each set-up"]

    def observe(self) -> dict[str, str]:
        """Return the verdicts on the laws that each set-up was measured for."""
        return {v.name: self._verdicts(v.label) or "measured for another set-up" for v in self.variants}

    def _verdicts(self, label: str) -> str:
        return "; ".join(f"{r['law']} {r['claim']}: {r['verdict']}" for r in self.summary if r["variant"] == label)

    def about(self, variant: Variant) -> dict[str, Any]:
        """Return whether a set-up was measured over the link that was asked for."""
        trials = self.trials_of(variant.name)
        wrong = [text for t in trials if (text := t.counts.error or t.counts.link_wrong)]
        reasons = wrong or ([] if trials else ["was not measured"])
        return {"verdict": INVALID if reasons else VALID, "reasons": "; ".join(dict.fromkeys(reasons))}

    def report(self, width: int = WIDTH) -> str:
        """Return the table, and the sentence of every law, at most `width` columns wide (60 or more)."""
        width = max(width, LEAST_WIDTH)
        table, _ = self.overview().fitted(width, _DROPPED)
        intro = (
            f"{', '.join(self.conditions)}. d = R/2 is the delay of one way. A law holds if the 95 % interval over "
            f"trials lies within {100 * TOLERANCE:g} % of the prediction, or within the limit."
        )
        lines = [table.text(left=["law", "what"]), "", textwrap.fill(intro, width), ""]
        for number in self.laws:
            lines += _filled(f"{number}  ", f"{LAWS[number].sentence} ({LAWS[number].source})", width)
        for r in self.summary:
            if r["verdict"] == NOT_MEASURED:
                lines += ["", *_filled(f"{r['law']} is not measured here: ", r["reasons"], width)]
        return "\n".join([*lines, "", *_filled("", self._conclusion() + self._disturbed(), width)])

    def _disturbed(self) -> str:
        """Say how many trials were disturbed; none of those is part of a figure that have an undisturbed repetition."""
        disturbed = self.disturbed()
        if not disturbed:
            return ""
        return (
            f" {len(disturbed)} of {counted(self.planned_trials, 'trial')} were disturbed by other processes, or their "
            "link was not as asked; figures are a little too high then. `rtbench doctor` shows what else runs."
        )

    def _conclusion(self) -> str:
        verdicts = self.summary.column("verdict")
        texts = [f"{counted(n, 'check')} {word}" for word, n in _numbers(verdicts).items()]
        more = " More --trials make the intervals narrower." if UNDECIDED in verdicts else ""
        return f"{', '.join(texts)}.{more}"

    def overview(self) -> Table:
        """Return the table of the report."""
        return Table([_shown(r) for r in self.summary])

    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw one chart; see `rtbench.charts.LAWS_CHARTS`."""
        from rtbench.charts import LAWS_CHARTS, draw

        return draw(LAWS_CHARTS, self, name, preset, notes)

    # on disk

    def samples_of(self, trial: Measured) -> Mapping[str, NDArray[Any]]:
        """Return every message and every delivery of a trial."""
        return columns_of_samples(trial)

    def more(self) -> dict[str, Any]:
        """Return the laws, the workload of each set-up, and what cannot be measured here."""
        workloads = {name: asdict(workload) for name, workload in self.workloads.items()}
        return {"measured_laws": self.laws, "workloads": workloads, "unmeasured": self.unmeasured}

    @classmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> LawsResult:
        """Make a result of the content of its result.json, and of its samples."""
        workloads = {name: Workload(**workload) for name, workload in content["workloads"].items()}
        result = cls(
            **cls.common_of(content),
            laws=content["measured_laws"],
            workloads=workloads,
            unmeasured=content["unmeasured"],
            path=path,
        )
        of = {v.name: workloads[v.label] for v in result.variants}
        result.trials = [saved_trial(path, dict(t), content["files"], of[t["variant"]]) for t in content["trials"]]
        return result


def _undisturbed(trial: Measured) -> bool:
    return disturbance(trial.counts) is None and not trial.counts.link_wrong


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["measured_low"], row["measured_high"]
    unit = f" {row['unit']}" if row["unit"] else ""
    limit = "≤ " if row["least"] is None and row["most"] is not None else ""
    limit = "≥ " if row["most"] is None and row["least"] is not None else limit
    return {
        "law": row["law"],
        "what": row["claim"],
        "predicted": "–" if row["predicted"] is None else f"{limit}{significant(float(row['predicted']))}{unit}",
        "measured": None if row["measured"] is None else float(row["measured"]),
        "interval": "–" if low is None else f"{significant(low)}–{significant(high)}",
        "verdict": row["verdict"],
    }


def _numbers(verdicts: Sequence[str]) -> dict[str, int]:
    words = {HOLDS: "hold", FAILS: "do not hold", UNDECIDED: "undecided", NOT_MEASURED: "not measured"}
    return {word: verdicts.count(verdict) for verdict, word in words.items() if verdict in verdicts}


def _filled(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(head + text, width, subsequent_indent=" " * min(len(head), 6))
