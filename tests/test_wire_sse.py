from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtbench.wire.sse import Decoder, Event, check_payload, encode

payloads = st.text(st.characters(codec="utf-8", exclude_characters="\r")).map(str.encode) | st.lists(
    st.sampled_from([b"\n", b" ", b":", b"data: ", b"id: 1", b"x", "é".encode()])
).map(b"".join)


def decode(*chunks: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@given(st.lists(payloads))
@example([b"", b"\n", b"\n\n", b" x", b":", b"data: x\n\n"])
def test_what_was_encoded_is_decoded_again(sent: list[bytes]) -> None:
    stream = b"".join(encode(payload, f"e-{n}") for n, payload in enumerate(sent))
    assert decode(stream) == [Event(payload, f"e-{n}") for n, payload in enumerate(sent)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


LINES = b"data|data:|data: x|data:  y|data:\xc3\xa9|: note|:|id: 7|id|id:a\0b|event: missed|event|retry: 5|nonsense|datax: 1"
stream_lines = st.sampled_from([b"", b"", b"", b"\xff\xfe: z", *LINES.split(b"|")])
streams = st.lists(st.tuples(stream_lines, st.sampled_from([b"\n", b"\r", b"\r\n"]))).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@given(streams, st.lists(st.integers(0, 500), max_size=10))
@example(b"data: x\r\n\r\n", [8])
@example(b"data: x\r\ndata: y\r\n\r\n", [8, 8])
@example(b"\xef\xbb\xbfdata: x\n\n", [1, 2])
def test_any_chunks_give_the_same_events(stream: bytes, places: list[int]) -> None:
    chunks = cut(stream, places)
    assert b"".join(chunks) == stream
    assert decode(*chunks) == decode(stream)
    assert decode(*(bytes([byte]) for byte in stream)) == decode(stream)


def by_the_letter(stream: bytes) -> list[Event]:
    """Interpret a whole stream in the words of the standard, on text."""
    text = stream.decode("utf-8", errors="replace").removeprefix("\ufeff")
    *lines, _unfinished = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events = []
    data, kind, last_id = "", "", ""
    for line in lines:
        if line == "":
            if data:
                events.append(Event(data.removesuffix("\n").encode(), last_id, kind or "message"))
            data = kind = ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data += value + "\n"
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


@given(streams)
def test_a_stream_is_interpreted_as_the_standard_words_it(stream: bytes) -> None:
    assert decode(stream) == by_the_letter(stream)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        # The examples of WHATWG HTML section 9.2.6, "Interpreting an event stream"
        pytest.param(b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event(b"YHOO\n+2\n10", "")], id="several lines of data"),
        pytest.param(
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            [Event(b"first event", "1"), Event(b"second event", ""), Event(b" third event", "")],
            id="a comment, an id, the id taken back, one space of two",
        ),
        pytest.param(
            b"data\n\ndata\ndata\n\ndata:", [Event(b"", ""), Event(b"\n", "")], id="empty data, and an event cut off"
        ),
        pytest.param(b"data:test\n\ndata: test\n\n", [Event(b"test", "")] * 2, id="the space is optional"),
        # The rest of its rules
        pytest.param(b"", [], id="an empty stream"),
        pytest.param(b"\n\n\n", [], id="empty lines only"),
        pytest.param(b"data: x\r\rdata: y\r\r", [Event(b"x", ""), Event(b"y", "")], id="lines that end in CR"),
        pytest.param(b"data: x\r\n\r\n", [Event(b"x", "")], id="lines that end in CR LF"),
        pytest.param(b"data: x\r\n\n", [Event(b"x", "")], id="line ends mixed"),
        pytest.param(b"data: x\n\r\ndata: y\n\n", [Event(b"x", ""), Event(b"y", "")], id="LF then CR LF is two"),
        pytest.param(b"\xef\xbb\xbfdata: x\n\n", [Event(b"x", "")], id="a byte order mark at the head is no content"),
        pytest.param(b"data: \xef\xbb\xbfx\n\n", [Event(b"\xef\xbb\xbfx", "")], id="a byte order mark elsewhere is"),
        pytest.param(b"event: missed\ndata: 3\n\n", [Event(b"3", "", "missed")], id="a kind"),
        pytest.param(
            b"event: missed\ndata: 3\n\ndata: x\n\n",
            [Event(b"3", "", "missed"), Event(b"x", "")],
            id="a kind is for one event",
        ),
        pytest.param(b"event: missed\n\ndata: x\n\n", [Event(b"x", "")], id="a kind without data is dropped"),
        pytest.param(b"id: 1\n\ndata: x\n\n", [Event(b"x", "1")], id="an id without data is kept"),
        pytest.param(b"id: 1\ndata: x\n\ndata: y\n\n", [Event(b"x", "1"), Event(b"y", "1")], id="an id stays"),
        pytest.param(b"id: 1\nid: a\0b\ndata: x\n\n", [Event(b"x", "1")], id="an id with NUL is ignored"),
        pytest.param(b"retry: 1000\ndata: x\n\n", [Event(b"x", "")], id="retry is no content"),
        pytest.param(b"Data: x\nx: y\ndata: z\n\n", [Event(b"z", "")], id="unknown fields are ignored, case matters"),
        pytest.param(b"data: a:b: c\n\n", [Event(b"a:b: c", "")], id="a colon in the data"),
        pytest.param(b": data: x\n:\ndata: y\n\n", [Event(b"y", "")], id="a comment in the middle of an event"),
    ],
)
def test_the_rules_of_the_standard(stream: bytes, events: list[Event]) -> None:
    assert decode(stream) == events
    assert by_the_letter(stream) == events


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CR LF", "CR"])
def test_an_event_is_given_as_soon_as_its_last_line_ends(end: bytes) -> None:
    assert decode(b"data: x" + end + end) == [Event(b"x", "")]


