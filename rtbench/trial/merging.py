"""From the records of several processes to one record of the trial, on one clock and in nanoseconds after its start."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.plan import payload
from rtbench.plan.records import Deliveries, Outage, Publishes
from rtbench.transports.records import PublisherRecord, SubscriberRecord, Usage
from rtbench.trial.coordinator import ClockOffset

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLOCK_STEP_NS = 1_000_000  # by which the two clocks of a host may move apart in a trial; slewing keeps them together
_DELIVERY = np.dtype(  # a row of `SubscriberRecord`: rtbench.transports.records.DELIVERY
    [
        ("received_ns", np.int64),
        ("arrived_ns", np.int64),
        ("subscriber", np.int32),
        ("header", np.uint8, payload.HEADER_BYTES),
    ]
)
RELAY = np.dtype(
    [("relayed_ns", np.int64), ("header", np.uint8, payload.HEADER_BYTES)]
)  # a row of rtbench.transports.relay_log


def merged(
    published: Sequence[tuple[PublisherRecord, ClockOffset]],
    received: Sequence[tuple[SubscriberRecord, ClockOffset]],
    schedule: Sequence[NDArray[np.int64]],
    relay_log: bytes | None = None,
) -> tuple[Publishes, Deliveries | None, list[Outage]] | None:
    """Join the records of all processes, each with the offset of its clock.

    `schedule` is that of the trial, by publisher; the start is where its due times are 0. None without any message:
    then there is no start to count from. `relay_log` is that of a server on the coordinator's clock.
    """
    publishes = [_publishes(record, clock) for record, clock in published]
    if not any(len(p.due_ns) for p in publishes):
        return None
    joined: Publishes = _joined(Publishes, publishes)
    joined = joined.take(np.argsort(joined.due_ns, kind="stable"))
    joined = replace(joined, relayed_ns=_relayed_ns(joined, relay_log or b""))
    start_ns = int(joined.due_ns[0]) - int(schedule[int(joined.publisher[0])][int(joined.sequence[0])])
    deliveries: Deliveries | None = None
    if received:
        due_offsets_ns = _due_offsets_ns(published, len(schedule))
        parts = [_deliveries(record, clock, due_offsets_ns) for record, clock in received]
        deliveries = _deliveries_after(_joined(Deliveries, parts), start_ns)
    outages = [(record.outages, clock) for record, clock in published]
    outages += [(record.outages, clock) for record, clock in received]
    return _publishes_after(joined, start_ns), deliveries, _outages_after(outages, start_ns)


def _joined(kind: type[Any], parts: Sequence[Any]) -> Any:
    """Join the columns of several records; kernel stamps are missing as a whole where one record has none."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
    if "arrived_ns" in columns and not all(len(p.arrived_ns) == len(p.received_ns) for p in parts):
        columns["arrived_ns"] = [np.zeros(0, dtype=np.int64)]
    return kind(**{name: np.concatenate(values) for name, values in columns.items()})


def _due_offsets_ns(published: Sequence[tuple[PublisherRecord, ClockOffset]], publishers: int) -> NDArray[np.int64]:
    """Return by publisher how far its clock is ahead: the due time in a payload is a time of that clock."""
    offsets_ns = np.zeros(publishers, dtype=np.int64)
    for record, clock in published:
        offsets_ns[np.unique(np.array(record.publisher, dtype=np.int64))] = clock.offset_ns
    return offsets_ns


def _publishes(record: PublisherRecord, clock: ClockOffset) -> Publishes:
    def times(values: array[int]) -> Any:
        found = np.array(values, dtype=np.int64)
        return np.where(found > 0, found - clock.offset_ns, 0)

    unknown = np.zeros(len(record.sequence), dtype=np.int64)
    return Publishes(
        np.array(record.publisher, dtype=np.int64),
        np.array(record.sequence, dtype=np.int64),
        times(record.due_ns),
        times(record.ready_ns),
        times(record.sent_ns),
        unknown,
        times(record.done_ns),
        np.array(record.status, dtype=np.int64),
    )


