"""Server-Sent Events without I/O: events to bytes and back (WHATWG HTML, section 9.2 "Server-sent events").

An event stream is UTF-8 text in lines; a payload's newlines become several `data:` lines and come back as they were. A
carriage return ends a line too and could not come back, so a payload with one is refused, like one that is no UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Event(NamedTuple):
    """One event as the stream dispatches it; `kind` is "message" where the stream names none."""

    data: bytes
    id: str
    kind: str = "message"


def check_payload(payload: bytes) -> None:
    """Refuse what an event stream cannot carry unchanged.

    Raises:
        ValueError: the payload is not UTF-8, or holds a carriage return.
    """
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise ValueError("an event stream carries UTF-8 text only") from None
    if b"\r" in payload:
        raise ValueError("an event stream cannot carry a carriage return")


def encode(data: bytes, id: str, kind: str = "") -> bytes:
    """Return one event."""
    head = b"event: %s\n" % kind.encode() if kind else b""
    return b"%sid: %s\ndata: %s\n\n" % (head, id.encode(), data.replace(b"\n", b"\ndata: "))


class Decoder:
    """Takes a stream in any chunks and gives its events."""

    def __init__(self) -> None:
        """Start at the head of a stream."""
        self._rest = b""
        self._data: list[bytes] = []
        self._kind = ""
        self.last_event_id = ""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that end within this chunk."""
        lines = _LINE_END.split(self._rest + chunk)
        if chunk.endswith(b"\r"):  # a newline may follow, and belongs to the same line end
            self._rest = lines[-2] + b"\r" if len(lines) > 1 else lines[-1]
            lines = lines[:-2]
        else:
            self._rest = lines.pop()
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                yield Event(b"\n".join(self._data), self.last_event_id, self._kind or "message")
                self._data, self._kind = [], ""
            else:
                self._kind = ""

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and b"\0" not in value:
            self.last_event_id = value.decode(errors="replace")
        elif name == b"event":
            self._kind = value.decode(errors="replace")
