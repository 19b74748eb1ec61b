"""Client processes whose CLOCK_MONOTONIC differs from the coordinator's, as that of another host does."""

from __future__ import annotations

import time

from rtbench.system import alarm
from rtbench.transports.records import PublisherPlan, PublisherRecord, SubscriberPlan, SubscriberRecord
from rtbench.trial import control, pacer, publisher, subscriber

AHEAD_NS = {"publisher": -2_000_000_000, "subscriber": 5_000_000_000}


def shift(ahead_ns: int) -> None:
    """Let this process read a clock that is ahead of the real one, and say that it is another."""
    real = time.monotonic_ns
    time.monotonic_ns = lambda: real() + ahead_ns
    vars(control)["clock_name"] = lambda: "another host"
    # a timerfd would read the real clock
    vars(pacer)["make_alarm"] = alarm.LoopTimer


def publish(plan: PublisherPlan) -> PublisherRecord:
    """Publish with another clock."""
    shift(AHEAD_NS["publisher"])
    return publisher.publish(plan)


def subscribe(plan: SubscriberPlan) -> SubscriberRecord:
    """Subscribe with another clock."""
    shift(AHEAD_NS["subscriber"])
    return subscriber.subscribe(plan)
