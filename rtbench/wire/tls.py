"""What TLS 1.3 adds to a connection, read from the headers of its records (RFC 8446 section 5.1). No I/O, no key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

RECORD_OVERHEAD_BYTES = 22  # header 5, content type 1, tag 16 with any cipher of TLS 1.3 (RFC 8446 section 5.2)
MAX_RECORD_BYTES = 2**14  # plain text in one record, at most: RFC 8446 section 5.1
_HEADER_BYTES = 5
_ENCRYPTED = 23  # the outer type of every encrypted record, whatever its content


class Records:
    """Counts the records of one connection as they pass a client.

    The handshake is everything up to and including the client's Finished, in both directions. Finished is the client's
    first encrypted record; before it, a server sends only its part of the handshake. (A server's session tickets come
    after it, and count as records that carry something.)
    """

    def __init__(self) -> None:
        self.up, self.down = RecordStream(), RecordStream()
        self._finished = False

    def sent(self, data: ReadableBuffer) -> None:
        """Count what the client sent."""
        for kind, length in self.up.records(memoryview(data)):
            self.up.count(kind, length, self._finished)
            self._finished |= kind == _ENCRYPTED

    def received(self, data: ReadableBuffer) -> None:
        """Count what the client received."""
        for kind, length in self.down.records(memoryview(data)):
            self.down.count(kind, length, self._finished)


class RecordStream:
    """The records of one direction; the stream may come in pieces of any size.

    `overhead_bytes` is the handshake, and what each later record adds to its content.
    """

    def __init__(self) -> None:
        self.handshake_bytes = 0
        self.overhead_bytes = 0
        self._header = bytearray()
        self._left = 0  # bytes of the current record that have not come yet

    def count(self, kind: int, length: int, finished: bool) -> None:
        """Add a record; `finished` says whether the handshake is over."""
        whole = _HEADER_BYTES + length
        if not finished:
            self.handshake_bytes += whole
        self.overhead_bytes += RECORD_OVERHEAD_BYTES if finished and kind == _ENCRYPTED else whole

    def records(self, data: memoryview) -> Iterator[tuple[int, int]]:
        """Yield type and length of each record whose header ends in `data`."""
        at = min(self._left, len(data))
        self._left -= at
        while at < len(data):
            lacking = _HEADER_BYTES - len(self._header)
            self._header += data[at : at + lacking]
            at += lacking
            if len(self._header) == _HEADER_BYTES:
                kind, length = self._header[0], int.from_bytes(self._header[3:], "big")
                self._header.clear()
                here = min(length, len(data) - at)
                at += here
                self._left = length - here
                yield kind, length
