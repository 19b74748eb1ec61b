"""Watches that a test without the mark `process` starts no process and opens no connection."""

from __future__ import annotations

import os
import sys
from typing import Any

_STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec")
_CONNECTS = ("socket.bind", "socket.connect")
_HARMLESS = ("fc-list", "uname", "ldconfig", "gcc", "cc", "ld", "file")  # asked by matplotlib, platform and ctypes


class Guard:
    """Notes what is not allowed, while it is on. An audit hook (PEP 578) cannot be taken away, so there is one."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _STARTS:
            program = os.path.basename(str(arguments[0])) if arguments else ""  # noqa: PTH119
            if program not in _HARMLESS:
                self.seen.append(f"{event} {program}".strip())
        elif event in _CONNECTS:
            self.seen.append(f"{event} {arguments[1:]}")
