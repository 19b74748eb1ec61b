"""The course of a trial, and what its subscribers did about its faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rtbench.analysis.course import course_of
from rtbench.analysis.measured import Measured
from rtbench.analysis.metrics import summary_row
from rtbench.analysis.recovery import recoveries_of
from rtbench.plan.faults import Evidence
from rtbench.plan.records import PUBLISHER, SUBSCRIBER, Deliveries, Outage
from rtbench.plan.settings import workload_of
from tests import builders
from tests.builders import trial, variant

MS = 1_000_000
SETTINGS = builders.settings(subscribers=2, rate=100, duration=0.4, warmup=0.2)
WORKLOAD = workload_of(SETTINGS)


def test_what_is_under_way_and_what_was_lost() -> None:
    whole = trial(WORKLOAD, 3, latency_ns=25 * MS)
    course = course_of(whole)
    assert course.latency_ms == pytest.approx([25.0] * 6)
    assert course.under_way()[1].max() == 2 * 3  # due every 10 ms, and each takes 25 ms
    assert course.under_way()[1][-1] == 0
    assert len(course.lost_s) == 0
    part = replace(
        whole, deliveries=Deliveries(**{name: c[:-1] for name, c in vars(whole.deliveries).items() if len(c)})
    )
    lost = course_of(part)
    assert lost.lost_s == pytest.approx([whole.publishes.due_ns[-1] / 1e9])
    assert lost.lost_per_second(1.0).tolist() == [1]


def cut_trial(*outages: Outage, began_ms: tuple[int, ...] = (250,)) -> Measured:
    faults = tuple(Evidence(f"cut@{ms}ms", ms * MS, ms * MS, None, "") for ms in began_ms)
    return trial(WORKLOAD, 40, latency_ns=MS, faults=faults, outages=outages)


def test_recovery_is_from_the_fault_to_the_first_message_over_the_next_connection() -> None:
    there = cut_trial(Outage(SUBSCRIBER, 1, lost_ns=253 * MS, back_ns=295 * MS, attempts=2, wire_bytes=800))
    (recovery,) = recoveries_of(there)
    assert recovery.detect_ns == 3 * MS
    assert recovery.recover_ns == pytest.approx(51 * MS)  # due at 300, received at 301
    row = summary_row(variant("sse"), [there], WORKLOAD)
    assert (row["detect_p50_ms"], row["recover_p50_ms"], row["recover_max_ms"]) == pytest.approx((3, 51, 51))
    assert (row["outages"], row["attempts"], row["reconnect_wire_bytes"], row["unrecovered"]) == (1, 2, 800, 0)


def test_who_never_comes_back_is_not_recovered() -> None:
    row = summary_row(variant("sse"), [cut_trial(Outage(SUBSCRIBER, 0, lost_ns=251 * MS))], WORKLOAD)
    assert (row["unrecovered"], row["recover_p50_ms"]) == (1, None)


def test_an_outage_belongs_to_the_fault_before_it() -> None:
    outages = [Outage(SUBSCRIBER, 0, lost_ns=ms * MS, back_ns=(ms + 5) * MS, attempts=1) for ms in (251, 404)]
    found = recoveries_of(cut_trial(*outages, began_ms=(250, 400)))
    assert [recovery.detect_ns for recovery in found] == [MS, 4 * MS]


def test_publishers_and_those_who_left_on_purpose_do_not_count() -> None:
    own = Outage(SUBSCRIBER, 0, lost_ns=251 * MS, back_ns=260 * MS, planned=True)
    assert recoveries_of(cut_trial(own, Outage(PUBLISHER, 0, lost_ns=251 * MS, back_ns=260 * MS))) == []


def test_a_trial_without_faults_has_no_recoveries() -> None:
    row = summary_row(variant("sse"), [trial(WORKLOAD, 40)], WORKLOAD)
    assert (row["outages"], row["detect_p50_ms"]) == (0, None)
    assert np.isfinite(row["latency_p50_ms"])
