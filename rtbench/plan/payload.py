"""The content of every message: a readable header of fixed width, then padding up to the requested size.

    p00003 n000000042 d0000000012345678901 ................................................
    |      |          |
    |      |          due time, nanoseconds of CLOCK_MONOTONIC
    |      sequence number within the publisher
    publisher

The payload is ASCII without a newline, so it is readable in a packet capture and a text protocol does not change it.
Fields have fixed offsets, so that the headers of a whole trial are parsed in one step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER_BYTES = 39
PUBLISHER = slice(1, 6)
SEQUENCE = slice(8, 17)
DUE = slice(19, 38)
PROBE = 999_999_999  # the sequence number of a readiness probe

_FIXED_BYTES = {0: b"p", 6: b" ", 7: b"n", 17: b" ", 18: b"d", 38: b" "}


def build(publisher: int, sequence: int, due_ns: int, size_bytes: int) -> bytes:
    """Return a payload of exactly `size_bytes` (at least HEADER_BYTES)."""
    return (b"p%05d n%09d d%019d " % (publisher, sequence, due_ns)).ljust(size_bytes, b".")


def padding(size_bytes: int) -> bytes:
    """Return the bytes that follow the header in a payload of `size_bytes`."""
    return b"." * (size_bytes - HEADER_BYTES)


def is_probe(payload: bytes) -> bool:
    """Return whether a payload is a readiness probe."""
    return payload[SEQUENCE] == b"%09d" % PROBE


def parse(
    headers: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Parse headers, shape (n, HEADER_BYTES).

    Return publisher, sequence, due_ns (int64, nanoseconds) and well-formed (bool), each of shape (n,).
    """
    import numpy as np

    good = np.ones(len(headers), dtype=bool)
    for offset, byte in _FIXED_BYTES.items():
        good &= headers[:, offset] == byte[0]

    def number(field: slice) -> NDArray[np.int64]:
        value = np.zeros(len(headers), dtype=np.int64)
        for column in range(field.start, field.stop):
            digit = headers[:, column].astype(np.int64) - ord("0")
            np.logical_and(good, (digit >= 0) & (digit <= 9), out=good)
            value = value * 10 + digit
        return value

    return number(PUBLISHER), number(SEQUENCE), number(DUE), good
