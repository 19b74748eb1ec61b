from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench.transports.feed import MESSAGE_BYTES, Batch, Feed, Feeds, Full, Room


def feed_of(count: int, capacity: int = 10_000) -> Feed[bytes]:
    feed: Feed[bytes] = Feed(capacity)
    for number in range(count):
        feed.append(b"%d" % number)
    return feed


@pytest.mark.parametrize(
    ("appended", "capacity", "cursor", "batch"),
    [
        pytest.param(0, 5, 0, Batch([], 0, 0), id="an empty feed has nothing"),
        pytest.param(3, 5, 0, Batch([b"0", b"1", b"2"], 3, 0), id="from the beginning everything"),
        pytest.param(3, 5, 2, Batch([b"2"], 3, 0), id="from a cursor what came since"),
        pytest.param(3, 5, 3, Batch([], 3, 0), id="at the end nothing"),
        pytest.param(3, 5, 99, Batch([], 3, 0), id="beyond the end nothing, and the cursor comes back to the end"),
        pytest.param(5, 5, 0, Batch([b"0", b"1", b"2", b"3", b"4"], 5, 0), id="just full, nothing is dropped"),
        pytest.param(6, 5, 0, Batch([b"1", b"2", b"3", b"4", b"5"], 6, 1), id="one too many, one is missed"),
        pytest.param(8, 5, 2, Batch([b"3", b"4", b"5", b"6", b"7"], 8, 1), id="the gap counts from the cursor"),
        pytest.param(8, 5, 3, Batch([b"3", b"4", b"5", b"6", b"7"], 8, 0), id="at the edge of the gap none is missed"),
        pytest.param(50, 1, 0, Batch([b"49"], 50, 49), id="a feed of one"),
    ],
)
def test_a_reader_gets_what_came_after_its_cursor_and_hears_of_the_gap(
    appended: int, capacity: int, cursor: int, batch: Batch[bytes]
) -> None:
    assert feed_of(appended, capacity).after(cursor) == batch


@given(st.integers(1, 8), st.lists(st.integers(0, 6), max_size=40))
def test_a_reader_that_asks_again_and_again_misses_nothing_untold(capacity: int, bursts: list[int]) -> None:
    feed = feed_of(0, capacity)
    cursor = heard = missed = 0
    for burst in bursts:
        for _ in range(burst):
            feed.append(b"%d" % feed.end)
        batch = feed.after(cursor)
        assert batch.messages == [b"%d" % number for number in range(cursor + batch.missed, feed.end)]
        assert batch.missed == max(0, burst - capacity)
        cursor, heard, missed = batch.cursor, heard + len(batch.messages), missed + batch.missed
    assert heard + missed == feed.end == sum(bursts)


def test_readers_do_not_disturb_each_other() -> None:
    feed = feed_of(3)
    batch = feed.after(0)
    batch.messages.clear()
    assert feed.after(0).messages == [b"0", b"1", b"2"]


