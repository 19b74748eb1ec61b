"""The server in a process of its own, as the bench holds it; `server_process_main.py` is what runs in that process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, cast

from rtbench.errors import TrialError, UsageError
from rtbench.links.link import Namespaces
from rtbench.system import helper
from rtbench.system.tls import Certificate, make_certificate

_START_WITHIN_S = 20.0
STOP_WITHIN_S = 2.0
ANSWER_WITHIN_S = 5.0


@dataclass(frozen=True)
class Request:
    """What a server process is asked to serve; port 0 takes any free one.

    `namespaces` are where the process serves, None: here. `state` is a directory for what must outlive the process; the
    process deletes it when its standard input ends. `cores` are those that it stays on, any if there are none. With
    `keeps_log`, each answer to `relay_log` has the rows of the server's whole life, and the exceptions of tasks that
    nobody awaits; without, the rows since the last answer.
    """

    transport: str
    server: str
    options: Mapping[str, Any] = field(default_factory=dict)
    certificate: Certificate | None = None
    state: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    namespaces: Namespaces | None = None
    cores: tuple[int, ...] = ()
    keeps_log: bool = True

    @property
    def line(self) -> bytes:
        """The line that goes to the process."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass
class ServerProcess:
    """A process that can serve what was asked for, and serves it at `url` once it was started.

    `errors` has the exceptions of the server that nobody caught, as far as they are known: see `relay_log`.
    """

    request: Request
    process: asyncio.subprocess.Process
    errors: list[str] = field(default_factory=list)
    url: str = ""
    _asked: asyncio.Lock = field(default_factory=asyncio.Lock)  # one question at a time
    _awaited: int = 0  # answers; more than one where an earlier one did not come in time
    _coming_bytes: int | None = None  # of the answer whose rows come next
    _rows: bytes = b""  # of answers that came too late

    @classmethod
    async def prepared(cls, request: Request, errors: list[str]) -> ServerProcess:
        """Return a new process that loads the server, so that it can start in milliseconds when it is told to."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "rtbench.trial.server_process_main"),  # -P: no import from the working directory
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(request.line)
        return cls(request, process, errors)

    @property
    def pid(self) -> int:
        """Of the process that holds the server."""
        return self.process.pid

    @property
    def ca(self) -> str | None:
        """The authority (PEM text) that signed the certificate; None without TLS."""
        return self.request.certificate.authority if self.request.certificate else None

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            UsageError: the server says that it cannot be started as asked.
            TrialError: it did not start.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        who = f"the {self.request.transport} server {self.request.server}"
        self.process.stdin.write(b"\n")
        try:
            answer = await asyncio.wait_for(_answer_of(self.process.stdout, self.errors), _START_WITHIN_S)
        except TimeoutError:
            raise TrialError(f"{who} did not start within {_START_WITHIN_S:.0f} s") from None
        if "url" not in answer:
            kind = UsageError if answer.get("usage") else TrialError
            raise kind(f"{who} did not start: {'; '.join([answer['error'], *self.errors])}")
        self.url = answer["url"]

    async def died(self) -> str:
        """Wait until the process ends by itself; return how."""
        code = await self.process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def relay_log(self, ask: Callable[[], object] | None = None) -> bytes | None:
        """Return the rows of the server's `relay_log`; None if it does not answer in time, or something else.

        An answer that comes too late is waited for by the next one who asks, and no row of it is lost. What else the
        process has said until then is in `errors`, also if it has ended.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            async with self._asked, asyncio.timeout(ANSWER_WITHIN_S):
                (ask or partial(stdin.write, b"\n"))()
                self._awaited += 1
                while self._awaited:
                    self._rows = (b"" if self.request.keeps_log else self._rows) + await self._next_rows(stdout)
                rows, self._rows = self._rows, b""
                return rows
        except (OSError, TimeoutError, EOFError, ValueError, TypeError, KeyError):
            return None

    async def _next_rows(self, stdout: asyncio.StreamReader) -> bytes:
        """Return the rows of the next answer; all of them are still to come if this is cancelled."""
        if self._coming_bytes is None:
            self._coming_bytes = (await _answer_of(stdout, self.errors))["bytes"]
        rows = await stdout.readexactly(self._coming_bytes)
        self._coming_bytes = None
        self._awaited -= 1
        return rows

    async def last_relay_log(self) -> bytes | None:
        """Ask the server to end (SIGTERM); return the rows of its whole life, as `relay_log`."""
        return await self.relay_log(self.process.terminate)

    async def end(self) -> None:
        """Ask by closing standard input, then insist."""
        await helper.end(self.process, STOP_WITHIN_S)

    async def kill(self) -> None:
        """End the process and all that it started by SIGKILL."""
        await helper.kill(self.process)


@asynccontextmanager
async def server_process(
    name: str, server: str, options: Mapping[str, Any] | None = None, tls: bool = False
) -> AsyncIterator[ServerProcess]:
    """Start a server in a fresh process on a free port of 127.0.0.1; end it, and all it started, on leaving.

    With `tls` it has a certificate made for it.

    Raises:
        UsageError: the server says that it cannot be started as asked.
        TrialError: it did not start.
    """
    request = Request(name, server, dict(options or {}), make_certificate() if tls else None)
    process = await ServerProcess.prepared(request, [])
    try:
        await process.start()
        yield process
    finally:
        await asyncio.shield(process.end())


async def _answer_of(stdout: asyncio.StreamReader, errors: list[str]) -> dict[str, Any]:
    """Return the next answer of a server process; add the exceptions that it tells of until then to `errors`."""
    while "uncaught" in (answer := json.loads(await stdout.readline() or b'{"error": "it ended without a word"}')):
        errors.append(answer["uncaught"])
    return cast(dict[str, Any], answer)
