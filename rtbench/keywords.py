"""Keywords: the options of `rtbench.run`, `compare`, `idle` and `laws` with their types, for editors and type checkers.

They are those of the command line, with `_` for `-`. A time is a text with a unit (`"500ms"`), or a number of seconds.
The options of a transport from another package go into `option`: `option=["name=value"]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict

Names: TypeAlias = str | Sequence[str]
Time: TypeAlias = str | float


class _Keywords(TypedDict, total=False):
    server: Names
    client: str
    qos: int | Sequence[int]
    interval: Time | Sequence[Time]
    close: bool | Sequence[bool]
    overlap: bool | Sequence[bool]
    will_topic: str | Sequence[str]
    will_payload: str | Sequence[str]
    option: Names
    server_option: Names
    tls: bool
    duration: Time


class IdleKeywords(_Keywords, total=False):
    """Of `rtbench.idle`."""

    connections: int


class LawsKeywords(TypedDict, total=False):
    """Of `rtbench.laws`."""

    rtt: Time
    link: Literal["auto", "packet", "stream"]
    trials: int
    seed: int


class RunKeywords(_Keywords, total=False):
    """Of `rtbench.run`."""

    url: str
    network: Names
    link: Literal["auto", "packet", "stream"]
    fault: Names
    reconnect: Names
    offline: Literal["queue", "drop"]
    keep_alive: Time
    drain: Time
    pattern: Literal["fan-out", "fan-in", "room", "pairs"]
    publishers: int
    subscribers: int
    rate: float
    arrivals: Literal["constant", "poisson"]
    payload: int
    warmup: Time
    trials: int
    precision: str | float
    most_trials: int
    repeat: bool
    seed: int


class CompareKeywords(RunKeywords, total=False):
    """Of `rtbench.compare`."""

    control: bool
    sparse: bool
    sparse_rate: float | Sequence[float]
    sparse_duration: Time
