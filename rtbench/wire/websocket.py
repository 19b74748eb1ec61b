"""WebSocket without I/O: the opening handshake and the frames (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA  # opcodes: section 5.2
_CONTINUATION, _FINAL = 0x0, 0x80
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3


def accept_key(key: str) -> str:
    """Return what a server answers to the key of a client: section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def frame_bytes(payload_bytes: int, masked: bool) -> int:
    """Return the size in bytes of an unfragmented frame; a client masks what it sends (section 5.3)."""
    length = 0 if payload_bytes <= 125 else 2 if payload_bytes <= 0xFFFF else 8
    return 2 + length + (4 if masked else 0) + payload_bytes


def masked_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """Return an unfragmented frame of a client; `mask` are four bytes that nobody can foresee (section 5.3)."""
    size = len(payload)
    if size <= 125:
        head = bytes([_FINAL | opcode, 0x80 | size])
    elif size <= 0xFFFF:
        head = bytes([_FINAL | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([_FINAL | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
    repeated = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + masked.to_bytes(size, "big")


def only_binary(data: bytes) -> bytes | None:
    """Return the payload if these bytes are one whole binary frame, and not a long one; else None."""
    if len(data) < 2 or data[0] != _FINAL | BINARY:
        return None
    size = data[1]
    if size < 126:
        return data[2:] if len(data) == size + 2 else None
    return data[4:] if size == 126 and len(data) == int.from_bytes(data[2:4], "big") + 4 else None


class Reader:
    """Cuts what a server sends into messages and control frames; the stream may come in pieces of any size."""

    __slots__ = ("_fragments", "_kind", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._kind = 0  # of a message whose last fragment has not come
        self._fragments: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Whether the next byte is the first of a message."""
        return not self._rest and not self._kind

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield opcode and payload of each message and control frame that `data` completes.

        Raises:
            ValueError: it is no frame that a server may send.
        """
        if self._rest:
            data = self._rest + data
        at = 0
        while (extent := _extent(data, at)) is not None:
            opcode, start, stop = extent
            yield from self._frame(opcode, data[at] & _FINAL, data[start:stop])
            at = stop
        self._rest = data[at:]

    def _frame(self, opcode: int, is_final: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        if opcode >= CLOSE:
            yield opcode, payload
            return
        if (opcode == _CONTINUATION) != bool(self._kind):
            raise ValueError("a fragment that continues nothing, or a message within another one")  # section 5.4
        self._kind = self._kind or opcode
        if is_final and not self._fragments:
            kind, self._kind = self._kind, 0
            yield kind, payload
            return
        self._fragments.append(payload)
        if is_final:
            kind, self._kind, message = self._kind, 0, b"".join(self._fragments)
            self._fragments.clear()
            yield kind, message


def _extent(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Return opcode, start and end of the payload of the frame at `at`; None if a part of it is missing."""
    if len(data) < at + 2:
        return None
    first, size = data[at], data[at + 1]
    if first & 0x70 or size & 0x80:
        raise ValueError("a frame with a reserved bit, or a masked one from the server")  # sections 5.2 and 5.1
    digits = {126: 2, 127: 8}.get(size, 0)
    start = at + 2 + digits
    if len(data) < start:
        return None
    stop = start + (int.from_bytes(data[at + 2 : start], "big") if digits else size)
    return (first & 0x0F, start, stop) if stop <= len(data) else None
