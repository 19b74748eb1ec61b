"""What a trial is asked to do, and what it asks of each of its processes."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from rtbench.errors import UsageError
from rtbench.links.link import Namespaces
from rtbench.plan.faults import SUBSCRIBERS, Fault
from rtbench.plan.login import Login
from rtbench.plan.network import Network, network_of
from rtbench.plan.reconnect import Reconnect
from rtbench.plan.schedule import due_times
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.system.placement import FREE, Placement, cores_here, placed
from rtbench.transports import registry
from rtbench.transports.contract import Client
from rtbench.transports.records import SETTLE_S, PublisherPlan, SubscriberPlan
from rtbench.trial.phase import STARTING_S, Course, closing_s, connecting_s, probing_s, return_within_s

ProcessPlans = Mapping[str, PublisherPlan | SubscriberPlan]


@dataclass(frozen=True)
class TrialPlan:
    """One trial: what is measured, and by how many processes.

    `block` is the round of the comparison that it belongs to. `url` is the server's where one runs already; else one is
    started, with `tls` over TLS. `drain_s` is how long without a delivery means that no more will come, None for what
    the client of the transport says; subscribers record for `settle_s` after the last one. The control channel listens
    on `control_host`. Each step of the set-up may take `set_up_within_s`, and longer with many subscribers. `faults`
    are done at their times, in order. `reconnect` is what clients do when a connection is lost; None: that is an error
    of the trial. `cores` is how the processes are placed on cores. `filters` are held by bystanders. `login` is for the
    server at `url`, where all topics begin with `prefix`.
    """

    index: int
    block: int
    variant: Variant
    workload: Workload
    seed: int
    tls: bool = False
    url: str | None = None
    drain_s: float | None = None
    settle_s: float = SETTLE_S
    publisher_processes: int = 1
    subscriber_processes: int = 1
    control_host: str = "127.0.0.1"
    set_up_within_s: float = 20.0
    faults: tuple[Fault, ...] = ()
    reconnect: Reconnect | None = None
    cores: str = FREE
    filters: tuple[str, ...] = ()
    login: Login = field(default_factory=Login)
    prefix: str = ""

    def __post_init__(self) -> None:
        for flag, role, processes, members in (
            ("--publisher-workers", "publisher", self.publisher_processes, self.workload.publishers),
            ("--workers", "subscriber", self.subscriber_processes, self.workload.subscribers),
        ):
            if not 1 <= processes <= members:
                raise UsageError(f"{flag} must be 1 to {members}, since there are as many {role}s: got {processes}")
        if self.reconnect is not None and self._client.connect is None:
            raise UsageError(
                f"--reconnect: the client {self.variant.client} of {self.variant.transport} has no `connect`"
            )

    @property
    def publisher_topics(self) -> list[str]:
        """The topic that each publisher publishes on."""
        return [self.prefix + topic for topic in self.workload.publisher_topics]

    @property
    def subscriber_topics(self) -> list[str]:
        """The topic that each subscriber subscribes to."""
        return [self.prefix + topic for topic in self.workload.subscriber_topics]

    @property
    def publisher_names(self) -> list[str]:
        """The names of the publisher processes."""
        return [f"publisher-{i}" for i in range(self.publisher_processes)]

    @property
    def subscriber_names(self) -> list[str]:
        """The names of the subscriber processes."""
        return [f"subscriber-{i}" for i in range(self.subscriber_processes)]

    @property
    def placement(self) -> Placement:
        """On which cores its processes run."""
        return placed(self.cores, [*self.subscriber_names, *self.publisher_names], cores_here())

    @property
    def _client(self) -> Client:
        return registry.client(self.variant.transport, self.variant.client)

    @property
    def network(self) -> Network:
        """The network between clients and server; one without delay where there is none."""
        return network_of(self.variant.network) or Network()

    @property
    def drain_timeout_s(self) -> float:
        """How long without a delivery means that no more will come.

        The user says it, or the client; to that the policy for lost connections adds its longest delay.
        """
        if self.drain_s is not None:
            return self.drain_s
        longest_delay_s = self.reconnect.longest_delay_s if self.reconnect is not None else 0.0
        return self._client.drain_timeout_s(**self.variant.options) + longest_delay_s

    @property
    def fetching_s(self) -> float:
        """How long a message waits at most until its subscriber fetches it: twice the average that the client says."""
        return 2 * self._client.steady(self.workload.rate_hz, **self.variant.options).wait_s

    @property
    def step_within_s(self) -> float:
        """The limit of each step of the set-up."""
        return self.set_up_within_s + self.drain_timeout_s + 0.02 * self.workload.subscribers

    @property
    def return_within_s(self) -> float:
        """The limit of closing all connections and returning the records."""
        return return_within_s(self.workload.publishers + self.workload.subscribers) + self.settle_s

    @property
    def expected_s(self) -> float:
        """About how long the trial takes: its processes, its probes, its schedule, and its last messages."""
        publishers, subscribers = self.workload.publishers, self.workload.subscribers
        set_up_s = STARTING_S + connecting_s(subscribers) + probing_s(publishers, subscribers)
        waiting_s = 2 * self.fetching_s + self.workload.schedule_ns / 1e9
        return set_up_s + waiting_s + self.settle_s + closing_s(publishers + subscribers)

    def course(self, processes: ProcessPlans) -> Course:
        """Return what the phases of the trial are expected to take and to count."""
        subscribers = [p for p in processes.values() if isinstance(p, SubscriberPlan)]
        return Course(
            publishers=self.workload.publishers,
            subscribers=self.workload.subscribers,
            probes=sum(sum(p.probes) for p in subscribers),
            deliveries=sum(p.expected for p in subscribers),
            schedule_s=self.workload.schedule_ns / 1e9,
            fetching_s=self.fetching_s,
            set_up_within_s=self.step_within_s,
            drain_timeout_s=self.drain_timeout_s,
        )


def process_plans(
    plan: TrialPlan,
    address: tuple[str, int],
    token: str,
    namespaces: Namespaces | None = None,
) -> ProcessPlans:
    """Deal the publishers and the subscribers of a trial to processes in turn; return the plan of each process."""
    workload, variant = plan.workload, plan.variant
    due = [array("q", times.tobytes()) for times in due_times(workload, plan.seed, plan.block)]
    publisher_topics, subscriber_topics = plan.publisher_topics, plan.subscriber_topics
    publishers_of = Counter(publisher_topics)
    messages_on: Counter[str] = Counter()
    for topic, times in zip(publisher_topics, due, strict=True):
        messages_on[topic] += len(times)
    common: dict[str, Any] = {
        "reconnect": plan.reconnect,
        "forgets": plan.url is not None,
        "control": address,
        "token": token,
        "transport": variant.transport,
        "client": variant.client,
        "options": dict(variant.options),
        "payload_bytes": workload.payload_bytes,
        "namespaces": None if namespaces is None else (namespaces.user, namespaces.network),
    }
    plans: dict[str, PublisherPlan | SubscriberPlan] = {}
    cores = plan.placement.clients
    for name, mine in _dealt(workload.publishers, plan.publisher_names).items():
        plans[name] = PublisherPlan(
            **common,
            cores=cores.get(name, ()),
            name=name,
            seed=f"{plan.seed} {plan.index} {name}",
            publishers=mine,
            topics=[publisher_topics[i] for i in mine],
            due_ns=[due[i] for i in mine],
            drain_timeout_s=plan.drain_timeout_s,
        )
    for name, mine in _dealt(workload.subscribers, plan.subscriber_names).items():
        topics = [subscriber_topics[i] for i in mine]
        plans[name] = SubscriberPlan(
            **common,
            cores=cores.get(name, ()),
            name=name,
            seed=f"{plan.seed} {plan.index} {name}",
            subscribers=mine,
            topics=topics,
            probes=[publishers_of[topic] for topic in topics],
            expected=sum(messages_on[topic] for topic in topics),
            schedule_ns=workload.schedule_ns,
            settle_s=plan.settle_s,
            offline=_offline(plan, mine),
        )
    return plans


def _offline(plan: TrialPlan, subscribers: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return which of these subscribers (by position) leave on purpose, when, and for how long, in nanoseconds."""
    found = []
    for number, fault in enumerate(plan.faults):
        if fault.breaks == SUBSCRIBERS:
            count = max(round(fault.share * plan.workload.subscribers), 1)
            leaving = set(Random(f"{plan.seed} offline {number}").sample(range(plan.workload.subscribers), count))
            found += [(i, fault.at_ns, fault.for_ns) for i, who in enumerate(subscribers) if who in leaving]
    return found


def _dealt(count: int, names: Sequence[str]) -> dict[str, list[int]]:
    return {name: list(range(i, count, len(names))) for i, name in enumerate(names)}
