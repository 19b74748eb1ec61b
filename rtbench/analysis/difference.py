"""Difference: two results, or the variants or the trials of one result, compared by ratios. Pure.

    between(a, b)              what changed from one result to another
    ratios(result, baseline)   every variant as a multiple of one variant
    noise_floor(result)        a result compared with itself, to show which differences appear by chance (A/A)

A ratio has an interval over trials (Kalibera & Jones 2013; see `rtbench.analysis.statistics`). There are three answers:
- the interval does not contain 1: there is a difference.
- it contains 1 and lies within 0.8 to 1.25: no difference is shown, and one of more than 25 % would have been.
- otherwise these trials cannot tell.
Results with different conditions are refused.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rtbench.analysis import conditions, statistics
from rtbench.analysis.disturbance import counted
from rtbench.analysis.measured import Measured
from rtbench.analysis.metric import Metric
from rtbench.analysis.metrics import COMPUTED
from rtbench.analysis.statistics import Estimate, Pooled
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.errors import UsageError
from rtbench.table import WIDTH, Table, significant

if TYPE_CHECKING:
    from rtbench.analysis.view import Comparison
    from rtbench.plan.variant import Variant

SAME = "no difference shown within 25 %"
CANNOT_TELL = "cannot tell"
NO_INTERVAL = "no interval: one trial, no value in a trial, or p99"
ENOUGH = 5  # trials on each side
ALARM = 1 / 20  # at most this share of rows shows a difference where there is none
IMPLEMENTATION = ("transport", "server", "client", "server_software", "client_software")

Trials = Sequence[Measured]


COMPARED = {  # the metrics that are compared, and their names in a terminal
    "arrived_p50_ms": "net+srv p50 ms",
    "latency_p50_ms": "p50 ms",
    "latency_p90_ms": "p90 ms",
    "latency_p99_ms": "p99 ms",
    "latency_mean_ms": "mean ms",
    "wire_bytes_per_delivery": "B/msg",
    "server_cpu_us_per_delivery": "CPU us/msg",
}
_METRICS = {metric.name: metric for metric in COMPUTED if metric.name in COMPARED}


@dataclass(frozen=True)
class Difference(Table):
    """One row for each variant and metric; `ratio` is b / a, `ratio_low` and `ratio_high` are its 95 % interval.

    `conditions` lists the differing conditions, `notes` has remarks, and `conclusion` says what all rows of an A/A
    comparison show together. All three are printed with the rows. `fit` is False if one of the variants is invalid.
    """

    sides: tuple[str, str] = ("A", "B")
    conditions: Sequence[str] = ()
    notes: Sequence[str] = ()
    fit: bool = True
    conclusion: str | None = None

    def __str__(self) -> str:
        """Return conditions, rows, notes and conclusion as text, at most 100 columns wide."""
        lines = []
        if self.conditions:
            lines = ["NOT MEASURED ALIKE, so a difference may come from any of these:"]
            lines += [*_filled([f"- {text}" for text in self.conditions]), ""]
        head, *body = Table([self._short(row) for row in self.rows]).text(left=["", "verdict"]).splitlines()
        lines.append(f"  {head}")
        variant = None
        for row, line in zip(self.rows, body, strict=True):
            if row["variant"] != variant:
                variant = row["variant"]
                lines.append(variant)
            lines.append(f"  {line}")
        return "\n".join([*lines, "", *_filled(self._said())])

    @property
    def conclusive(self) -> bool:
        """Whether no variant is invalid, and every row with an interval either differs or is alike within 25 %."""
        return self.fit and not self._untold

    @property
    def _untold(self) -> int:
        return self.column("verdict").count(CANNOT_TELL)

    def _said(self) -> list[str]:
        loud = [] if self.fit else ["NOT FIT TO CONCLUDE FROM: a variant is invalid."]
        if self._untold:
            loud.append(
                f"CANNOT TELL in {self._untold} of {len(self)} rows: the interval contains 1, and a difference of more "
                "than 25 % too; measure more trials."
            )
        return [*loud, *self.notes, *([self.conclusion] if self.conclusion else [])]

    def _short(self, row: Mapping[str, Any]) -> dict[str, Any]:
        low, high = row["ratio_low"], row["ratio_high"]
        return {
            "": COMPARED[row["metric"]],
            self.sides[0]: row["a"],
            self.sides[1]: row["b"],
            "ratio": row["ratio"],
            "95 % interval": "–" if low is None else f"{significant(low)}–{significant(high)}",
            "verdict": row["verdict"],
        }

    def _repr_html_(self) -> str:
        unlike = "".join(f"<p>Not measured alike: {html.escape(text)}</p>" for text in self.conditions)
        return unlike + super()._repr_html_() + "".join(f"<p>{html.escape(text)}</p>" for text in self._said())


def _filled(texts: Sequence[str]) -> list[str]:
    return [textwrap.fill(text, WIDTH, subsequent_indent="  ") for text in texts]


def between(a: Comparison, b: Comparison, anyway: bool = False) -> Difference:
    """Compare the variants that two results have in common.

    Args:
        a: the result to start from.
        b: the result that is given as multiples of it.
        anyway: compare also if the conditions differ, and list the differences.

    Raises:
        UsageError: the results have no variant in common, or their conditions differ.
    """
    names = [v.name for v in a.variants if v.name in {w.name for w in b.variants}]
    if not names:
        raise UsageError(f"no variant in common: A has {_names(a)}, and B has {_names(b)}")
    unlike = differing_conditions(a, b)
    if unlike and not anyway:
        raise UsageError(f"A and B were not measured alike; {'; '.join(unlike)}; --anyway compares them nevertheless")
    pairs = {name: (_good(a, name), _good(b, name)) for name in names}
    notes = [*_state(a, "A", names), *_state(b, "B", names), *_alone(a, "A", names), *_alone(b, "B", names)]
    if a.created != b.created:
        notes.append(
            "A and B were measured at different times; a change of the machine in between is part of the ratios."
        )
    fit = _fit(a, names) and _fit(b, names)
    rows = _rows(pairs, "B is {} times A")
    return Difference(rows, ("A", "B"), unlike, [*notes, *_doubt(pairs, rows)], fit)


def ratios(result: Comparison, baseline: str) -> Difference:
    """Compare every other variant of a result with the variant `baseline`.

    The trials of a block ran shortly after each other. Here the variants are resampled independently, which ignores
    this and makes the intervals slightly too wide.

    Raises:
        UsageError: there is no such variant, or it is the only one.
    """
    names = [v.name for v in result.variants]
    if baseline not in names:
        raise UsageError(f"no variant {baseline!r} in this result; it has {_names(result)}")
    if len(names) == 1:
        raise UsageError(f"{baseline} is the only variant of this result; there is none to compare with it")
    first = _good(result, baseline)
    pairs = {name: (first, _good(result, name)) for name in names if name != baseline}
    rows = _rows(pairs, "{} times the baseline")
    notes = [f"The baseline is {baseline}.", *_state(result, "", names), *_doubt(pairs, rows)]
    fit = _fit(result, names)
    return Difference(rows, ("baseline", "variant"), (), notes, fit)


def noise_floor(result: Comparison) -> Difference:
    """Compare each variant with itself: the trials of odd blocks with those of even blocks.

    A difference here is due to chance, or to a change of the machine from block to block; the conclusion says which. By
    chance one row in twenty shows a difference, so nearly every table of 48 rows has one. The conclusion uses wider
    intervals, with which at most one A/A comparison in twenty shows any difference by chance (Bonferroni over the rows
    that have an interval).

    Raises:
        UsageError: no variant has trials of both kinds.
    """
    names = [v.name for v in result.variants]
    pairs = {}
    for name in names:
        good = _good(result, name)
        pairs[name] = ([t for t in good if t.counts.block % 2 == 0], [t for t in good if t.counts.block % 2])
    if not any(even and odd for even, odd in pairs.values()):
        raise UsageError("an A/A comparison needs at least two trials of a variant, better ten: --trials 10")
    rows = _rows(pairs, "odd is {} times even")
    notes = [*_state(result, "", names), *_doubt(pairs, rows)]
    return Difference(rows, ("even", "odd"), (), notes, _fit(result, names), _conclusion(rows, pairs))


def _conclusion(rows: Sequence[Mapping[str, Any]], pairs: Mapping[str, tuple[Trials, Trials]]) -> str:
    """Return a sentence that says whether any row of an A/A comparison differs by more than chance."""
    judged = [row for row in rows if row["ratio_low"] is not None]
    if not judged:
        return "A/A: no conclusion: a half with one trial has no interval; measure with --trials 10."
    confidence = statistics.bonferroni(len(judged))
    differing = [
        f"{row['variant']} {COMPARED[row['metric']]}"
        for row in judged
        if row["verdict"] not in (SAME, CANNOT_TELL)
        and statistics.differs(_ratio(_METRICS[row["metric"]], *pairs[row["variant"]], confidence))
    ]
    family = "(family-wise at 5 %: Bonferroni)"
    if not differing:
        return f"A/A: no difference shown in {len(judged)} rows {family}."
    return (
        f"A/A: {len(differing)} of {len(judged)} rows differ more than chance explains {family}: "
        f"{', '.join(differing)}; something on this machine changed from block to block."
    )


def differing_conditions(a: Comparison, b: Comparison) -> list[str]:
    """Return the conditions in which two results differ, without variants that only one of them has."""
    found = _unlike(asdict(a.workload), asdict(b.workload))
    found += _unlike(conditions.conditions(a.environment), conditions.conditions(b.environment))
    others = {v.name: v for v in b.variants}
    concerned: dict[str, list[str]] = {}
    for variant in a.variants:
        if variant.name in others:
            for text in _unlike(_fixed(variant), _fixed(others[variant.name])):
                concerned.setdefault(text, []).append(variant.name)
    return found + [f"{', '.join(names)}: {text}" for text, names in concerned.items()]


def _fixed(variant: Variant) -> dict[str, Any]:
    return {**{key: getattr(variant, key) for key in IMPLEMENTATION}, **variant.options}


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    found = []
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            values = ["unknown" if side.get(key) in (None, "") else str(side[key]) for side in (a, b)]
            found.append(f"{key.replace('_software', ' software')} {' and '.join(values)}")
    return found


def _good(result: Comparison, name: str) -> list[Measured]:
    return counted(result.trials_of(name))


def _rows(pairs: Mapping[str, tuple[Trials, Trials]], words: str) -> list[dict[str, Any]]:
    return [
        _row(name, metric, a, b, words)
        for name, (a, b) in pairs.items()
        for metric in map(_METRICS.__getitem__, COMPARED)
    ]


def _row(name: str, metric: Metric, a: Trials, b: Trials, words: str) -> dict[str, Any]:
    first, second = _pooled(metric, a), _pooled(metric, b)
    ratio = statistics.ratio(second, first)
    return {
        "variant": name,
        "metric": metric.name,
        "a": first.value if first else None,
        "b": second.value if second else None,
        "ratio": ratio.value if ratio else None,
        "ratio_low": ratio.low if ratio else None,
        "ratio_high": ratio.high if ratio else None,
        "verdict": verdict(ratio, words) if first and second else _missing(metric),
    }


def _pooled(metric: Metric, trials: Trials) -> Pooled | None:
    return metric.pooled(trials) if metric.pooled is not None else None


def _missing(metric: Metric) -> str:
    return "too few messages" if metric.name.startswith("latency") else "not measured"


def _ratio(metric: Metric, a: Trials, b: Trials, confidence: float) -> Estimate | None:
    return statistics.ratio(_pooled(metric, b), _pooled(metric, a), confidence)


def verdict(ratio: Estimate | None, words: str) -> str:
    """Return what a ratio shows, in words; `words` is a format string with one place for the ends of the interval."""
    if ratio is None:
        return "no ratio: the baseline is zero"
    if ratio.low is None or ratio.high is None:
        return NO_INTERVAL
    if not statistics.differs(ratio):
        return SAME if statistics.alike(ratio) else CANNOT_TELL
    digits, ends = 3, (ratio.low, ratio.high)
    while digits < 9 and any(float(significant(end, digits)) == 1 for end in ends):
        digits += 1  # "1.00 to 1.00" would not show the difference
    return words.format(" to ".join(dict.fromkeys(significant(end, digits) for end in ends)))


def _names(result: Comparison) -> str:
    return ", ".join(v.name for v in result.variants)


def _state(result: Comparison, side: str, names: Sequence[str]) -> list[str]:
    found, where = [], f" in {side}" if side else ""
    if result.missing:
        found.append(f"{side or 'This result'} is INCOMPLETE: {result.missing}.")
    for row in result.summary:
        if row["variant"] in names and row["verdict"] != VALID:
            found.append(f"{row['variant']}{where} is {row['verdict']}: {row['reasons']}.")
    return found


def _fit(result: Comparison, names: Sequence[str]) -> bool:
    return all(row["verdict"] != INVALID for row in result.summary if row["variant"] in names)


def _alone(result: Comparison, side: str, names: Sequence[str]) -> list[str]:
    alone = [v.name for v in result.variants if v.name not in names]
    return [f"Only in {side}, so not compared: {', '.join(alone)}."] if alone else []


def _doubt(pairs: Mapping[str, tuple[Trials, Trials]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return notes on how reliable the rows are."""
    few: dict[str, list[str]] = {}
    for name, (a, b) in pairs.items():
        least = min(len(a), len(b))
        if least < ENOUGH:
            few.setdefault(f"{len(a)} against {len(b)} trials", []).append(name)
    notes = [
        f"{count} ({', '.join(names)}): too few to show a small difference; {ENOUGH} on each side are better."
        for count, names in few.items()
    ]
    if compared := sum(row["ratio_low"] is not None for row in rows):
        expected = math.ceil(ALARM * compared)
        notes.append(f"Where nothing differs, up to {expected} of {compared} rows may show a difference.")
    return notes
