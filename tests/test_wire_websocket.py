"""WebSocket frames and the handshake, held against the library `websockets`, which rtbench's own servers use."""

from __future__ import annotations

import itertools
from collections.abc import Generator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key as accept_of_library

from rtbench.wire import websocket

PAYLOADS = st.one_of(st.binary(max_size=300), st.integers(65_530, 65_540).map(bytes))


def of_server(opcode: int, payload: bytes, final: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin=final).serialize(mask=False)


def in_pieces(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(stream)) for place in places} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(ends)]


def test_the_answer_to_a_key_is_that_of_the_standard_and_of_the_library() -> None:
    key = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
    assert websocket.accept_key(key) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" == accept_of_library(key)


@given(PAYLOADS, st.binary(min_size=4, max_size=4))
def test_a_masked_frame_is_read_by_the_library(payload: bytes, mask: bytes) -> None:
    data = websocket.masked_frame(websocket.BINARY, payload, mask)
    assert len(data) == websocket.frame_bytes(len(payload), masked=True)
    unread = bytearray(data)

    def take(size: int) -> Generator[None, None, bytes]:
        yield from ()
        piece = bytes(unread[:size])
        del unread[:size]
        return piece

    parsing = Frame.parse(take, mask=True)
    with pytest.raises(StopIteration) as parsed:
        next(parsing)
    assert (parsed.value.value.opcode, parsed.value.value.data) == (Opcode.BINARY, payload)


@settings(max_examples=60)
@given(st.lists(PAYLOADS, max_size=5), st.lists(st.integers(0, 200_000), max_size=6))
def test_pieces_of_any_size_give_the_same_messages(payloads: list[bytes], places: list[int]) -> None:
    stream = b"".join(of_server(websocket.BINARY, payload) for payload in payloads)
    reader = websocket.Reader()
    got = [message for piece in in_pieces(stream, places) for message in reader.feed(piece)]
    assert got == [(websocket.BINARY, payload) for payload in payloads]
    assert reader.is_empty


def test_fragments_are_one_message_and_a_ping_may_come_between() -> None:
    stream = (
        of_server(1, b"ab", final=False) + of_server(9, b"?") + of_server(0, b"c", final=False) + of_server(0, b"d")
    )
    assert list(websocket.Reader().feed(stream)) == [(websocket.PING, b"?"), (websocket.TEXT, b"abcd")]


@pytest.mark.parametrize(
    "stream",
    [of_server(0, b"x"), of_server(2, b"a", final=False) + of_server(2, b"b"), b"\xc2\x00", b"\x82\x81\0\0\0\0x"],
    ids=["continues nothing", "within another", "reserved bit", "masked"],
)
def test_what_a_server_may_not_send_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"fragment|frame"):
        list(websocket.Reader().feed(stream))


@given(PAYLOADS, st.integers(0, 3))
def test_one_whole_binary_frame_is_recognised_and_nothing_else(payload: bytes, cut: int) -> None:
    frame = of_server(websocket.BINARY, payload)
    short = len(payload) <= 0xFFFF
    assert websocket.only_binary(frame) == (payload if short else None)
    assert websocket.only_binary(frame + b"\x82") is None
    assert websocket.only_binary(frame[: max(len(frame) - 1 - cut, 0)]) is None
    assert websocket.only_binary(of_server(websocket.TEXT, b"x")) is None


def of_client(opcode: int, payload: bytes, final: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin=final).serialize(mask=True)


@settings(max_examples=60)
@given(st.lists(PAYLOADS, max_size=5), st.lists(st.integers(0, 200_000), max_size=6))
def test_frames_of_a_client_in_pieces_of_any_size_give_the_same_messages(
    payloads: list[bytes], places: list[int]
) -> None:
    stream = b"".join(of_client(websocket.BINARY, payload) for payload in payloads)
    reader = websocket.Reader(masked=True)
    got = [message for piece in in_pieces(stream, places) for message in reader.feed(piece)]
    assert got == [(websocket.BINARY, payload) for payload in payloads]


@given(PAYLOADS)
def test_a_frame_of_a_server_is_that_of_the_library(payload: bytes) -> None:
    assert websocket.frame(websocket.BINARY, payload) == of_server(websocket.BINARY, payload)


def test_the_mask_must_be_there_for_a_client_and_only_there() -> None:
    for stream, masked in ((of_server(websocket.BINARY, b"x"), True), (of_client(websocket.BINARY, b"x"), False)):
        with pytest.raises(ValueError, match="mask"):
            list(websocket.Reader(masked=masked).feed(stream))


def test_what_is_too_large_is_refused_before_it_has_come() -> None:
    reader = websocket.Reader(masked=True, most_bytes=1000)
    assert list(reader.feed(of_client(websocket.BINARY, b"x" * 1000))) == [(websocket.BINARY, b"x" * 1000)]
    with pytest.raises(ValueError, match="a frame of 1001 bytes, of which 1000"):
        list(reader.feed(of_client(websocket.BINARY, b"x" * 1001)[:4]))
    reader = websocket.Reader(masked=True, most_bytes=1000)
    parts = [of_client(websocket.BINARY, b"x" * 600, final=False), of_client(0, b"x" * 600, final=False)]
    with pytest.raises(ValueError, match="in fragments"):
        list(reader.feed(b"".join(parts)))
