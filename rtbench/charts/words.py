"""Words: the texts of a chart, which make it understandable and honest without its context. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rtbench.analysis.verdict import INVALID, SUSPECT
from rtbench.errors import UsageError
from rtbench.plan.variant import DEFAULT_SERVER
from rtbench.table import significant
from rtbench.units import format_seconds, plain

if TYPE_CHECKING:
    from rtbench.analysis.view import Drawn
    from rtbench.plan.variant import Variant

_MOST_NAMES = 4
_LEAST_FACTOR = 1.5  # in a title


def subject(result: Drawn) -> str:
    """Return what is compared: the transports, or the variants if there is only one transport."""
    transports = list(dict.fromkeys(variant.transport for variant in result.variants))
    names = [variant.name for variant in result.variants] if len(transports) == 1 else transports
    if len(transports) == 1 and len(names) > _MOST_NAMES:
        return f"{len(names)} variants of {transports[0]}"
    return joined(names)


def joined(names: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def conditions(result: Drawn) -> str:
    """Return the conditions of the measurement in one sentence."""
    return f"Conditions: {', '.join([*result.conditions, *_options(result.variants)])}."


def _options(variants: Iterable[Variant]) -> list[str]:
    """Return the options that no label contains, such as `polling: interval 500 ms`."""
    found: dict[str, None] = {}
    for variant in variants:
        for name, value in variant.options.items():
            if value not in (None, False, "") and f"-{name}{value}" not in variant.label:
                shown = format_seconds(value) if name.endswith("_s") else "yes" if value is True else str(value)
                found[f"{variant.label}: {name.removesuffix('_s').replace('_', ' ')} {shown}"] = None
    return list(found)


def implementations(result: Drawn) -> str:
    """Return the servers and clients with their software, since a difference may come from the libraries."""
    servers = _software((v.server, v.server_software, v) for v in result.variants)
    clients = _software((v.client, v.client_software, v) for v in result.variants)
    served = [
        f"{'embedded servers' if name == DEFAULT_SERVER else name}{software}" for name, software in servers.items()
    ]
    spoken = [f"{name} clients{software}" for name, software in clients.items()]
    return f"Servers: {joined(served)}; clients: {joined(spoken)}."


def _software(used: Iterable[tuple[str, str, Variant]]) -> dict[str, str]:
    software: dict[str, dict[str, None]] = {}
    for name, runs, variant in used:
        names = software.setdefault(name, {})
        if runs:
            names[runs] = None
        if name != DEFAULT_SERVER and not runs:
            names[variant.transport] = None
    return {name: f" ({', '.join(names)})" if names else "" for name, names in software.items()}


def findings(result: Drawn) -> list[str]:
    """Return the warnings: missing trials, verdicts and losses."""
    rows = [{**row, "variant": _named(row)} for row in result.summary]
    found = []
    if result.missing:
        found.append(f"INCOMPLETE: {result.missing}.")
    for verdict, words in ((INVALID, "Not fit to conclude"), (SUSPECT, "Suspect")):
        if names := [row["variant"] for row in rows if row["verdict"] == verdict]:
            found.append(f"{words}: {joined(names)}.")
    if lost := [f"{row['variant']} {row['lost']} of {row['expected']}" for row in rows if row.get("lost")]:
        found.append(f"Lost messages, which are not part of the latencies: {joined(lost)}.")
    return found


def _named(row: Mapping[str, Any]) -> str:
    """Return the variant of a row; in a sweep, with its level."""
    return f"{row['variant']} at {row['level']}" if "level" in row else str(row["variant"])


def headline(result: Drawn, values: Mapping[str, float], takes: str, than: str) -> str:
    """Return the difference between the largest and the smallest value as a sentence; empty if they are close.

    `takes` and `than` stand around the factor: "takes", "times as long as". Controls are not part of it, and neither
    are variants that are not fit to conclude from.
    """
    left_out = {variant.name for variant in result.variants if variant.control}
    left_out |= {row["variant"] for row in result.summary if row["verdict"] == INVALID}
    known = {name: value for name, value in values.items() if name not in left_out and value > 0}
    if len(known) < 2:
        return ""
    low, high = (end(known, key=known.__getitem__) for end in (min, max))
    factor = known[high] / known[low]
    return f"{high} {takes} {plain(factor, 2)} {than} {low}" if factor >= _LEAST_FACTOR else ""


def reasons(result: Drawn) -> list[str]:
    """Return the reasons of every verdict that is not `valid`."""
    rows = [row for row in result.summary if row["reasons"]]
    return [f"{_named(row)} is {row['verdict']}: {row['reasons']}." for row in rows]


def watermark(result: Drawn) -> str:
    """Return the text of the watermark; an empty text if all variants are fit to conclude from."""
    lines = ["INCOMPLETE"] if result.status != "complete" else []
    invalid = list(dict.fromkeys(row["variant"] for row in result.summary if row["verdict"] == INVALID))
    for start in range(0, min(len(invalid), _MOST_NAMES), 2):
        names = ", ".join(invalid[start : start + 2])
        lines.append(names if start else f"NOT FIT TO CONCLUDE: {names}")
    if len(invalid) > _MOST_NAMES:
        lines.append(f"and {len(invalid) - _MOST_NAMES} more")
    return "\n".join(lines)


def missing(result: Drawn, drawn: Iterable[str], why: str) -> list[str]:
    """Return a note that names the variants that are not in the chart."""
    there = set(drawn)
    absent = [variant.name for variant in result.variants if variant.name not in there]
    return [f"Not shown, {why}: {joined(absent)}."] if absent else []


def each(rows: Iterable[Mapping[str, Any]], column: str, unit: str) -> str:
    """Return a column in words, such as `sse 2.92 ms, websocket 1.53 ms`."""
    known = [row for row in rows if row[column] is not None]
    return ", ".join(f"{row['variant']} {significant(float(row[column]))} {unit}" for row in known)


def alternative(result: Drawn, *sentences: str) -> str:
    """Return the alternative text: first the warnings, then the content of the picture, then the conditions."""
    warnings = [*findings(result), *reasons(result)]
    return " ".join([*warnings, *filter(None, sentences), conditions(result), implementations(result)])


def refuse(chart: str, why: str) -> UsageError:
    """Return the error for a chart that has no data."""
    return UsageError(f"{chart} cannot be drawn from this result: {why}")
