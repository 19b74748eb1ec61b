"""When this server relayed each message: the border between the publish hop and the delivery hop of a delivery.

A process has one log. It is off, so that `rtbench serve` keeps nothing; the server process of a trial turns it on.
A server calls `relayed` with each message that it has whole, before it gives it to a subscriber. `Feed.append` does so.
"""

from __future__ import annotations

import struct
import time

from rtbench.plan.payload import HEADER_BYTES

_ROW = struct.Struct(f"=q{HEADER_BYTES}s")
ROW_BYTES = _ROW.size
_rows: bytearray | None = None


def turn_on() -> None:
    """Begin an empty log."""
    global _rows
    _rows = bytearray()


def turn_off() -> None:
    """Forget the log, and note nothing more."""
    global _rows
    _rows = None


def relayed(payload: bytes | str) -> None:
    """Note that the server has a message whole and relays it now; a text is not from a trial, and is not noted."""
    if _rows is not None and isinstance(payload, bytes):
        _rows.extend(_ROW.pack(time.monotonic_ns(), payload))


def rows(*, keep: bool = True) -> bytes:
    """Return what was noted: rows of ROW_BYTES, in order: nanoseconds of CLOCK_MONOTONIC (int64), then HEADER_BYTES.

    Unless they are to be kept, the log is empty from now on.
    """
    noted = bytes(_rows or b"")
    if not keep and _rows is not None:
        _rows.clear()
    return noted
