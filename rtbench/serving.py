"""Serving: one server in a process of its own, until it is told to stop or its owner is gone.

`python -m rtbench.serving` reads one JSON line from standard input (transport, server, host, port, options, tls),
answers with one JSON line (`{"url": ..., "ca": ...}` or `{"error": ...}`), and serves until standard input ends. A pipe
ends with the process that holds it, so a server never outlives the bench, however the bench ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from rtbench import malloc, transport
from rtbench.errors import Error, TrialError, UsageError
from rtbench.tls import certificate_files

BACKLOG = 4096
_START_WITHIN_S = 20.0
_STOP_WITHIN_S = 2.0


def listen(host: str, port: int) -> socket.socket:
    """Return a bound TCP socket for a server to listen on; port 0 takes any free one.

    Raises:
        UsageError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        hint = "; choose another with --port, or 0 for any free one" if port else ""
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}{hint}") from error
    return sock


@asynccontextmanager
async def serve(
    name: str, server: str, host: str = "127.0.0.1", port: int = 0, options: Mapping[str, Any] | None = None
) -> AsyncIterator[str]:
    """Serve transport `name` in this process; yield the URL.

    Raises:
        UsageError: no such server, an option it does not take, or an address that cannot be had.
    """
    implementation = transport.server(name, server)
    check_options(implementation, options or {})
    malloc.keep_freed()
    with listen(host, port) as listener:
        async with implementation.serve(listener, **(options or {})) as url:
            yield url


def check_options(server: transport.Server, options: Mapping[str, Any]) -> None:
    """Refuse options that a server does not take.

    Raises:
        UsageError: there is one.
    """
    for option in options:
        if option not in server.options:
            flag = "--" + option.replace("_", "-")
            takes = ", ".join("--" + o.replace("_", "-") for o in sorted(server.options)) or "none"
            raise UsageError(f"the server {server.name} of {server.transport} takes no {flag}; it takes {takes}")


@dataclass
class ServerProcess:
    """A server in a process of its own; `ca` (PEM) signed the certificate that it has, None without TLS."""

    url: str
    process: asyncio.subprocess.Process
    ca: str | None = None

    @property
    def pid(self) -> int:
        """Of the process that holds the server."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Where the server listens."""
        return urlsplit(self.url).port or 0

    async def died(self) -> str:
        """Wait until the process ends by itself; return how."""
        code = await self.process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "rtbench.serving"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        request = {"transport": name, "server": server, "options": dict(options or {}), "tls": tls}
        answer = await _ask_to_serve(process, {**request, "host": "127.0.0.1", "port": 0})
        yield ServerProcess(answer["url"], process, answer["ca"])
    finally:
        await asyncio.shield(_end(process))


async def _ask_to_serve(process: asyncio.subprocess.Process, request: Mapping[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    name, server = request["transport"], request["server"]
    process.stdin.write(json.dumps(request).encode() + b"\n")
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_WITHIN_S)
    except TimeoutError:
        raise TrialError(f"the {name} server {server} did not start within {_START_WITHIN_S:.0f} s") from None
    answer: dict[str, Any] = json.loads(line or b'{"error": "it ended without a word"}')
    if "url" in answer:
        return answer
    kind = UsageError if answer.get("usage") else TrialError
    raise kind(f"the {name} server {server} did not start: {answer['error']}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask by closing standard input, then insist; the process group goes with it."""
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


async def _serve_until_end_of_input(request: Mapping[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in ("SIGTERM", "SIGINT"):
        with suppress(NotImplementedError):
            loop.add_signal_handler(getattr(signal, name), stop.set)
    Thread(target=_wait_for_end_of_input, args=(lambda: loop.call_soon_threadsafe(stop.set),), daemon=True).start()
    try:
        async with AsyncExitStack() as stack:
            options, authority = dict(request["options"]), None
            with ExitStack() as until_loaded:  # a key that is on disk for a moment cannot be left there
                if request["tls"]:
                    files = until_loaded.enter_context(certificate_files())
                    options["tls_cert"], options["tls_key"], authority = files
                serving = serve(request["transport"], request["server"], request["host"], request["port"], options)
                url = await stack.enter_async_context(serving)
            print(json.dumps({"url": url, "ca": authority}), flush=True)
            await stop.wait()
            if hasattr(signal, "alarm"):
                signal.alarm(round(_STOP_WITHIN_S))  # ends the process, should closing hang and nobody else insist
    except Error as error:
        print(json.dumps({"error": str(error), "usage": isinstance(error, UsageError)}), flush=True)


def _first_line() -> bytes:
    """Read one line of standard input, and no byte beyond it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _wait_for_end_of_input(then: Callable[[], object]) -> None:
    while os.read(0, 4096):
        pass
    with suppress(RuntimeError):  # the loop is closed: somebody else stopped the server first
        then()


if __name__ == "__main__":
    asyncio.run(_serve_until_end_of_input(json.loads(_first_line())))
