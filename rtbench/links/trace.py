"""Trace: what passes a stream link, noted for whoever wants to look at it."""

from __future__ import annotations

import base64
import time
from typing import Any

MOST_CHUNKS = 2_000
MOST_BYTES = 2**16  # of the content of a chunk; its size is noted whole


class Trace:
    """The chunks that the relay has read since the trace began, as it read them, at most MOST_CHUNKS."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def note(self, connection: int, port: int, up: bool, data: bytes) -> None:
        """Note a chunk; `port` is that of the relay, `up` says that the client sent it."""
        if len(self._rows) < MOST_CHUNKS:
            row = {"at_ns": time.monotonic_ns(), "connection": connection, "port": port, "up": up, "bytes": len(data)}
            self._rows.append({**row, "data": base64.b64encode(data[:MOST_BYTES]).decode()})

    def rows(self) -> list[dict[str, Any]]:
        """Return the chunks, in order: CLOCK_MONOTONIC, connection, port, direction, size, and content as Base64."""
        return self._rows
