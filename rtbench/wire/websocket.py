"""The size of a WebSocket frame, without I/O (RFC 6455 section 5.2)."""

from __future__ import annotations


def frame_bytes(payload_bytes: int, masked: bool) -> int:
    """Return the size in bytes of an unfragmented frame; a client masks what it sends (section 5.3)."""
    length = 0 if payload_bytes <= 125 else 2 if payload_bytes <= 0xFFFF else 8
    return 2 + length + (4 if masked else 0) + payload_bytes