async def let_run(count: int = 5) -> None:
    """Let everything run that can run without anything new."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_one_message_wakes_everyone_who_waits_for_it_and_nobody_else() -> None:
    async def run() -> None:
        feed = feed_of(2)
        waiting = [asyncio.create_task(feed.beyond(2)) for _ in range(50)]
        for_the_next = asyncio.create_task(feed.beyond(3))
        await let_run()
        assert not any(task.done() for task in (*waiting, for_the_next))
        feed.append(b"2")
        await let_run()
        assert all(task.done() for task in waiting)
        assert not for_the_next.done()
        feed.append(b"3")
        await let_run()
        assert for_the_next.done()

    asyncio.run(run())


def test_nobody_waits_for_what_is_there() -> None:
    async def run() -> None:
        waiting = asyncio.create_task(feed_of(2).beyond(1))
        await let_run(1)
        assert waiting.done()

    asyncio.run(run())


def test_a_reader_that_gives_up_takes_no_other_with_it() -> None:
    async def run() -> None:
        feed = feed_of(0)
        impatient, patient = (asyncio.create_task(feed.beyond(0)) for _ in range(2))
        await let_run()
        impatient.cancel()
        await let_run()
        assert impatient.cancelled()
        assert not patient.done()
        feed.append(b"0")
        await let_run()
        assert patient.done()
        assert patient.exception() is None

    asyncio.run(run())


def test_a_message_when_nobody_waits_any_more_disturbs_nobody() -> None:
    async def run() -> None:
        feed = feed_of(0)
        for _ in range(3):
            waiting = asyncio.create_task(feed.beyond(feed.end))
            await let_run()
            waiting.cancel()
            await let_run()
            feed.append(b"")

    asyncio.run(run())


def test_two_messages_in_one_turn_wake_a_reader_once_and_it_gets_both() -> None:
    async def run() -> list[bytes]:
        feed = feed_of(0)
        waiting = asyncio.create_task(feed.beyond(0))
        await let_run()
        feed.append(b"0")
        feed.append(b"1")
        await waiting
        return feed.after(0).messages

    assert asyncio.run(run()) == [b"0", b"1"]


def test_a_topic_has_one_feed_and_another_topic_another() -> None:
    feeds = Feeds(capacity=2)
    feeds["a/b"].append(b"x")
    assert feeds["a/b"].after(0).messages == [b"x"]
    assert feeds["a"].after(0).messages == []
    assert feeds["a"].capacity == 2


@given(st.integers(0, 2**63))
def test_a_cursor_comes_back_from_its_text(cursor: int) -> None:
    feeds = Feeds()
    text = feeds.cursor_text(cursor)
    for echoed in (text, f'"{text}"', f'W/"{text}"', f'  "{text}" '):
        assert feeds.cursor(echoed, default=7) == cursor


def test_without_a_cursor_a_reader_starts_where_the_server_says() -> None:
    assert Feeds().cursor(None, default=7) == 7


@pytest.mark.parametrize("text", ["", '""', "*", "-", "5", '"5"', "wxyz-5", "5-", "5-5-5", "a", '"a-1", "a-2"', "é-1"])
def test_a_cursor_that_is_not_ours_stands_for_all_there_is(text: str) -> None:
    assert Feeds().cursor(text, default=7) == 0


@pytest.mark.parametrize("number", ["", "x", "-1", "+1", "1.0", " 1", "1_0", "٣", "²", "1" * 8000])
def test_a_cursor_of_ours_with_a_spoilt_number_is_no_error(number: str) -> None:
    feeds = Feeds()
    spoilt = feeds.cursor_text(5).removesuffix("5") + number
    assert feeds.cursor(spoilt, default=7) == 0


def test_a_cursor_of_another_run_of_the_server_stands_for_all_there_is() -> None:
    runs = [Feeds() for _ in range(4)]
    texts = {feeds.cursor_text(5) for feeds in runs}
    assert len(texts) > 1
    before = next(feeds for feeds in runs if feeds.cursor_text(5) != runs[0].cursor_text(5))
    assert runs[0].cursor(before.cursor_text(5), default=7) == 0


def test_feeds_share_a_room_and_the_idle_one_gives_way() -> None:
    room = Room(max_bytes=10 * (100 + MESSAGE_BYTES))
    feeds = Feeds(room=room)
    for number in range(4):
        feeds["idle"].append(b"%d" % number * 100)
    for number in range(8):
        feeds["busy"].append(b"%d" % number * 100)
    assert (len(feeds["idle"]), len(feeds["busy"])) == (2, 8)
    assert feeds["idle"].after(0).missed == 2
    feeds["idle"].append(b"new")
    assert (len(feeds["idle"]), len(feeds["busy"])) == (3, 7)
    feeds["large"].append(bytes(10_000))  # the newest message stays, even if it is too large for the room
    assert [len(feeds[name]) for name in ("idle", "busy", "large")] == [0, 0, 1]
    feeds["idle"].append(b"y")
    assert [len(feeds[name]) for name in ("idle", "large")] == [1, 0]
    assert room.taken_bytes == 1 + MESSAGE_BYTES


def test_a_room_knows_what_a_full_feed_drops() -> None:
    room = Room()
    feed: Feed[bytes] = Feed(3, room)
    for number in range(20):
        feed.append(bytes(number))
    assert room.taken_bytes == 17 + 18 + 19 + 3 * MESSAGE_BYTES


def test_a_server_takes_no_more_topics_than_it_may() -> None:
    feeds = Feeds(room=Room(max_topics=2))
    feeds["a"].append(b"x")
    assert feeds.get("b").after(0).messages == []
    assert feeds["b"] is feeds["b"]
    with pytest.raises(Full, match="has 2 topics"):
        feeds["c"]
    assert feeds.get("a").after(0).messages == [b"x"]


def test_a_reader_can_ask_for_a_part() -> None:
    feed: Feed[bytes] = Feed()
    for number in range(5):
        feed.append(b"%d" % number * 10)
    assert feed.after(1, most_bytes=25) == Batch([b"1" * 10, b"2" * 10], 3, 0)
    assert feed.after(3, most_bytes=25) == Batch([b"3" * 10, b"4" * 10], 5, 0)
    assert feed.after(4, most_bytes=1) == Batch([b"4" * 10], 5, 0)
    assert feed.after(9, most_bytes=1) == Batch([], 5, 0)


def test_who_stops_waiting_in_the_moment_of_a_message_does_not_keep_it_from_the_others() -> None:
    async def scenario() -> bool:
        feed: Feed[bytes] = Feed()
        leaving, staying = (asyncio.create_task(feed.beyond(0)) for _ in range(2))
        await asyncio.sleep(0)  # both wait
        leaving.cancel()  # and has not run since
        feed.append(b"x")
        await staying
        return await asyncio.wait([leaving]) and leaving.cancelled()

    assert asyncio.run(scenario())


def test_a_follower_gets_each_message_when_it_is_stored_until_it_leaves() -> None:
    feed = feed_of(1)
    heard: list[tuple[int, bytes]] = []

    def leaves_after_two(message: bytes) -> None:
        heard.append((feed.end, message))
        if len(heard) == 2:
            del feed.followers[leaves_after_two]

    others: list[bytes] = []
    feed.followers[leaves_after_two] = feed.followers[others.append] = None
    for message in (b"1", b"2", b"3"):
        feed.append(message)
    assert heard == [(2, b"1"), (3, b"2")]
    assert others == [b"1", b"2", b"3"]
