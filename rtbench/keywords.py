"""Keywords: the options of `rtbench.run` and its like with their types, for editors and type checkers.

They are those of the command line, with `_` for `-`. A time is a text with a unit (`"500ms"`), or a number of seconds.
The options of a transport from another package go into `option`: `option=["name=value"]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict

Names: TypeAlias = str | Sequence[str]
Time: TypeAlias = str | float


class _VariantKeywords(TypedDict, total=False):
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


class _Keywords(_VariantKeywords, total=False):
    tls: bool


class IdleKeywords(_Keywords, total=False):
    """Of `rtbench.idle`."""

    tier: Names
    duration: Time
    connections: int


class SecurityKeywords(_VariantKeywords, total=False):
    """Of `rtbench.security`."""

    tier: Names
    protection: Names
    connections: int
    messages: int
    duration: Time
    payload: int
    trials: int
    attempts: int
    seed: int


class _FaultKeywords(_Keywords, total=False):
    fault: Names
    reconnect: Names
    offline: Literal["queue", "drop"]
    keep_alive: Time
    publishers: int
    subscribers: int
    rate: float
    payload: int
    seed: int


class GuaranteesKeywords(_FaultKeywords, total=False):
    """Of `rtbench.guarantees`."""

    episodes: int
    at_once: int


class LawsKeywords(TypedDict, total=False):
    """Of `rtbench.laws`."""

    rtt: Time
    link: Literal["auto", "packet", "stream"]
    trials: int
    seed: int


class _TrialKeywords(_FaultKeywords, total=False):
    """Of everything that measures a workload."""

    tier: Names
    workers: int
    publisher_workers: int
    cores: Literal["free", "split"]
    filters: int
    filter: str

    url: Names
    allow_host: Names
    allow_load: bool
    username: str
    password_file: str
    ca: str
    client_cert: str
    client_key: str
    network: Names
    link: Literal["auto", "packet", "stream"]
    drain: Time
    duration: Time
    pattern: Literal["fan-out", "fan-in", "room", "pairs"]
    arrivals: Literal["constant", "poisson"]
    warmup: Time
    trials: int
    repeat: bool


class RunKeywords(_TrialKeywords, total=False):
    """Of `rtbench.run`."""

    precision: str | float
    most_trials: int


class CapacityKeywords(_TrialKeywords, total=False):
    """Of `rtbench.capacity`."""

    slo: str
    of: Literal["rate", "subscribers", "publishers"]
    first: float
    most: float
    resolution: str | float


class CompareKeywords(RunKeywords, total=False):
    """Of `rtbench.compare`."""

    control: bool
    sparse: bool
    sparse_rate: float | Sequence[float]
    sparse_duration: Time


class SweepKeywords(CompareKeywords, total=False):
    """Of `rtbench.sweep`."""

    transport: Names
