"""The lives of a server in one trial: it is ended and started again at the same address, with the same certificate.

Each life is a process of its own. Those that will be needed are prepared beside the first one, so that a start takes
milliseconds for every transport, not the time in which Python imports its library.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import psutil

from rtbench.system import process
from rtbench.system.load import Load
from rtbench.transports import registry
from rtbench.trial.server_process import Request, ServerProcess


@dataclass
class Lives:
    """A server that can end and live again; `request` is what each life serves, and `url` is where.

    `processes` are those that serve now, none between two lives. `ended` gets how the server ended, unless that was
    asked for. `errors` are the exceptions that nobody caught, of all lives.
    """

    request: Request
    url: str = ""
    processes: list[psutil.Process] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _now: ServerProcess | None = None
    _started: list[ServerProcess] = field(default_factory=list)
    _prepared: list[ServerProcess] = field(default_factory=list)
    _watch: asyncio.Task[None] | None = None
    _rows: bytes = b""  # the relay log of the lives before
    _earlier: Load | None = None  # of all lives before this one
    _began: Load | None = None  # of this life, when it began

    async def prepare(self, count: int) -> None:
        """Prepare the processes of the next lives."""
        for _ in range(count):
            self._prepared.append(await ServerProcess.prepared(self.request, self.errors))

    async def start(self) -> None:
        """Begin a life.

        Raises:
            UsageError: the server says that it cannot be started as asked.
            TrialError: it did not start.
        """
        if not self._prepared:
            await self.prepare(1)
        life = self._prepared.pop(0)
        self._started.append(life)
        await life.start()
        self.url = life.url
        self.request = replace(self.request, port=urlsplit(life.url).port or 0)
        self.processes[:] = process.serving_processes(life.pid)
        self._now, self._began = life, process.load(self.processes)
        self._watch = asyncio.create_task(self._wait_for_death(life))

    async def _wait_for_death(self, life: ServerProcess) -> None:
        how = await life.died()
        if life is self._now and not self.ended.done():
            self.ended.set_result(how)

    async def end(self) -> None:
        """End this life in order; its relay log is kept."""
        life = self._leave()
        self._rows += await life.last_relay_log() or b""
        await life.end()

    async def kill(self) -> None:
        """End this life by SIGKILL; its relay log is lost."""
        await self._leave().kill()

    def _leave(self) -> ServerProcess:
        """Return the life that ends now; the load of its end is not counted."""
        assert self._now is not None, "the server is down already"
        self._earlier = self.load()
        life, self._now = self._now, None
        self.processes.clear()
        return life

    def load(self) -> Load:
        """Return the load of all lives, without what ending and starting took."""
        now = process.load(self.processes)
        if self._earlier is None or self._began is None:
            return now
        return now.continuing(self._earlier, self._began if self._now else now)

    async def relay_log(self) -> bytes | None:
        """Return the rows of all lives that told them; None if this one does not, or if there is none now."""
        rows = await self._now.relay_log() if self._now else None
        return None if rows is None else self._rows + rows

    async def close(self) -> None:
        """End all processes."""
        self._now = None
        if self._watch is not None:
            self._watch.cancel()
        for life in (*self._started, *self._prepared):  # those that run before those that wait: they delete the state
            await life.end()


@asynccontextmanager
async def living(request: Request, restarts: int = 0) -> AsyncIterator[Lives]:
    """Start a server that can be started again, `restarts` times at once; end all on leaving.

    Raises:
        UsageError: the server says that it cannot be started as asked.
        TrialError: it did not start.
    """
    with ExitStack() as stack:
        if registry.server(request.transport, request.server).state:
            state = stack.enter_context(tempfile.TemporaryDirectory(prefix="rtbench-", ignore_cleanup_errors=True))
            request = replace(request, state=state)
        if restarts and sys.platform == "linux" and request.namespaces is None:
            request = replace(request, port=stack.enter_context(reserved_port(request.host)))
        lives = Lives(request)
        try:
            await lives.start()
            await lives.prepare(restarts)
            yield lives
        finally:
            await asyncio.shield(lives.close())


@contextmanager
def reserved_port(host: str) -> Iterator[int]:
    """Keep a port for servers that come and go: another socket with SO_REUSEADDR may listen on it, nobody else has it.

    Without that, a client that tries to connect while nobody listens may get the port itself, and connect to itself.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, 0))
        yield sock.getsockname()[1]
