"""Guarantees: what a transport promises when a connection or its server is lost, and whether that held. Pure.

A promise of delivery begins with the acknowledgement of a publish: what was never acknowledged may be lost. A transport
without acknowledgements promises at most what its server had relayed. A message that comes late, after a session was
resumed, is not lost; one of which the server says that it is gone is not lost in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis.episodes import Episode, GuaranteeCounts
from rtbench.analysis.metric import IDENTITY, Column, Metric
from rtbench.analysis.verdict import INVALID, VALID
from rtbench.plan.faults import RESTARTS
from rtbench.plan.reconnect import ROBUST
from rtbench.plan.variant import DEFAULT_SERVER
from rtbench.units import plain

if TYPE_CHECKING:
    from rtbench.plan.variant import Variant

NOTHING, AT_LEAST_ONCE, EXACTLY_ONCE = "nothing", "at least once", "exactly once"
HELD, BROKEN, UNPROMISED, UNCOUNTED = "held", "not kept", "nothing promised", "not counted"
ACKNOWLEDGED, RELAYED = "acknowledged", "relayed"


@dataclass(frozen=True)
class Promise:
    """What a subscriber is promised of a message that was `counted` (acknowledged to its publisher, or relayed).

    `source` says who promises it. `over_restart`: it does not end with the server process: the source asks the server
    to keep what it needs for it.
    """

    delivery: str
    source: str
    condition: str = ""
    counted: str = ACKNOWLEDGED
    over_restart: bool = False

    @property
    def lost(self) -> str:
        """The count of an episode that has the lost deliveries of messages that it is promised of."""
        return "lost_acked" if self.counted == ACKNOWLEDGED else "lost_relayed"

    @property
    def words(self) -> str:
        """The promise in one phrase."""
        if self.delivery == NOTHING:
            return f"nothing ({self.source})"
        what = f"{self.delivery}, from when a message was {self.counted}" + f", {self.condition}" * bool(self.condition)
        return f"{what} ({self.source})"


_FEED = "while the server lives; a gap beyond what it keeps is announced"
_SESSION = "with a kept session, which the server has to store (4.1)"
_OASIS = "OASIS MQTT 3.1.1"
PROMISES: Mapping[tuple[str, int | None], Promise] = {  # to a client that resumes, by transport and QoS
    ("polling", None): Promise(AT_LEAST_ONCE, "RFC 9110, 8.8.3: the ETag is the cursor", _FEED),
    ("long-polling", None): Promise(AT_LEAST_ONCE, "RFC 6202 leaves it to the server: its ETag is the cursor", _FEED),
    ("sse", None): Promise(AT_LEAST_ONCE, "WHATWG HTML, 9.2: Last-Event-ID", _FEED),
    ("websocket", None): Promise(
        AT_LEAST_ONCE, "RFC 6455 has none: the server continues after the last frame", _FEED, RELAYED
    ),
    ("mqtt", 0): Promise(NOTHING, f"{_OASIS}, 4.3.1: at most once"),
    ("mqtt", 1): Promise(AT_LEAST_ONCE, f"{_OASIS}, 4.3.2 and 4.4", _SESSION, over_restart=True),
    ("mqtt", 2): Promise(EXACTLY_ONCE, f"{_OASIS}, 4.3.3 and 4.4", _SESSION, over_restart=True),
}
_NOT_RESUMED = Promise(NOTHING, "the client does not resume")
_UNKNOWN = Promise(NOTHING, "none that rtbench knows of")


def promise_of(variant: Variant) -> Promise:
    """Return what a variant promises, by its transport, its QoS and what its clients do when a connection is lost."""
    if variant.reconnect != ROBUST:
        return _NOT_RESUMED
    return PROMISES.get((variant.transport, variant.options.get("qos")), _UNKNOWN)


def short_faults(faults: Sequence[str]) -> dict[str, str]:
    """Return the head of a column for each fault: its kind, or all of it where several are of one kind."""
    kinds = [fault.split()[0] for fault in faults]
    return {fault: kind if kinds.count(kind) == 1 else fault for fault, kind in zip(faults, kinds, strict=True)}


def shown_name(variant: Variant) -> str:
    """Return the name of a variant without what all have: `mqtt-qos1 mosquitto stock`."""
    options = [name if value is True else f"{name}={value}" for name, value in variant.server_options.items()]
    return " ".join([variant.label, *[variant.server] * (variant.server != DEFAULT_SERVER), *options])


@dataclass(frozen=True)
class GuaranteeTrial:
    """A trial, and its variant."""

    counts: GuaranteeCounts
    variant: Variant


@dataclass(frozen=True)
class Cell:
    """One variant under one fault: its trials, of which the last counts; others were not counted."""

    variant: Variant
    fault: str
    trials: Sequence[GuaranteeTrial]

    @property
    def episodes(self) -> Sequence[Episode]:
        """The episodes that are counted."""
        return () if self.not_counted else self.trials[-1].counts.episodes

    @property
    def not_counted(self) -> str:
        """Why no trial is counted; empty if one is."""
        return self.trials[-1].counts.not_counted if self.trials else "was not measured"

    @property
    def error(self) -> str | None:
        """Why the last trial failed; None if it did not."""
        return self.trials[-1].counts.error if self.trials else None

    def total(self, name: str) -> int | None:
        """Return the sum of a count over the episodes; None if nothing is counted."""
        return sum(getattr(episode, name) for episode in self.episodes) if self.episodes else None

    def mean(self, name: str) -> float | None:
        """Return the mean of a count over the episodes."""
        total = self.total(name)
        return None if total is None else total / len(self.episodes)

    def seen_in(self, name: str) -> int | None:
        """Return in how many episodes a count is above 0."""
        return sum(getattr(episode, name) > 0 for episode in self.episodes) if self.episodes else None

    @property
    def missed_told(self) -> int | None:
        """How many deliveries are missing of which the server said so."""
        return self.trials[-1].counts.missed_told if self.episodes else None

    @cached_property
    def promise(self) -> Promise:
        """What the variant promises under this fault."""
        promise = promise_of(self.variant)
        if promise.delivery != NOTHING and self.fault.split()[0] in RESTARTS and not promise.over_restart:
            return Promise(NOTHING, "the promise ends with the server process, which has the messages in memory")
        return promise

    @property
    def breaches(self) -> int | None:
        """Deliveries that are missing, or too many, against the promise; None if nothing is promised or counted."""
        if not self.episodes or self.promise.delivery == NOTHING:
            return None
        lost = self.total(self.promise.lost) or 0
        twice = self.total("duplicated") or 0
        return max(lost - (self.missed_told or 0), 0) + twice * (self.promise.delivery == EXACTLY_ONCE)

    @property
    def outcome(self) -> str:
        """Whether the promise held."""
        if not self.episodes:
            return UNCOUNTED
        if self.breaches is None:
            return UNPROMISED
        return BROKEN if self.breaches else HELD

    def recover_ms(self, percent: float) -> float | None:
        """Return a percentile of the times until a subscriber had a message again; None if no subscriber noticed."""
        times_ms = [time for episode in self.episodes for time in episode.recover_ms]
        return float(np.percentile(times_ms, percent)) if times_ms else None


def in_short(cell: Cell, signs: Mapping[str, str]) -> str:
    """Return a cell as text: its sign, lost/duplicated deliveries an episode, and the median time to recover."""
    lost, twice, recover_ms = cell.mean("lost"), cell.mean("duplicated"), cell.recover_ms(50)
    if lost is None or twice is None:
        return signs[cell.outcome]
    recovered = "" if recover_ms is None else f" {recover_ms / 1e3:.2f}s"
    return f"{signs[cell.outcome]} {_short(lost)}/{_short(twice)}{recovered}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else plain(number, 2)


def _total(name: str) -> Any:
    return lambda cell: cell.total(name)


METRICS = (
    *IDENTITY,
    Metric("reconnect", "text", "what the clients do when a connection is lost", lambda c: c.variant.reconnect),
    Metric("fault", "text", "what was broken, in every episode", lambda c: c.fault),
    Metric("episodes", "integer", "how often; 0 if the trial is not counted", lambda c: len(c.episodes)),
    Metric("published", "integer", "messages that were sent, in all episodes", _total("published")),
    Metric("acked", "integer", "messages of these whose publish was acknowledged", _total("acked")),
    Metric("lost_deliveries", "integer", "deliveries that never came", _total("lost")),
    Metric("lost_acked", "integer", "deliveries of these whose publish was acknowledged", _total("lost_acked")),
    Metric(
        "lost_relayed",
        "integer",
        "lost deliveries that the server had relayed, as far as it tells: what a killed server had is not known",
        _total("lost_relayed"),
    ),
    Metric("duplicated_deliveries", "integer", "deliveries that came once more", _total("duplicated")),
    Metric("missed_told", "integer", "missing deliveries of which the server said so", lambda c: c.missed_told),
    Metric("lost_per_episode", "number", "`lost_deliveries` of an episode, mean", lambda c: c.mean("lost")),
    Metric(
        "duplicated_per_episode",
        "number",
        "`duplicated_deliveries` of an episode, mean",
        lambda c: c.mean("duplicated"),
    ),
    Metric("episodes_with_loss", "integer", "episodes in which a delivery was lost", lambda c: c.seen_in("lost")),
    Metric(
        "episodes_with_duplicates",
        "integer",
        "episodes in which a delivery came once more",
        lambda c: c.seen_in("duplicated"),
    ),
    Metric(
        "recover_p50_ms",
        "number",
        "median time from the begin of a fault until a subscriber received a message over its next connection; empty "
        "if no subscriber noticed",
        lambda c: c.recover_ms(50),
    ),
    Metric("recover_max_ms", "number", "the longest of these times", lambda c: c.recover_ms(100)),
    Metric("noticed", "integer", "connections that a subscriber noticed to be lost", _total("noticed")),
    Metric("resumed", "integer", "subscriptions of these that were continued where they were", _total("resumed")),
    Metric("promised", "text", "`nothing`, `at least once` or `exactly once`", lambda c: c.promise.delivery),
    Metric("source", "text", "where that is promised, or why nothing is", lambda c: c.promise.source),
    Metric(
        "breaches",
        "integer",
        "deliveries that are missing or too many against the promise; empty if nothing is promised",
        lambda c: c.breaches,
    ),
    Metric("outcome", "text", "`held`, `not kept`, `nothing promised` or `not counted`", lambda c: c.outcome),
    Metric(
        "verdict",
        "text",
        "`valid`, or `invalid`: not counted",
        lambda c: INVALID if c.not_counted else VALID,
    ),
    Metric("reasons", "text", "why it is not counted", lambda c: c.not_counted),
    Metric("error", "text", "why the measurement failed; empty if it did not fail", lambda c: c.error),
)


TRIAL_HEAD = (
    Metric("trial", "integer", "its position in the order of the trials, from 0", lambda c: c.trials[-1].counts.index),
    Metric("server_url", "text", "where the server listened", lambda c: c.trials[-1].counts.server_url),
)


def columns() -> list[Column]:
    """Return the columns of summary.csv with their meanings, in order."""
    return [Column(metric.name, metric.kind, metric.meaning) for metric in METRICS]
