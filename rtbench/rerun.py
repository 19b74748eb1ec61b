"""Rerun: a saved result measured again with its own settings, and whether the two agree.

Same settings means same schedule, same payloads, same order of trials. Two honest runs still differ by chance, so what
must agree is stated with its doubt. A variant agrees when the same was delivered and the medians are as close as chance
explains: their intervals overlap, or the interval of their ratio contains 1.

The interval of the ratio is Welch's, on the logarithms of the trials' own medians (Welch 1947; the degrees of freedom
rounded down). It is made for few trials, where a bootstrap interval is too narrow: with three trials a side, the
intervals of two runs of the very same thing miss each other once in ten times. All variants are asked at once, so
each interval is wide enough that all of them together err in one rerun of twenty (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rtbench.comparison import chosen_variants
from rtbench.errors import ResultError, UsageError
from rtbench.results import COMPLETE, Result
from rtbench.settings import Given, resolve, workload_of
from rtbench.stats import CONFIDENCE, Estimate, differs
from rtbench.table import Table, significant

YES, NO, UNKNOWN = "yes", "no", "unknown"


@dataclass(frozen=True)
class Agreement:
    """What a variant showed in two runs. `ratio` is the second median in units of the first."""

    variant: str
    agrees: str
    reason: str
    ratio: Estimate | None
    before: Mapping[str, Any]  # rows of summary.csv
    after: Mapping[str, Any]


def settings_of(result: Result) -> dict[str, Given]:
    """Return the settings that measure the same again, their source being the result.

    A comparison of "all installed" becomes one of the transports that it had: others may be installed by now.

    Raises:
        ResultError: the result is not complete, or this rtbench would not measure the same.
    """
    if result.status != COMPLETE:
        raise ResultError(
            f"the result is incomplete ({len(result.trials)} of {result.planned_trials} trials): "
            "there is nothing whole to agree with; measure it anew"
        )
    try:
        settings = resolve({name: (given.value, "result") for name, given in result.settings.items()})
        if result.kind == "comparison" and result.settings["transport"].value is None:
            others = [v.transport for v in result.variants if not v.control]
            settings["transport"] = Given(list(dict.fromkeys(others)), "result")
            settings["control"] = Given(any(v.control for v in result.variants), "result")
        _check_same(result, settings)
    except UsageError as error:
        raise ResultError(f"this rtbench cannot measure the same: {error}") from error
    return {name: Given(given.value, "result") for name, given in settings.items()}


def _check_same(result: Result, settings: Mapping[str, Given]) -> None:
    variants = chosen_variants(settings, everything=result.kind == "comparison")
    now = {v.name: dict(v.options) for v in variants}
    before = {v.name: dict(v.options) for v in result.variants}
    if list(now) != list(before):
        raise UsageError(f"the result has {', '.join(before)}; measured would be {', '.join(now)}")
    for name, options in before.items():
        if now[name] != options:
            raise UsageError(f"{name} had the options {options}; measured would be {now[name]}")
    asked = asdict(workload_of(settings))
    for name, value in asdict(result.workload).items():
        if asked[name] != value:
            raise UsageError(f"the result has {name} {value}; measured would be {asked[name]}")


def agreements(before: Result, after: Result) -> list[Agreement]:
    """Return for each variant whether two results of the same settings agree."""
    confidence = 1 - (1 - CONFIDENCE) / len(before.variants)
    found = []
    for variant in before.variants:
        rows = before.summary[variant.name], after.summary[variant.name]
        ratio = median_ratio(_medians(before, variant.name), _medians(after, variant.name), confidence)
        agrees, reason = _judge(*rows, ratio)
        found.append(Agreement(variant.name, agrees, reason, ratio, *rows))
    return found


def _medians(result: Result, variant: str) -> list[float]:
    rows = [row for row in result.trial_table if row["variant"] == variant and row["status"] == "ok"]
    return [row["latency_p50_ms"] for row in rows if row["latency_p50_ms"] is not None]


def _judge(before: Mapping[str, Any], after: Mapping[str, Any], ratio: Estimate | None) -> tuple[str, str]:
    if before["delivered"] != after["delivered"]:
        return NO, f"{before['delivered']} were delivered, then {after['delivered']}"
    if ratio is None:
        return UNKNOWN, "too few deliveries for a median"
    if overlap(before, after, "latency_p50") or (ratio.low is not None and not differs(ratio)):
        return YES, ""
    if ratio.low is None:
        return UNKNOWN, "one trial has no interval; measure with --trials 5"
    means = "overlap" if overlap(before, after, "latency_mean") else "part too"
    text = f"the median is {significant(ratio.value)} times what it was, and the intervals part"
    return NO, f"{text}; those of the mean {means}"


def overlap(a: Mapping[str, Any], b: Mapping[str, Any], figure: str) -> bool:
    """Whether the intervals of a figure in two rows of summary.csv share a point; not without intervals."""
    ends = [row[f"{figure}_{end}_ms"] for row in (a, b) for end in ("low", "high")]
    return None not in ends and bool(ends[0] <= ends[3] and ends[2] <= ends[1])


def median_ratio(before: Sequence[float], after: Sequence[float], confidence: float) -> Estimate | None:
    """Return how many times the medians of the later trials are those of the earlier, geometric means compared.

    None where there are none above 0; without an interval where either has a single trial.
    """
    if not before or not after or min(*before, *after) <= 0:
        return None
    (mean_a, error_a), (mean_b, error_b) = _mean_and_error(before), _mean_and_error(after)
    value = math.exp(mean_b - mean_a)
    if len(before) < 2 or len(after) < 2:
        return Estimate(value)
    error = error_a + error_b
    if error == 0:
        return Estimate(value, value, value)
    freedom = error**2 / (error_a**2 / (len(before) - 1) + error_b**2 / (len(after) - 1))
    width = student_t(confidence, max(math.floor(freedom + 1e-9), 1)) * math.sqrt(error)
    return Estimate(value, value * math.exp(-width), value * math.exp(width))


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the logarithms, and its squared standard error (0 for a single value)."""
    logs, count = [math.log(value) for value in values], len(values)
    mean = math.fsum(logs) / count
    return mean, math.fsum((x - mean) ** 2 for x in logs) / max(count - 1, 1) / count


def student_t(confidence: float, freedom: int) -> float:
    """Return the t that Student's distribution keeps within, either way, with this probability; by bisection."""
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """Return P(|T| < t): Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if odd:
        return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
    return sine * total


def differences(before: Result, after: Result) -> list[str]:
    """Return what differs between the machines and the software of two results, an entry each."""
    old, new = _stands_on(before), _stands_on(after)
    changed = [f"{name} was {old[name]}, is {new[name]}" for name in old if name in new and old[name] != new[name]]
    both = {name.partition(".")[0] for name in old} & {name.partition(".")[0] for name in new}
    single = [name for name in [*old, *new] if (name in old) != (name in new)]
    unknown = dict.fromkeys(name if name.partition(".")[0] in both else name.partition(".")[0] for name in single)
    return changed + ([f"recorded in one of the two only: {', '.join(unknown)}"] if unknown else [])


def _stands_on(result: Result) -> dict[str, Any]:
    software = {
        f"{kind} of {v.name}": getattr(v, f"{kind}_software") for v in result.variants for kind in ("server", "client")
    }
    return {**dict(_flat(result.environment)), **software}


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def table(found: Sequence[Agreement]) -> Table:
    """Return a row a variant, for a terminal."""
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
