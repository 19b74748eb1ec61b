from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench.analysis.ledger import Ledger, account
from rtbench.plan.records import ACKED, FAILED, INDETERMINATE
from rtbench.plan.workload import PATTERNS, Workload
from tests.builders import deliveries, publishes, to_all


@dataclass(frozen=True)
class Sent:
    publisher: int
    sequence: int
    due_ns: int
    sent_ns: int
    status: int = ACKED


@dataclass(frozen=True)
class Arrival:
    publisher: int
    sequence: int
    due_ns: int
    subscriber: int
    intact: bool = True


@dataclass
class History:
    """What happened in one trial, as lists."""

    publisher_topics: list[str]
    subscriber_topics: list[str]
    sent: list[Sent] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)

    def account(self, since_ns: int = 0) -> tuple[Ledger, list[int]]:
        def column(rows: Sequence[object], name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
            return np.array([getattr(row, name) for row in rows], dtype=np.int64)

        s, a = self.sent, self.arrivals
        sent = {name: column(s, name) for name in ("publisher", "sequence", "sent_ns", "status")}
        arrived = {name: column(a, name) for name in ("publisher", "sequence", "subscriber", "intact")}
        ledger, first = account(
            publishes(column(s, "due_ns"), **sent),
            deliveries(column(a, "due_ns"), received_ns=np.arange(len(a)), **arrived),
            self.publisher_topics,
            self.subscriber_topics,
            since_ns,
        )
        return ledger, first.tolist()


def history(publisher_topics: list[str], subscriber_topics: list[str], messages: int = 10) -> History:
    """Return a history in which everything went well: publisher i's message n is due at 1000 n + i + 1."""
    made = History(publisher_topics, subscriber_topics)
    for n in range(messages):
        for i, topic in enumerate(publisher_topics):
            due = 1000 * n + i + 1
            made.sent.append(Sent(i, n, due, due + 5))
            made.arrivals += [Arrival(i, n, due, j) for j, mine in enumerate(subscriber_topics) if mine == topic]
    return made


def oracle(h: History, since_ns: int = 0) -> tuple[Ledger, list[int]]:
    """Count with dicts and loops what `account` counts with arrays."""
    count = dict.fromkeys(asdict(Ledger()), 0)
    fate = {ACKED: "acked", FAILED: "failed", INDETERMINATE: "indeterminate"}
    messages = {}
    for sent in h.sent:
        if sent.sent_ns == 0:
            continue
        if sent.due_ns >= since_ns:
            count["published"] += 1
            count[fate[sent.status]] += 1
        if sent.status == FAILED:
            continue
        messages[sent.publisher, sent.sequence, sent.due_ns] = h.publisher_topics[sent.publisher]
        if sent.due_ns >= since_ns:
            count["expected"] += h.subscriber_topics.count(h.publisher_topics[sent.publisher])
    seen: set[tuple[int, int, int]] = set()
    highest: dict[tuple[int, int], int] = {}
    first = []
    for position, got in enumerate(h.arrivals):
        topic = messages.get((got.publisher, got.sequence, got.due_ns))
        stream = got.publisher, got.subscriber
        if not got.intact:
            count["corrupt"] += 1
        elif topic is None or topic != h.subscriber_topics[got.subscriber]:
            count["unexpected"] += 1
        elif got.due_ns < since_ns:
            continue
        elif (*stream, got.sequence) in seen:
            count["duplicated"] += 1
        else:
            seen.add((*stream, got.sequence))
            first.append(position)
            count["delivered"] += 1
            count["reordered"] += got.sequence < highest.get(stream, -1)
            highest[stream] = max(got.sequence, highest.get(stream, -1))
    count["lost"] = count["expected"] - count["delivered"]
    for sent in h.sent:
        topic = h.publisher_topics[sent.publisher]
        entitled = [subscriber for subscriber, mine in enumerate(h.subscriber_topics) if mine == topic]
        unknown = sent.sent_ns > 0 and sent.due_ns >= since_ns and sent.status == INDETERMINATE
        everybody = all((sent.publisher, subscriber, sent.sequence) in seen for subscriber in entitled)
        count["recovered"] += unknown and bool(entitled) and everybody
    return Ledger(**count), first


def topics_of(pattern: str, publishers: int, subscribers: int) -> tuple[list[str], list[str]]:
    workload = Workload(pattern=pattern, publishers=publishers, subscribers=subscribers)
    return workload.publisher_topics, workload.subscriber_topics


PATTERNS_IN_SMALL = [
    pytest.param("fan-out", 1, 3, 3, id="fan-out from one to three"),
    pytest.param("fan-out", 2, 5, 5, id="fan-out from two to five"),
    pytest.param("fan-in", 5, 2, 5, id="fan-in from five to two"),
    pytest.param("room", 3, 3, 9, id="a room of three"),
    pytest.param("pairs", 4, 4, 4, id="two pairs"),
]


@pytest.mark.parametrize(("pattern", "publishers", "subscribers", "pairs"), PATTERNS_IN_SMALL)
def test_a_clean_history_raises_no_alarm(pattern: str, publishers: int, subscribers: int, pairs: int) -> None:
    clean = history(*topics_of(pattern, publishers, subscribers))
    ledger, first = clean.account()
    assert ledger == Ledger(published=10 * publishers, acked=10 * publishers, expected=10 * pairs, delivered=10 * pairs)
    assert first == list(range(len(clean.arrivals)))


@pytest.mark.parametrize(("pattern", "publishers", "subscribers", "pairs"), PATTERNS_IN_SMALL)
def test_subscribers_may_hear_at_different_times(pattern: str, publishers: int, subscribers: int, pairs: int) -> None:
    late = history(*topics_of(pattern, publishers, subscribers))
    late.arrivals.sort(key=lambda got: got.subscriber)
    ledger, _ = late.account()
    assert (ledger.delivered, ledger.reordered, ledger.lost) == (10 * pairs, 0, 0)


def test_nothing_sent_and_nothing_heard_is_an_empty_ledger() -> None:
    assert history(["t"], ["t"], messages=0).account() == (Ledger(), [])


def test_what_is_heard_when_nothing_was_sent_is_unexpected() -> None:
    empty = history(["t"], ["t"], messages=0)
    empty.arrivals = [Arrival(0, 0, 1, 0)] * 3
    assert empty.account() == (Ledger(unexpected=3), [])


# Two publishers on one topic with two subscribers: message n of publisher i arrives at 4 n + 2 i and the place after.
def drop(h: History) -> None:
    del h.arrivals[8:10]


def drop_the_last(h: History) -> None:
    del h.arrivals[-1]


def duplicate_at_once(h: History) -> None:
    h.arrivals.insert(5, h.arrivals[4])


def duplicate_much_later_twice(h: History) -> None:
    h.arrivals += [h.arrivals[0]] * 2


def swap_neighbours(h: History) -> None:
    h.arrivals[4], h.arrivals[8] = h.arrivals[8], h.arrivals[4]


def swap_publishers(h: History) -> None:
    h.arrivals[4], h.arrivals[6] = h.arrivals[6], h.arrivals[4]


def one_comes_last_of_all(h: History) -> None:
    h.arrivals.append(h.arrivals.pop(0))


def one_comes_before_all(h: History) -> None:
    h.arrivals.insert(0, h.arrivals.pop())


def corrupt(h: History) -> None:
    h.arrivals[3] = replace(h.arrivals[3], intact=False)


def corrupt_a_duplicate(h: History) -> None:
    h.arrivals.append(replace(h.arrivals[3], intact=False))


def of_another_run(h: History) -> None:
    h.arrivals.append(replace(h.arrivals[3], due_ns=77))


def of_an_unknown_publisher(h: History) -> None:
    h.arrivals.append(replace(h.arrivals[3], publisher=9))


def of_an_unknown_sequence(h: History) -> None:
    h.arrivals.append(replace(h.arrivals[3], sequence=10))


def with_the_number_of_a_neighbour(h: History) -> None:
    # publisher 0, sequence 10 has the same place as publisher 1, sequence 0, were the rows counted through
    h.arrivals.append(Arrival(0, 10, h.sent[1].due_ns, 0))


def refused(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=FAILED)
    del h.arrivals[6:8]


def refused_and_heard_all_the_same(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=FAILED)


def indeterminate_and_heard(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=INDETERMINATE)


def indeterminate_and_heard_twice(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=INDETERMINATE)
    h.arrivals += h.arrivals[6:8]


def indeterminate_and_heard_by_one_alone(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=INDETERMINATE)
    del h.arrivals[6]


def indeterminate_and_heard_twice_by_one_alone(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=INDETERMINATE)
    h.arrivals[6] = h.arrivals[7]


def indeterminate_and_corrupted_for_one(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=INDETERMINATE)
    h.arrivals[6] = replace(h.arrivals[6], intact=False)


def indeterminate_and_heard_in_part_after_the_rest(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=INDETERMINATE)
    h.arrivals.append(h.arrivals.pop(6))


def nothing_is_ever_acknowledged(h: History) -> None:
    h.sent = [replace(sent, status=INDETERMINATE) for sent in h.sent]


def indeterminate_and_not_heard(h: History) -> None:
    h.sent[3] = replace(h.sent[3], status=INDETERMINATE)
    del h.arrivals[6:8]


def never_sent(h: History) -> None:
    h.sent[3] = replace(h.sent[3], sent_ns=0, status=INDETERMINATE)
    del h.arrivals[6:8]


FAULTS = [
    pytest.param(drop, {"lost": 2, "delivered": 38}, id="a message lost to both"),
    pytest.param(drop_the_last, {"lost": 1, "delivered": 39}, id="the last delivery lost"),
    pytest.param(duplicate_at_once, {"duplicated": 1}, id="a delivery twice in a row"),
    pytest.param(duplicate_much_later_twice, {"duplicated": 2}, id="an old delivery twice more: no reordering"),
    pytest.param(swap_neighbours, {"reordered": 1}, id="two messages of one publisher changed places"),
    pytest.param(swap_publishers, {}, id="messages of two publishers changed places: nothing is wrong"),
    pytest.param(one_comes_last_of_all, {"reordered": 1}, id="one message late: one is out of turn"),
    pytest.param(one_comes_before_all, {"reordered": 9}, id="one message early: nine come after a later one"),
    pytest.param(corrupt, {"corrupt": 1, "lost": 1, "delivered": 39}, id="a delivery corrupted on its way"),
    pytest.param(corrupt_a_duplicate, {"corrupt": 1}, id="a corrupted delivery too many"),
    pytest.param(of_another_run, {"unexpected": 1}, id="a due time that nobody planned"),
    pytest.param(of_an_unknown_publisher, {"unexpected": 1}, id="a publisher that there is not"),
    pytest.param(of_an_unknown_sequence, {"unexpected": 1}, id="a message that there is not"),
    pytest.param(with_the_number_of_a_neighbour, {"unexpected": 1}, id="a number beyond the publisher's last"),
    pytest.param(
        refused, {"acked": 19, "failed": 1, "expected": 38, "delivered": 38}, id="a refused publish is not expected"
    ),
    pytest.param(
        refused_and_heard_all_the_same,
        {"acked": 19, "failed": 1, "expected": 38, "delivered": 38, "unexpected": 2},
        id="a refused publish that is heard is unexpected",
    ),
    pytest.param(
        indeterminate_and_heard,
        {"acked": 19, "indeterminate": 1, "recovered": 1},
        id="a publish of unknown fate that is heard is recovered",
    ),
    pytest.param(
        indeterminate_and_heard_twice,
        {"acked": 19, "indeterminate": 1, "recovered": 1, "duplicated": 2},
        id="one that is heard twice is recovered once",
    ),
    pytest.param(
        indeterminate_and_heard_by_one_alone,
        {"acked": 19, "indeterminate": 1, "delivered": 39, "lost": 1},
        id="one that is heard by one of two is not recovered",
    ),
    pytest.param(
        indeterminate_and_heard_twice_by_one_alone,
        {"acked": 19, "indeterminate": 1, "delivered": 39, "lost": 1, "duplicated": 1},
        id="twice by one of two is not once by both",
    ),
    pytest.param(
        indeterminate_and_corrupted_for_one,
        {"acked": 19, "indeterminate": 1, "delivered": 39, "lost": 1, "corrupt": 1},
        id="one that reached one of two corrupted is not recovered",
    ),
    pytest.param(
        indeterminate_and_heard_in_part_after_the_rest,
        {"acked": 19, "indeterminate": 1, "recovered": 1, "reordered": 1},
        id="one that is late is recovered, and out of its turn",
    ),
    pytest.param(
        nothing_is_ever_acknowledged,
        {"acked": 0, "indeterminate": 20, "recovered": 20},
        id="without acknowledgements all that is heard is recovered",
    ),
    pytest.param(
        indeterminate_and_not_heard,
        {"acked": 19, "indeterminate": 1, "delivered": 38, "lost": 2},
        id="a publish of unknown fate that is not heard is lost",
    ),
    pytest.param(
        never_sent,
        {"published": 19, "acked": 19, "expected": 38, "delivered": 38},
        id="what was never sent is not missed",
    ),
]
CLEAN = Ledger(published=20, acked=20, expected=40, delivered=40)


@pytest.mark.parametrize(("fault", "difference"), FAULTS)
def test_a_fault_is_counted_exactly(fault: Callable[[History], None], difference: dict[str, int]) -> None:
    broken = history(["t", "t"], ["t", "t"])
    fault(broken)
    ledger, first = broken.account()
    assert ledger == replace(CLEAN, **difference)
    assert (ledger, first) == oracle(broken)


def test_a_delivery_to_the_wrong_subscriber_is_unexpected_and_the_right_one_has_lost_it() -> None:
    crossed = history(["a", "b"], ["a", "b"])
    crossed.arrivals[4] = replace(crossed.arrivals[4], subscriber=1)
    ledger, _ = crossed.account()
    assert ledger == Ledger(published=20, acked=20, expected=20, delivered=19, lost=1, unexpected=1)


def test_a_topic_that_nobody_hears_expects_nothing() -> None:
    ledger, _ = history(["heard", "unheard"], ["heard"]).account()
    assert (ledger.published, ledger.expected, ledger.lost) == (20, 10, 0)


def test_what_nobody_was_to_hear_is_not_recovered() -> None:
    unknown = history(["heard", "unheard"], ["heard"])
    nothing_is_ever_acknowledged(unknown)
    assert unknown.account()[0] == Ledger(published=20, indeterminate=20, expected=10, delivered=10, recovered=10)


def test_the_first_deliveries_are_those_that_latency_is_taken_from() -> None:
    doubled = history(["t"], ["t"], messages=3)
    doubled.arrivals = [got for got in doubled.arrivals for _ in range(2)]
    assert doubled.account()[1] == [0, 2, 4]


@pytest.mark.parametrize(
    ("since_ns", "messages"),
    [
        pytest.param(0, 20, id="no warm-up"),
        pytest.param(3001, 14, id="what is due when the warm-up ends is counted"),
        pytest.param(3002, 13, id="what is due just before is not"),
        pytest.param(1_000_000, 0, id="all is warm-up"),
    ],
)
def test_the_warm_up_is_not_counted(since_ns: int, messages: int) -> None:
    ledger, first = history(["t", "t"], ["t", "t"]).account(since_ns)
    assert ledger == Ledger(published=messages, acked=messages, expected=2 * messages, delivered=2 * messages)
    assert first == list(range(40 - 2 * messages, 40))


def test_faults_of_the_warm_up_stay_in_the_warm_up_but_what_is_foreign_never_hides() -> None:
    faulty = history(["t"], ["t"])
    faulty.arrivals.insert(0, faulty.arrivals[2])  # early, then twice
    del faulty.arrivals[2]  # lost
    faulty.arrivals.append(Arrival(0, 1, 77, 0))
    faulty.arrivals.append(Arrival(0, 0, 1, 0, intact=False))
    ledger, _ = faulty.account(since_ns=5001)
    assert ledger == Ledger(published=5, acked=5, expected=5, delivered=5, unexpected=1, corrupt=1)


def test_ledgers_add_up_count_by_count() -> None:
    one = Ledger(*range(1, 13))
    assert one + Ledger() == one
    assert one + one == Ledger(*range(2, 26, 2))


def setting(rnd: random.Random) -> History:
    """Return a history without a fault, of some pattern and size."""
    pattern = rnd.choice(sorted(PATTERNS))
    few, more = rnd.randint(1, 3), rnd.randint(3, 6)
    counts = {"fan-out": (few, more), "fan-in": (more, few), "room": (few, few), "pairs": (2 * few, 2 * few)}
    return history(*topics_of(pattern, *counts[pattern]), messages=rnd.randint(0, 12))


def end_of_warm_up(rnd: random.Random) -> int:
    return rnd.choice([0, 0, 3001, 6002])


def mutated(seed: int) -> tuple[History, int]:
    """Return a history with many faults of all kinds at once, and the end of its warm-up."""
    rnd = random.Random(seed)
    h = setting(rnd)
    fates = [ACKED, ACKED, ACKED, INDETERMINATE, INDETERMINATE, FAILED]
    h.sent = [replace(s, status=rnd.choice(fates), sent_ns=s.sent_ns * (rnd.random() < 0.9)) for s in h.sent]
    rnd.shuffle(h.sent)
    for _ in range(rnd.randint(0, 30)):
        if not h.arrivals:
            break
        at, to = rnd.randrange(len(h.arrivals)), rnd.randrange(len(h.arrivals))
        got = h.arrivals[at]
        kind = rnd.randrange(6)
        if kind == 0:
            del h.arrivals[at]
        elif kind == 1:
            h.arrivals.insert(to, got)
        elif kind == 2:
            h.arrivals[at], h.arrivals[to] = h.arrivals[to], h.arrivals[at]
        elif kind == 3:
            h.arrivals[at] = replace(got, intact=False)
        elif kind == 4:
            h.arrivals[at] = replace(got, subscriber=rnd.randrange(len(h.subscriber_topics)))
        else:
            name, value = rnd.choice([("publisher", 40), ("sequence", 15), ("due_ns", 14_000)])
            changed: dict[str, Any] = {name: rnd.randrange(value)}
            h.arrivals[at] = replace(got, **changed)
    return h, end_of_warm_up(rnd)


def merged(seed: int) -> tuple[History, int]:
    """Return a history in which nothing went wrong, though it looks untidy, and the end of its warm-up.

    Every subscriber has every message of a publisher in order, but publishers and subscribers keep no step; some
    publishes were never acknowledged, some were refused and heard by nobody, some never sent.
    """
    rnd = random.Random(seed)
    h = setting(rnd)
    fates = [ACKED, ACKED, ACKED, INDETERMINATE, FAILED]
    h.sent = [replace(s, status=rnd.choice(fates), sent_ns=s.sent_ns * (rnd.random() < 0.9)) for s in h.sent]
    relayed = {(s.publisher, s.sequence) for s in h.sent if s.sent_ns and s.status != FAILED}
    rnd.shuffle(h.sent)
    streams: dict[tuple[int, int], list[Arrival]] = {}
    for got in h.arrivals:
        if (got.publisher, got.sequence) in relayed:
            streams.setdefault((got.publisher, got.subscriber), []).append(got)
    turns = [stream for stream, arrivals in streams.items() for _ in arrivals]
    rnd.shuffle(turns)
    h.arrivals = [streams[stream].pop(0) for stream in turns]
    return h, end_of_warm_up(rnd)


HISTORIES = 1000
BLOCKS = [range(first, first + 100) for first in range(0, HISTORIES, 100)]
ALARMS = ("lost", "duplicated", "reordered", "unexpected", "corrupt")


@pytest.mark.parametrize("seeds", BLOCKS, ids=str)
def test_random_histories_are_counted_as_dicts_and_loops_count_them(seeds: range) -> None:
    for seed in seeds:
        h, since_ns = mutated(seed)
        ledger, first = h.account(since_ns)
        assert (ledger, first) == oracle(h, since_ns), f"seed {seed}"
        assert ledger.acked + ledger.failed + ledger.indeterminate == ledger.published
        assert ledger.delivered + ledger.lost == ledger.expected
        assert ledger.lost >= 0
        assert ledger.recovered <= ledger.indeterminate
        assert len(first) == ledger.delivered
        in_all = sum(ledger.__dict__[name] for name in ("delivered", "duplicated", "unexpected", "corrupt"))
        assert in_all == len(h.arrivals) or since_ns > 0


@pytest.mark.parametrize("seeds", BLOCKS, ids=str)
def test_random_clean_histories_raise_no_alarm(seeds: range) -> None:
    for seed in seeds:
        h, since_ns = merged(seed)
        ledger, first = h.account(since_ns)
        assert (ledger, first) == oracle(h, since_ns), f"seed {seed}"
        assert [getattr(ledger, name) for name in ALARMS] == [0] * len(ALARMS), f"seed {seed}: {ledger}"
        assert ledger.delivered == ledger.expected
        assert ledger.recovered == ledger.indeterminate
        assert first == [n for n, got in enumerate(h.arrivals) if got.due_ns >= since_ns]


def test_the_random_histories_contain_every_kind_of_fault() -> None:
    total = sum((mutated(seed)[0].account()[0] for seed in range(HISTORIES)), Ledger())
    assert all(count > 100 for count in asdict(total).values()), total


def test_the_clean_histories_contain_everything_that_is_no_fault() -> None:
    total = sum((merged(seed)[0].account()[0] for seed in range(HISTORIES)), Ledger())
    assert all(asdict(total)[name] > 100 for name in asdict(total) if name not in ALARMS), total


@pytest.mark.parametrize("messages", [pytest.param(100_000, id="a million deliveries")])
def test_counting_takes_no_time_to_speak_of(messages: int) -> None:
    subscribers = 10
    sent = publishes(1000 * np.arange(messages) + 1, status=INDETERMINATE)
    got = to_all(sent, subscribers)
    before = time.process_time()
    ledger, _ = account(sent, got, ["t"], ["t"] * subscribers)
    spent_s = time.process_time() - before
    assert ledger.recovered == messages
    assert ledger.delivered == len(got.due_ns)
    assert spent_s < 2.0  # a loop in Python would take longer; on an idle machine it is a tenth of a second


@given(st.permutations(range(12)))
def test_reordered_counts_those_that_come_after_a_later_one(order: list[int]) -> None:
    h = history(["t"], ["t"], messages=12)
    h.arrivals = [h.arrivals[n] for n in order]
    after_a_later_one = sum(n < max(order[:at], default=-1) for at, n in enumerate(order))
    assert h.account()[0] == Ledger(published=12, acked=12, expected=12, delivered=12, reordered=after_a_later_one)
