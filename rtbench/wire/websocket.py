"""WebSocket without I/O: the opening handshake and the frames (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA  # opcodes: section 5.2
NORMAL = (1000).to_bytes(2, "big")  # the content of a close frame after which nothing is wrong: section 7.4.1
_CONTINUATION, _FINAL = 0x0, 0x80
_MOST_FRAGMENTS = 1000  # of a message
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3


def accept_key(key: str) -> str:
    """Return what a server answers to the key of a client: section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def upgrade_fields(key: str, subprotocol: str = "") -> dict[str, str]:
    """Return the header fields with which a client asks for a WebSocket; `key` is 16 random bytes in Base64 (4.1)."""
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        **({"Sec-WebSocket-Protocol": subprotocol} if subprotocol else {}),
    }


def new_key() -> str:
    """Return a key for `upgrade_fields`."""
    return base64.b64encode(os.urandom(16)).decode()


def frame_bytes(payload_bytes: int, masked: bool) -> int:
    """Return the size in bytes of an unfragmented frame; a client masks what it sends (section 5.3)."""
    length = 0 if payload_bytes <= 125 else 2 if payload_bytes <= 0xFFFF else 8
    return 2 + length + (4 if masked else 0) + payload_bytes


def frame(opcode: int, payload: bytes) -> bytes:
    """Return an unfragmented frame of a server."""
    return _head(opcode, len(payload), 0) + payload


def masked_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """Return an unfragmented frame of a client; `mask` are four bytes that nobody can foresee (section 5.3)."""
    return _head(opcode, len(payload), 0x80) + mask + _masked(payload, mask)


def _head(opcode: int, size: int, is_masked: int) -> bytes:
    if size <= 125:
        return bytes([_FINAL | opcode, is_masked | size])
    if size <= 0xFFFF:
        return bytes([_FINAL | opcode, is_masked | 126]) + size.to_bytes(2, "big")
    return bytes([_FINAL | opcode, is_masked | 127]) + size.to_bytes(8, "big")


def _masked(payload: bytes, mask: bytes) -> bytes:
    """Return a payload with a mask put on, or taken off (section 5.3)."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def only_binary(data: bytes) -> bytes | None:
    """Return the payload if these bytes are one whole binary frame, and not a long one; else None."""
    if len(data) < 2 or data[0] != _FINAL | BINARY:
        return None
    size = data[1]
    if size < 126:
        return data[2:] if len(data) == size + 2 else None
    return data[4:] if size == 126 and len(data) == int.from_bytes(data[2:4], "big") + 4 else None


class Reader:
    """Cuts what the other end sends into messages and control frames; the stream may come in pieces of any size.

    `masked` is for what a client sends: its frames must be masked, and those of a server must not (section 5.1). A
    frame, or a message in several, of more than `most_bytes` is refused.
    """

    __slots__ = ("_fragments", "_kind", "_masked", "_rest", "_wanted", "most_bytes")

    def __init__(self, *, masked: bool = False, most_bytes: int = 2**63) -> None:
        self._masked = masked
        self.most_bytes = most_bytes
        self._rest = bytearray()
        self._wanted = 0  # bytes of the frame whose end has not come, as far as its head tells
        self._kind = 0  # of a message whose last fragment has not come
        self._fragments: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Whether the next byte is the first of a message."""
        return not self._rest and not self._kind

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield opcode and payload of each message and control frame that `data` completes.

        Raises:
            ValueError: it is no frame that the other end may send, or too large.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, end = 0, len(data)
        while at < end:
            start, stop = self._extent(data, at)
            if stop > end:
                self._rest += data[at:]
                self._wanted = stop - at
                return
            payload = data[start:stop]
            if self._masked:
                payload = _masked(payload, data[start - 4 : start])
            yield from self._frame(data[at] & 0x0F, data[at] & _FINAL, payload)
            at = stop

    def _extent(self, data: bytes, at: int) -> tuple[int, int]:
        """Return where the payload of the frame at `at` starts and ends, as far as there is enough of it to tell."""
        if len(data) < at + 2:
            return at + 2, at + 2
        first, second = data[at], data[at + 1]
        if first & 0x70 or bool(second & 0x80) != self._masked:
            raise ValueError("a frame with a reserved bit, or with a mask where none must be, or without")  # 5.1, 5.2
        size = second & 0x7F
        digits = {126: 2, 127: 8}.get(size, 0)
        start = at + 2 + digits + (4 if self._masked else 0)
        if len(data) < at + 2 + digits:
            return start, start
        size = int.from_bytes(data[at + 2 : at + 2 + digits], "big") if digits else size
        if size > self.most_bytes:
            raise ValueError(f"a frame of {size} bytes, of which {self.most_bytes} are allowed")
        return start, start + size

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
        if sum(map(len, self._fragments)) > self.most_bytes or len(self._fragments) > _MOST_FRAGMENTS:
            raise ValueError(f"a message in fragments, of more than {self.most_bytes} bytes or {_MOST_FRAGMENTS}")
        if is_final:
            kind, self._kind, message = self._kind, 0, b"".join(self._fragments)
            self._fragments.clear()
            yield kind, message
