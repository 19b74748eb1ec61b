"""Helper: a process of rtbench that answers JSON lines, and ends with its owner.

The owner starts it with `helper`, and asks with `Helper.ask`: one JSON line on standard input, one JSON line back on
standard output. The process reads its standard input until it ends. A pipe ends with the process that holds it, so no
helper outlives its owner, however that ends. An answer `{"error": ...}` is raised as a TrialError.
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
from typing import Any, cast

from rtbench.errors import TrialError

ANSWER_WITHIN_S = 20.0
_STOP_WITHIN_S = 2.0
_LINE_BYTES = 2**24


@dataclass
class Helper:
    """A running helper; `name` says in errors what it is."""

    name: str
    process: asyncio.subprocess.Process
    _asked: asyncio.Lock = field(default_factory=asyncio.Lock)  # one question at a time

    async def ask(self, question: Mapping[str, Any], within_s: float = ANSWER_WITHIN_S) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
            TrialError: it answers with an error, not in time, or not at all since it has ended.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            async with self._asked, asyncio.timeout(within_s):
                stdin.write(json.dumps(question).encode() + b"\n")
                line = await stdout.readline()
        except TimeoutError:
            raise TrialError(f"{self.name} did not answer within {within_s:g} s") from None
        if not line:
            raise TrialError(f"{self.name} ended without a word")
        answer = cast(dict[str, Any], json.loads(line))
        if "error" in answer:
            raise TrialError(f"{self.name}: {answer['error']}")
        return answer


@asynccontextmanager
async def helper(name: str, module: str) -> AsyncIterator[Helper]:
    """Start `module` as a helper; end it, and all it started, on leaving."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module),  # -P: no import from the working directory
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        limit=_LINE_BYTES,
    )
    try:
        yield Helper(name, process)
    finally:
        await asyncio.shield(end(process))


async def end(process: asyncio.subprocess.Process, within_s: float = _STOP_WITHIN_S) -> None:
    """Ask a process to end by closing its standard input, then insist; its group goes with it."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), within_s)
    await kill(process)


async def kill(process: asyncio.subprocess.Process) -> None:
    """End a process that leads a group, and all that it started, by SIGKILL."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    await process.wait()
