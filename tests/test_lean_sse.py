"""The lean SSE client hands over the same messages however the stream is cut into pieces."""

from __future__ import annotations

import inspect
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rtbench.transports import registry
from rtbench.wire import http, sse

client: Any = inspect.getmodule(registry.client("sse", "lean").connect)
EVENTS = st.lists(
    st.sampled_from([b"hello", b"", b"two\nlines", b"data: id: \n\ndata: ", b"same", b"same"]), max_size=8
)


def read(pieces: list[bytes]) -> tuple[list[bytes], bytes | None]:
    """Return the messages in the pieces of a body in chunks, and the cursor after them."""
    got: list[bytes] = []
    position = client.Position()
    channel, meter = SimpleNamespace(chunks=http.Chunks()), SimpleNamespace(batches=dict.fromkeys(range(99), 0))
    reading = client.Reading(
        "topic", channel, meter, position, lambda _topic, content, _missed, _at: got.append(content)
    )
    for piece in pieces:
        reading.take(piece, 0)
    return got, position.cursor


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


@settings(deadline=None)
@given(EVENTS, st.lists(st.integers(0, 400)), st.data())
def test_pieces_of_any_size_give_the_same_messages(events: list[bytes], cuts: list[int], data: Any) -> None:
    written = [sse.encode(event, f"ab-{number}") for number, event in enumerate(events, start=1)]
    in_one_chunk = data.draw(st.lists(st.booleans(), min_size=len(written), max_size=len(written)))
    groups: list[bytes] = []
    for event, joins in zip(written, in_one_chunk, strict=True):
        if joins and groups:
            groups[-1] += event
        else:
            groups.append(event)
    whole = [chunk(group) for group in groups]
    body = b"".join(whole)
    places = sorted({0, len(body), *(at for at in cuts if at < len(body))})
    in_pieces = [body[start:end] for start, end in pairwise(places)]
    cursor = f"ab-{len(events)}".encode() if events else None
    assert read(in_pieces) == read(whole) == (events, cursor)
