"""Server-Sent Events without I/O: events to bytes and back (WHATWG HTML, section 9.2 "Server-sent events").

An event stream is UTF-8 text in lines. A payload with newlines becomes several `data:` lines; from them the reader gets
the newlines back. A carriage return also ends a line, and the reader would not get it back, so a payload with one is
refused, like one that is not UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event as the reader gets it; `kind` is "message" where the stream names no kind."""

    data: bytes
    id: str
    kind: str = "message"


def check_payload(payload: bytes) -> None:
    """Refuse a payload that an event stream would change.

    Raises:
        ValueError: the payload is not UTF-8, or contains a carriage return.
    """
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise ValueError("an event stream carries UTF-8 text only") from None
    if b"\r" in payload:
        raise ValueError("an event stream cannot carry a carriage return")


COMMENT = b":\n\n"  # a line without a meaning, and the end of an event without data


def encode(data: bytes, id: str, kind: str = "") -> bytes:
    """Return the bytes of one event."""
    head = b"event: %s\n" % kind.encode() if kind else b""
    return b"%sid: %s\ndata: %s\n\n" % (head, id.encode(), data.replace(b"\n", b"\ndata: "))


def event_bytes(data_bytes: int, id_bytes: int) -> int:
    """Return the size in bytes of an event with an id and one line of data."""
    return len("id: \n") + id_bytes + len("data: \n") + data_bytes + len("\n")


_ID, _DATA, _END = b"id: ", b"\ndata: ", b"\n\n"


def only_event(chunk: bytes) -> Event | None:
    """Return the event if these bytes are all of one, as `encode` writes it without a kind and without a newline."""
    at = chunk.find(_DATA)
    if at < 4 or not chunk.startswith(_ID) or not chunk.endswith(_END) or chunk.count(b"\n") != 3 or b"\r" in chunk:
        return None
    if b"\0" in chunk[:at]:
        return None
    return Event(chunk[at + 7 : -2], chunk[4:at].decode(errors="replace"))


class Decoder:
    """Takes a stream in pieces of any size, and gives its events; `last_event_id` is that of the last whole event."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self._rest: list[bytes] = []  # the pieces of a line whose end has not come yet
        self._after_return = False
        self._at_head = True
        self.is_between = False  # the next byte is the first of an event
        self._data: list[bytes] = []
        self._id = ""
        self._kind = ""

    def feed(self, chunk: bytes) -> Iterable[Event]:
        """Return the events that end in this piece; they must be read before the next piece."""
        if self.is_between:
            event = only_event(chunk)  # nearly all pieces are one whole event
            if event is not None:
                self.continue_after(event.id)
                return (event,)
        return self._events(chunk)

    def continue_after(self, event_id: str) -> None:
        """Note that a whole event with this id was read past this decoder."""
        self.last_event_id = self._id = event_id

    def _events(self, chunk: bytes) -> Iterator[Event]:
        for line in self._lines(chunk):
            if line:
                self._field(line)
                continue
            self.last_event_id = self._id
            if self._data:
                yield Event(b"\n".join(self._data), self._id, self._kind or "message")
            self._data, self._kind = [], ""
        self.is_between = not (self._at_head or self._after_return or self._data or self._kind or any(self._rest))

    def _lines(self, chunk: bytes) -> list[bytes]:
        if not chunk:
            return []
        if self._after_return:
            chunk = chunk.removeprefix(b"\n")  # the second half of a line end
        self._after_return = chunk.endswith(b"\r")
        lines = _LINE_END.split(chunk)
        self._rest.append(lines[0])
        if len(lines) == 1:
            return []
        lines[0] = b"".join(self._rest)
        self._rest = [lines.pop()]
        if self._at_head:
            lines[0], self._at_head = lines[0].removeprefix(_BYTE_ORDER_MARK), False
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        elif name == b"event":
            self._kind = value.decode(errors="replace")
