"""Rerun: measure a saved result again with its own settings, and decide whether the two results agree.

The same settings give the same schedule, the same payloads and the same order of trials. Two runs still differ by
chance, so the interval of the ratio of the medians decides (`rtbench.analysis.statistics`). There are three answers:

no           another number was delivered, or the interval does not contain 1. For this it is widened for the number of
             variants, so that at most one rerun in twenty shows a disagreement by chance (Bonferroni).
yes          none of these, and the 95 % interval lies within 0.8 to 1.25.
cannot tell  anything else: too few trials to exclude a difference of 25 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtbench.analysis import conditions
from rtbench.analysis.disturbance import counted
from rtbench.analysis.latencies import percentile_of
from rtbench.analysis.statistics import ALIKE, Estimate, Pooled, alike, bonferroni, differs, ratio
from rtbench.errors import ResultError
from rtbench.experiments.compare import check_same, settings_again
from rtbench.plan.settings import Given
from rtbench.plan.values import MOST_TRIALS
from rtbench.result.comparison import Comparison
from rtbench.table import Table, significant

YES, NO, UNKNOWN = "yes", "no", "cannot tell"


@dataclass(frozen=True)
class Agreement:
    """Whether two runs of a variant agree. `ratio` is the second median divided by the first, with a 95 % interval."""

    variant: str
    agrees: str
    reason: str
    ratio: Estimate | None
    before: Mapping[str, Any]  # rows of summary.csv
    after: Mapping[str, Any]


def settings_of(result: Comparison) -> dict[str, Given]:
    """Return the settings that measure a result again, with the source `result`.

    `--precision` is replaced by the number of trials that were run, because the same number of messages must be
    delivered.

    Raises:
        ResultError: the result is not complete, or the installed rtbench cannot measure the same.
    """
    if result.missing:
        raise ResultError(
            f"the result is incomplete ({result.missing}): "
            "only a complete result can be measured again; `rtbench resume` completes it"
        )
    settings = settings_again(result)
    if result.precision is not None:
        settings |= {"trials": Given(result.blocks, "result"), "precision": Given(None, "result")}
        settings["most_trials"] = Given(None, "result")
    check_same(result, settings)
    return settings


def agreements(before: Comparison, after: Comparison) -> list[Agreement]:
    """Return for each variant whether two results with the same settings agree."""
    confidence = bonferroni(len(before.variants))
    found = []
    for variant in before.variants:
        rows = before.summary[variant.name], after.summary[variant.name]
        medians = _median(after, variant.name), _median(before, variant.name)
        times = ratio(*medians)
        agrees, reason = _judge(*rows, times, ratio(*medians, confidence))
        found.append(Agreement(variant.name, agrees, reason, times, *rows))
    return found


def _median(result: Comparison, variant: str) -> Pooled | None:
    return percentile_of(counted(result.trials_of(variant)), "latency_ms", 50)


def _judge(
    before: Mapping[str, Any], after: Mapping[str, Any], ratio: Estimate | None, widened: Estimate | None
) -> tuple[str, str]:
    if before["delivered"] != after["delivered"]:
        return NO, f"{before['delivered']} were delivered, then {after['delivered']}"
    if ratio is None:
        return UNKNOWN, "too few messages for a median"
    if ratio.low is None or ratio.high is None:
        return UNKNOWN, "one trial has no interval; measure with --trials 5"
    times = f"the median is {significant(ratio.value)} times what it was"
    if differs(widened):
        return NO, f"{times}, more than chance explains"
    if alike(ratio):
        return YES, ""
    ends = f"{significant(ratio.low)} to {significant(ratio.high)}"
    return UNKNOWN, f"{times}, by the interval {ends}; {_needed(before['trials'], after['trials'], ratio)}"


def _needed(before: int, after: int, ratio: Estimate) -> str:
    """Return about how many trials give the ratio an interval of ±25 %: its width shrinks as 1 / sqrt(trials)."""
    assert ratio.low is not None
    assert ratio.high is not None
    half = math.log(ratio.high / ratio.low) / 2
    trials = max(math.ceil(min(before, after) * (half / math.log(ALIKE)) ** 2), min(before, after) + 1)
    return (
        f"it takes about {trials} trials to tell 25 %" if trials <= MOST_TRIALS else "far more trials would be needed"
    )


def differences(before: Comparison, after: Comparison) -> list[str]:
    """Return the differences between the machines and the software of two results."""
    old, new = _environment(before), _environment(after)
    changed = [f"{name} was {old[name]}, is {new[name]}" for name in old if name in new and old[name] != new[name]]
    both = {name.partition(".")[0] for name in old} & {name.partition(".")[0] for name in new}
    single = [name for name in [*old, *new] if (name in old) != (name in new)]
    unknown = dict.fromkeys(name if name.partition(".")[0] in both else name.partition(".")[0] for name in single)
    return changed + ([f"recorded in only one of the two: {', '.join(unknown)}"] if unknown else [])


def _environment(result: Comparison) -> dict[str, Any]:
    software = {
        f"{kind} of {v.name}": getattr(v, f"{kind}_software") for v in result.variants for kind in ("server", "client")
    }
    return {**conditions.entries(result.environment), **software}


def table(found: Sequence[Agreement]) -> Table:
    """Return one row for each variant, for a terminal."""
    return Table(
        [
            {
                "variant": a.variant,
                "p50 ms": _with_interval(a.before),
                "again": _with_interval(a.after),
                "ratio": _shown(a.ratio),
                "delivered": f"{a.before['delivered']}, {a.after['delivered']}",
                "agrees": a.agrees,
            }
            for a in found
        ]
    )


def _with_interval(row: Mapping[str, Any]) -> str:
    low, high = row["latency_p50_low_ms"], row["latency_p50_high_ms"]
    return _shown(Estimate(row["latency_p50_ms"], low, high) if row["latency_p50_ms"] is not None else None)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None:
        return significant(estimate.value if estimate else None)
    return f"{significant(estimate.value)} ({significant(estimate.low)}–{significant(estimate.high)})"
