"""Link: what every emulated network does, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rtbench.plan.faults import Fault

AUTO, STREAM, PACKET = "auto", "stream", "packet"


@dataclass(frozen=True)
class Namespaces:
    """Files in /proc of a user namespace and a network namespace in it, which a process enters to be on a side."""

    user: str
    network: str


@dataclass(frozen=True)
class Place:
    """Where a process of a trial runs: in namespaces, or where it was started; `host` is the address to listen on."""

    host: str = "127.0.0.1"
    namespaces: Namespaces | None = None


HERE = Place()


@dataclass(frozen=True)
class Done:
    """What a link did for a fault: when (CLOCK_MONOTONIC) it began and ended, and counts of what it did."""

    fault: str
    began_ns: int
    ended_ns: int
    counts: Mapping[str, int] = field(default_factory=dict)


class Link(Protocol):
    """A running link."""

    @property
    def kind(self) -> str:
        """`stream` or `packet`."""

    @property
    def pid(self) -> int:
        """The process that does the work: its CPU time is not the server's. It is in the server's network."""

    @property
    def server(self) -> Place:
        """Where the server listens."""

    @property
    def clients(self) -> Place:
        """Where the client processes run."""

    async def reach(self, url: str) -> str:
        """Return the URL with which clients reach, over the link, the server that listens at `url`."""

    async def plan(self, faults: Mapping[int, Fault]) -> None:
        """Do each fault when its time comes: keys are times of CLOCK_MONOTONIC, in nanoseconds."""

    async def done(self) -> list[Done]:
        """Return what was done so far."""

    async def counts(self) -> Mapping[str, Any]:
        """Return what passed so far: `up` and `down`, each with packets (or chunks), bytes and what was dropped."""