def test_the_last_id_moves_only_with_an_event_that_is_complete() -> None:
    decoder = Decoder()
    whole, broken_off = encode(b"one", "e-1"), encode(b"two", "e-2")
    for end in range(len(broken_off)):
        decoder = Decoder()
        assert [event.id for event in decoder.feed(whole + broken_off[:end])] == ["e-1"]
        assert decoder.last_event_id == "e-1", "a client that reconnects now must get the second event again"
    assert [event.id for event in decoder.feed(broken_off[end:])] == ["e-2"]
    assert decoder.last_event_id == "e-2"


def test_the_work_for_a_large_event_grows_with_its_size_and_not_with_its_square() -> None:
    def seconds(chunks: int) -> float:
        pieces = [b"data: ", *([b"x" * 16_384] * chunks), b"\n\n"]
        times = []
        for _ in range(3):
            start = time.process_time()
            assert len(decode(*pieces)) == 1
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(800) < 32 * seconds(100)  # 8 times the size: linear work is 8, quadratic 64 times as much


def test_an_event_is_written_as_a_reader_of_the_wire_expects() -> None:
    assert encode(b"one\ntwo", "e-5") == b"id: e-5\ndata: one\ndata: two\n\n"
    assert encode(b"3", "e-5", "missed") == b"event: missed\nid: e-5\ndata: 3\n\n"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"\xff", "UTF-8", id="bytes that are no text"),
        pytest.param("é".encode()[:1], "UTF-8", id="half a character"),
        pytest.param(b"\xed\xa0\x80", "UTF-8", id="a surrogate"),
        pytest.param(b"one\rtwo", "carriage return", id="a carriage return"),
        pytest.param(b"one\r\ntwo", "carriage return", id="a line end of another system"),
    ],
)
def test_what_a_stream_cannot_carry_is_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_payload(payload)


@given(payloads)
def test_what_a_stream_can_carry_is_not_refused(payload: bytes) -> None:
    check_payload(payload)
