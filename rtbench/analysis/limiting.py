"""What ran out first, where a load failed: the server, the load generator, or neither. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.verdict import MOST_CLIENT_CPU

if TYPE_CHECKING:
    from numpy.typing import NDArray

GENERATOR = "the load generator"
GROWS = "the latency grows all through the trial"
_BUSY = 0.85  # of a core: there the mean wait for it is three times the time of the work (M/D/1: r / 2(1 - r))
_GROWTH, _GROWTH_MS = 3.0, 5.0  # of the last quarter over the first
_LAG_MS = 5.0  # of the generator's own, from which it sends late
_PACE = 0.97

Rule = tuple[str, Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], str]]
_RULES: tuple[Rule, ...] = (  # the first that applies is what ran out first
    (
        GENERATOR,
        lambda row: row["client_cpu_percent"] >= 100 * MOST_CLIENT_CPU,
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
        "the cores of this machine",
        lambda row: (row["server_waiting_us_per_delivery"] or 0) >= (row["server_cpu_us_per_delivery"] or math.inf),
        lambda row: (
            f"the server waited {row['server_waiting_us_per_delivery']:.0f} us a delivery for a core, and ran "
            f"{row['server_cpu_us_per_delivery']:.0f}"
        ),
    ),
    (
        "a queue of the server",
        lambda row: row["lost"] > 0,
        lambda row: f"{row['lost']} of {row['expected']} deliveries were lost",
    ),
    (
        "the server's time for one message",
        lambda row: _fan_out_ms(row) >= (row["latency_p99_ms"] or math.inf) / 2,
        lambda row: (
            f"writing one message to its {row['expected'] / row['published']:.0f} subscribers took it "
            f"{_fan_out_ms(row):.0f} ms of CPU time"
        ),
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
    `server_cpu_percent`, `server_cpu_us_per_delivery`, `server_waiting_us_per_delivery`, `lost`, `expected`,
    `published`, `latency_p99_ms`, `achieved_share`.
    """
    for name, applies, shows in _RULES:
        if applies(row):
            return name, shows(row)
    return _NOTHING


def _fan_out_ms(row: Mapping[str, Any]) -> float:
    """Return the CPU time of the server for one message to all its subscribers, milliseconds."""
    deliveries = row["expected"] / row["published"] if row["published"] else 0.0
    return float(deliveries * (row["server_cpu_us_per_delivery"] or 0.0) / 1e3)


def latency_grows(due_s: NDArray[np.float64], latency_ms: NDArray[np.float64]) -> bool:
    """Whether a queue fills: the latency rises all through a trial, so that a longer trial would have a higher one.

    The medians of the four quarters of the time rise, and the last is three times the first and 5 ms above it.
    """
    if len(due_s) < 8:
        return False
    ends = np.linspace(due_s.min(), due_s.max(), 5)[1:4]
    quarter = np.searchsorted(ends, due_s)
    medians = [float(np.median(latency_ms[quarter == q])) if (quarter == q).any() else 0.0 for q in range(4)]
    rising = all(before < after for before, after in itertools.pairwise(medians))
    return rising and medians[3] >= max(_GROWTH * medians[0], medians[0] + _GROWTH_MS)