def _relayed_ns(p: Publishes, relay_log: bytes) -> NDArray[np.int64]:
    """Return when the server first relayed each message; 0 for those that are not in its log."""
    rows = np.frombuffer(relay_log, dtype=RELAY)
    publisher, sequence, _, well_formed = payload.parse(rows["header"])
    stride = payload.PROBE + 1
    in_log, first = np.unique((publisher * stride + sequence)[well_formed], return_index=True)
    relayed_ns = rows["relayed_ns"][well_formed][first]
    wanted = p.publisher * stride + p.sequence
    found = np.isin(wanted, in_log)
    stamps = np.zeros(len(wanted), dtype=np.int64)
    stamps[found] = relayed_ns[np.searchsorted(in_log, wanted[found])]
    return stamps


def _deliveries(record: SubscriberRecord, clock: ClockOffset, due_offsets_ns: NDArray[np.int64]) -> Deliveries:
    rows = np.frombuffer(record.rows, dtype=_DELIVERY)
    publisher, sequence, due_ns, well_formed = payload.parse(rows["header"])
    intact = well_formed.copy()
    intact[record.corrupt] = False
    kept = ~(well_formed & (sequence == payload.PROBE))
    known = np.minimum(publisher, len(due_offsets_ns) - 1)  # a corrupt header may name any publisher
    arrived_ns = _arrivals(rows["arrived_ns"][kept], record.usage)
    return Deliveries(
        publisher[kept],
        sequence[kept],
        (due_ns - due_offsets_ns[known])[kept],
        rows["subscriber"][kept].astype(np.int64),
        rows["received_ns"][kept] - clock.offset_ns,
        intact[kept],
        np.where(arrived_ns > 0, arrived_ns - clock.offset_ns, 0),
    )


def _arrivals(stamps: Any, usage: Usage) -> Any:
    """Return the kernel's stamps on CLOCK_MONOTONIC; 0 where CLOCK_REALTIME, their clock, was stepped in the trial.

    Where there are no stamps at all, the shape is (0,). Both clocks run at the same rate (adjtimex(2) slews both); only
    a step moves them apart.
    """
    if not stamps.any():
        return np.zeros(0, dtype=np.int64)
    before_ns, after_ns = usage.realtime_offset_ns
    if abs(after_ns - before_ns) > CLOCK_STEP_NS:
        return np.zeros_like(stamps)
    return np.where(stamps > 0, stamps - (before_ns + after_ns) // 2, 0)


def _after(times_ns: Any, start_ns: int) -> Any:
    """Return times as nanoseconds after the start; 0 stays 0, for what never happened."""
    return np.where(times_ns > 0, times_ns - start_ns, 0)


def _outages_after(noted: Sequence[tuple[Sequence[Outage], ClockOffset]], start_ns: int) -> list[Outage]:
    """Return the outages of all processes in the order in which they were noticed."""
    found = []
    for outages, clock in noted:
        ahead_ns = clock.offset_ns + start_ns
        for outage in outages:
            back_ns = outage.back_ns - ahead_ns if outage.back_ns else 0
            found.append(replace(outage, lost_ns=outage.lost_ns - ahead_ns, back_ns=back_ns))
    return sorted(found, key=lambda outage: outage.lost_ns)


def _publishes_after(p: Publishes, start_ns: int) -> Publishes:
    times = ("due_ns", "ready_ns", "sent_ns", "relayed_ns", "done_ns")
    return replace(p, **{name: _after(getattr(p, name), start_ns) for name in times})


def _deliveries_after(d: Deliveries, start_ns: int) -> Deliveries:
    due_ns, received_ns = d.due_ns - start_ns, d.received_ns - start_ns
    arrived_ns = _after(d.arrived_ns, start_ns)
    return Deliveries(d.publisher, d.sequence, due_ns, d.subscriber, received_ns, d.intact, arrived_ns)
