"""Checks connections that may be silent for too long, with one timer a second for all of them.

A timer of asyncio for each connection would take about 300 bytes of each.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

CHECK_AFTER_S = 10.0  # at the latest: a connection that has closed is kept in memory until its check


class Silent(Protocol):
    """A connection, as far as its silence is watched."""

    check_at_s: int

    def check(self) -> None:
        """End the connection, or have it watched again."""


class Silence:
    """Calls `check` of the connections that are watched, up to a second late."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: dict[int, list[Silent]] = {}  # by the second of the loop's clock

    def watch(self, connection: Silent, within_s: float) -> None:
        """Check a connection once, after `within_s` or CHECK_AFTER_S; this replaces an earlier call for it."""
        second = math.ceil(self._loop.time() + min(within_s, CHECK_AFTER_S))
        connection.check_at_s = second
        due = self._due.get(second)
        if due is None:
            due = self._due[second] = []
            self._loop.call_at(second, self._check, second)
        due.append(connection)

    def _check(self, second: int) -> None:
        for connection in self._due.pop(second):
            if connection.check_at_s == second:
                connection.check()
