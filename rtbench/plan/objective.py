"""Objective: what a server must keep to, such as `p99<50ms, lost=0`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rtbench.errors import UsageError, did_you_mean
from rtbench.units import parse_number, parse_seconds

_TERM = re.compile(r"([a-z0-9_.]+)\s*(<=|<|=)\s*(\S.*)")
_TIMES = {  # name: column, in milliseconds
    "p50": "latency_p50_ms",
    "p90": "latency_p90_ms",
    "p99": "latency_p99_ms",
    "mean": "latency_mean_ms",
    "arrived": "arrived_p50_ms",
    "lag": "lag_p99_ms",
}
_COUNTS = {"lost": "lost", "duplicated": "duplicated", "server_cpu": "server_cpu_percent"}  # %: of expected, of a core


@dataclass(frozen=True)
class Term:
    """One figure and its limit; `share`: the limit is a share of the expected deliveries."""

    text: str
    column: str
    strict: bool
    limit: float
    share: bool = False

    def holds(self, row: Mapping[str, Any]) -> bool | None:
        """Whether a row of trials.csv keeps to it; None where the row does not have the figure."""
        value = row.get(self.column)
        if value is None:
            return None
        limit = self.limit * row["expected"] if self.share else self.limit
        return bool(value < limit if self.strict else value <= limit)


@dataclass(frozen=True)
class Objective:
    """All terms must hold."""

    terms: tuple[Term, ...]

    def broken(self, row: Mapping[str, Any]) -> list[str]:
        """Return the terms that a row of trials.csv does not keep to, or has no figure for."""
        return [term.text for term in self.terms if not term.holds(row)]

    def __str__(self) -> str:
        """Return it as a user writes it."""
        return ", ".join(term.text for term in self.terms)


def parse_objective(text: str) -> Objective:
    """Return the objective that a text says.

    Raises:
        UsageError: it says none.
    """
    return Objective(tuple(_term(part.strip()) for part in text.split(",")))


def _term(text: str) -> Term:
    match = _TERM.fullmatch(text)
    known = [*_TIMES, *_COUNTS]
    if match is None:
        raise UsageError(f"--slo is such as 'p99<50ms, lost=0', with {', '.join(known)}: got {text!r}")
    name, sign, value = match.groups()
    if name not in known:
        raise UsageError(f"--slo knows {', '.join(known)}: got {name!r}{did_you_mean(name, known)}")
    strict = sign == "<"
    if name in _TIMES:
        return Term(text, _TIMES[name], strict, 1e3 * parse_seconds(value))
    try:
        number = parse_number(value.removesuffix("%").strip())
    except ValueError:
        raise UsageError(f"--slo {name} must be a number, or percent: got {value!r}") from None
    if number < 0:
        raise UsageError(f"--slo {name} must be 0 or more: got {value!r}")
    share = value.endswith("%") and name != "server_cpu"
    return Term(text, _COUNTS[name], strict, number / 100 if share else number, share)
