"""A relay in a process of its own, which answers questions: JSON lines over its standard input and output.

The process ends when its standard input does, so it never outlives the bench, however the bench ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rtbench.errors import TrialError

_ANSWER_WITHIN_S = 20.0
_STOP_WITHIN_S = 1.0


@dataclass
class RelayProcess:
    """A running relay."""

    process: asyncio.subprocess.Process
    _asked: asyncio.Lock = field(default_factory=asyncio.Lock)  # one question at a time

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
            TrialError: there is none, or it is that something is impossible.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            async with self._asked, asyncio.timeout(_ANSWER_WITHIN_S):
                self.process.stdin.write(json.dumps(question).encode() + b"\n")
                answer: dict[str, Any] = json.loads(await self.process.stdout.readline())
        except (OSError, TimeoutError, ValueError):
            raise TrialError("the relay of the link does not answer") from None
        if "error" in answer:
            raise TrialError(f"the link: {answer['error']}")
        return answer


@asynccontextmanager
async def relay_process(module: str, *arguments: str) -> AsyncIterator[RelayProcess]:
    """Start a module as a relay; end it on leaving."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", module, *arguments),  # -P: no import from the working directory
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield RelayProcess(process)
    finally:
        await asyncio.shield(_end(process))


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _STOP_WITHIN_S)
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    await process.wait()
