"""The length before each message of the bare TCP transport: two bytes, or four for 32,768 bytes and more.

The first bit says which, and the other 15 or 31 are the length, in network byte order (as the variable-length integers
of QUIC, RFC 9000 section 16). So no length takes more bytes than WebSocket's does.
"""

from __future__ import annotations

_LONG = 0x8000  # the first bit
GAP = 2**31 - 1  # as a length: the next four bytes are the number of messages that were missed


def encode(length: int) -> bytes:
    """Return a length, at most GAP, as bytes on the wire."""
    return length.to_bytes(2, "big") if length < _LONG else (_LONG << 16 | length).to_bytes(4, "big")


def decode(buffer: bytes | bytearray, start: int = 0) -> tuple[int, int] | None:
    """Return the length at `start`, and where what follows it begins; None if the buffer ends before that."""
    if len(buffer) < start + 2:
        return None
    length = int.from_bytes(buffer[start : start + 2], "big")
    if length < _LONG:
        return length, start + 2
    if len(buffer) < start + 4:
        return None
    return int.from_bytes(buffer[start : start + 4], "big") - (_LONG << 16), start + 4
