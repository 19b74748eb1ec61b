"""What one client process of a trial is asked to do, and what it gives back. Nothing here imports numpy or asyncio.

A plan goes to the process, a record comes back; both are pickled. All times in a record are of CLOCK_MONOTONIC of the
host that the process runs on; the coordinator knows how far that clock is from its own.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from struct import Struct, calcsize
from typing import Any

from rtbench.plan.login import Login
from rtbench.plan.payload import HEADER_BYTES
from rtbench.plan.reconnect import Reconnect
from rtbench.plan.records import Outage
from rtbench.wire.tcp import Wire

DELIVERY = Struct(f"=qqi{HEADER_BYTES}s")  # a row of `SubscriberRecord`
SETTLE_S = 0.2  # the next duplicate may come later than the last message; a quarter of it passes anyway until `stop`
TIMES_BYTES = calcsize("=qq")  # what stands in a row before the subscriber and the header


@dataclass(frozen=True, kw_only=True)
class ProcessPlan:
    """What every client process is told.

    `name` is how the coordinator addresses it (`publisher-0`). `control` is the address of the control channel and
    `token` the word that lets this process in. `options` are those of the client. `seed` seeds Python's random numbers.
    `namespaces` are files of a user namespace and a network namespace, which the process enters once it has joined.
    `reconnect` is what its clients do when a connection is lost; None: that is an error of the trial. `forgets` says
    that sessions at the server are removed in the end, because it goes on running. `cores` are those that the process
    stays on, any if there are none.
    """

    name: str
    control: tuple[str, int]
    token: str
    transport: str
    client: str
    options: dict[str, Any]
    seed: str = ""
    namespaces: tuple[str, str] | None = None
    reconnect: Reconnect | None = None
    forgets: bool = False
    cores: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PublisherPlan(ProcessPlan):
    """The publishers of one process: `publishers[i]` (its number in the trial) publishes on `topics[i]`.

    `due_ns[i]` is its schedule: nanoseconds after the start, sorted.
    """

    publishers: list[int]
    topics: list[str]
    due_ns: list[array[int]]
    payload_bytes: int
    drain_timeout_s: float


@dataclass(frozen=True, kw_only=True)
class SubscriberPlan(ProcessPlan):
    """The subscribers of one process: `subscribers[i]` (its number in the trial) subscribes to `topics[i]`.

    `probes[i]` is how many readiness probes it must receive before the trial starts, `expected` the number of
    deliveries to all of them together. `schedule_ns` is the length of the schedule: requests count until it ends.
    Duplicates are recorded until `settle_s` after the last delivery there was at the step `stop`.
    `offline` are those that leave on purpose: (i, at_ns after the start, for_ns); this needs a `reconnect`.
    """

    subscribers: list[int]
    topics: list[str]
    probes: list[int]
    expected: int
    payload_bytes: int
    schedule_ns: int = 0
    settle_s: float = SETTLE_S
    offline: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class IdlePlan(ProcessPlan):
    """Connections that are opened and then left idle: `batches` are the numbers to open one batch after the other."""

    topic: str
    batches: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ProtectedPlan(ProcessPlan):
    """Connections to a protected server: opened one after the other, then `messages` reach each of them.

    The messages are published evenly over `duration_s`, and waited for `drain_timeout_s` after the last one. With
    `resuming` each TLS session continues an earlier one.
    """

    topic: str
    connections: int
    messages: int
    payload_bytes: int
    duration_s: float
    drain_timeout_s: float
    resuming: bool


@dataclass
class ProtectedRecord:
    """What connections to a protected server took. A `wire` is a sum over the connections, None without TCP_INFO.

    `opening_ns` is how long each took until it was subscribed. Where TLS sessions were to be resumed, there were
    `handshakes` meanwhile, and `resumed` of them continued a session.
    """

    opening_ns: list[int] = field(default_factory=list)
    opening: Wire | None = None
    wire: Wire | None = None
    deliveries: int = 0
    handshakes: int = 0
    resumed: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class AttemptsPlan:
    """Attempts to get into a server at `url`, all alike: `entrance` names them (`rtbench.plan.protection`).

    `ca` (PEM text) signed the certificate of a server with TLS. `witness` may use every topic.
    """

    transport: str
    options: dict[str, Any]
    url: str
    ca: str | None
    entrance: str
    attempts: int
    login: Login
    witness: Login


@dataclass
class AttemptsRecord:
    """How many attempts were let in, and how often there was which answer."""

    let_in: int = 0
    answers: Counter[str] = field(default_factory=Counter)


@dataclass
class Usage:
    """What a client process spent between the start and the end of a trial.

    `setup_wire` is from the first SYN to the start, `run_wire` from there to the end, `closing_wire` from there
    until both ends have closed; None without TCP_INFO. `opening_ns` is how long each subscription took, its
    connection included. `requests` and `empty_requests` are those from the start to the end of the schedule.
    `requests_on_wire` are those made while the bytes were counted, until the last delivery and a little longer, as
    `batches` and keep-alives are.
    """

    setup_wire: Wire | None = None
    run_wire: Wire | None = None
    closing_wire: Wire | None = None
    opening_ns: list[int] = field(default_factory=list)
    cpu_ns: int = 0  # without `checking_cpu_ns`
    checking_cpu_ns: int = 0  # for the bench itself: to see whether something came twice
    waiting_ns: int | None = None  # for a core; None where the system does not tell
    requests: int = 0
    empty_requests: int = 0
    requests_on_wire: int = 0
    batches: Counter[int] = field(default_factory=Counter)
    keep_alives: int = 0
    keep_alive_bytes: int = 0
    nagle: int = 0
    errors: list[str] = field(default_factory=list)
    realtime_offset_ns: tuple[int, int] = (0, 0)  # CLOCK_REALTIME less CLOCK_MONOTONIC, at start and end


@dataclass
class PublisherRecord:
    """One entry a message, in order of due time."""

    publisher: array[int] = field(default_factory=lambda: array("i"))
    sequence: array[int] = field(default_factory=lambda: array("i"))
    due_ns: array[int] = field(default_factory=lambda: array("q"))
    ready_ns: array[int] = field(default_factory=lambda: array("q"))  # until here the lag is the generator's own
    sent_ns: array[int] = field(default_factory=lambda: array("q"))  # 0: never sent
    done_ns: array[int] = field(default_factory=lambda: array("q"))  # 0: never done
    status: array[int] = field(default_factory=lambda: array("b"))
    outages: list[Outage] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


@dataclass
class SubscriberRecord:
    """One row a delivery, in order of arrival, readiness probes included.

    A row has four fields, in native byte order and without gaps: when the application received it (int64, nanoseconds
    of CLOCK_MONOTONIC), when the kernel received it (int64, nanoseconds of CLOCK_REALTIME, 0 where that is not known),
    the number of the subscriber in the trial (int32), and the first HEADER_BYTES of the payload (filled with zeros
    where it is shorter).
    """

    rows: bytearray = field(default_factory=bytearray)
    corrupt: list[int] = field(default_factory=list)  # positions of deliveries whose padding or size is wrong
    missed: int = 0  # messages that servers said they had skipped
    outages: list[Outage] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def __len__(self) -> int:
        return len(self.rows) // DELIVERY.size

    @property
    def last_received_ns(self) -> int:
        """When the last delivery was received; 0 without one."""
        return int(DELIVERY.unpack_from(self.rows, len(self.rows) - DELIVERY.size)[0]) if self.rows else 0


@dataclass
class IdleRecord:
    """What idle connections did. A `wire` is a sum over the connections, None without TCP_INFO.

    `waiting` is how many requests had been made after the opening and before the time observed; `active` how many
    connections sent or received anything in that time.
    """

    opening: Wire | None = None
    wire: Wire | None = None
    observed_s: float = 0.0
    requests: int = 0
    waiting: int = 0
    active: int | None = None
    cpu_s: float = 0.0
    errors: list[str] = field(default_factory=list)
