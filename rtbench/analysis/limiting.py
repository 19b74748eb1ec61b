"""What ran out first, where a load failed: the server, the load generator, or neither. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

GENERATOR = "the load generator"
_BUSY = 0.85  # of a core: there the mean wait for it is three times the time of the work (M/D/1: r / 2(1 - r))
_LAG_MS = 5.0  # of the generator's own, from which it sends late
_PACE = 0.97

Rule = tuple[str, Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], str]]
_RULES: tuple[Rule, ...] = (  # the first that applies is what ran out first
    (
        GENERATOR,
        lambda row: row["client_cpu_percent"] >= 100 * _BUSY,
        lambda row: f"a client process used {row['client_cpu_percent']:.0f} % of a core",
    ),
    (
        GENERATOR,
        lambda row: (row["generator_lag_p99_ms"] or 0) >= _LAG_MS,
        lambda row: f"it sent late by itself (99th percentile {row['generator_lag_p99_ms']:.1f} ms)",
    ),
    (
        "the server's core",
        lambda row: (row["server_cpu_percent"] or 0) >= 100 * _BUSY,
        lambda row: f"the server used {row['server_cpu_percent']:.0f} % of a core",
    ),
    (
        "a queue of the server",
        lambda row: row["lost"] > 0,
        lambda row: f"{row['lost']} of {row['expected']} deliveries were lost",
    ),
    (
        "the way to the server",
        lambda row: row["achieved_share"] < _PACE,
        lambda row: f"publishes were finished at {row['achieved_share']:.0%} of the rate",
    ),
)
_NOTHING = "nothing that is watched", "no core was busy, nothing was lost, and the generator kept its pace"


def ran_out_first(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what ran out first at a load that failed, and the figure that shows it.

    `row` has the figures of the trials: `client_cpu_percent` (the busiest client process), `generator_lag_p99_ms`,
    `server_cpu_percent`, `lost`, `expected`, `achieved_share`.
    """
    for name, applies, shows in _RULES:
        if applies(row):
            return name, shows(row)
    return _NOTHING
