"""Who looks after connections that say nothing: one timer of the event loop a second, not one for each connection.

A timer of asyncio takes about 300 bytes, and 10,000 connections of an idle broker have nothing else to do.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

CHECK_AFTER_S = 10.0  # at most: so long may a connection that has closed be remembered here


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
        """Check a connection after `within_s`, or sooner; an earlier wish of the same connection no longer counts."""
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
