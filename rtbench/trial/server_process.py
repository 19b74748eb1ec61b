"""The server process: one server in a process of its own, until it is told to stop or its owner is gone.

`python -m rtbench.trial.server_process` reads one JSON line from standard input (transport, server, host, port,
options, tls), answers with one JSON line (`{"url": ..., "ca": ...}` or `{"error": ...}`), and serves until standard
input ends. A pipe ends with the process that holds it, so a server never outlives the bench, however the bench ends.
What a server prints does not mix with the answers: it goes to standard error.

A newline on standard input asks when the server relayed each message. The answer is one JSON line (`{"bytes": N}`) and
N bytes of `rtbench.transports.relay_log`. Before it, and before it ends, the process says one JSON line
(`{"uncaught": ...}`) for each exception of the server that nobody caught.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from threading import Thread
from typing import Any, BinaryIO, cast

from rtbench.errors import Error, TrialError, UsageError
from rtbench.links.link import HERE, Namespaces, Place
from rtbench.system.tls import certificate_files, server_context
from rtbench.transports import registry, relay_log
from rtbench.transports.serving import serve
from rtbench.trial.uncaught import Take, note, take_from_tasks, taken

_START_WITHIN_S = 20.0
_STOP_WITHIN_S = 2.0
ANSWER_WITHIN_S = 5.0


@dataclass
class ServerProcess:
    """A server in a process of its own; `ca` (PEM) signed the certificate that it has, None without TLS.

    `errors` has the exceptions of the server that nobody caught, as far as they are known: see `relay_log`.
    """

    url: str
    process: asyncio.subprocess.Process
    ca: str | None = None
    errors: list[str] = field(default_factory=list)
    _asked: asyncio.Lock = field(default_factory=asyncio.Lock)  # one question at a time

    @property
    def pid(self) -> int:
        """Of the process that holds the server."""
        return self.process.pid

    async def died(self) -> str:
        """Wait until the process ends by itself; return how."""
        code = await self.process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def relay_log(self) -> bytes | None:
        """Return the rows of the server's `relay_log`; None if it does not answer in time, or something else.

        What else it has said until then is in `errors`, also if it has ended.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            async with self._asked, asyncio.timeout(ANSWER_WITHIN_S):
                stdin.write(b"\n")
                return await stdout.readexactly((await _answer_of(stdout, self.errors))["bytes"])
        except (OSError, TimeoutError, EOFError, ValueError, TypeError, KeyError):
            return None


@asynccontextmanager
async def server_process(
    name: str, server: str, options: Mapping[str, Any] | None = None, tls: bool = False, place: Place = HERE
) -> AsyncIterator[ServerProcess]:
    """Start a server in a fresh process on a free port of a place; end it, and all it started, on leaving.

    With `tls` it has a certificate made for it.

    Raises:
        UsageError: the server says that it cannot be started as asked.
        TrialError: it did not start.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "rtbench.trial.server_process"),  # -P: no import from the working directory
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        request = {"transport": name, "server": server, "options": dict(options or {}), "tls": tls}
        errors: list[str] = []
        where = {"host": place.host, "port": 0, "namespaces": place.namespaces and asdict(place.namespaces)}
        answer = await _ask_to_serve(process, {**request, **where}, errors)
        yield ServerProcess(answer["url"], process, answer["ca"], errors)
    finally:
        await asyncio.shield(_end(process))


async def _ask_to_serve(
    process: asyncio.subprocess.Process, request: Mapping[str, Any], errors: list[str]
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    name, server = request["transport"], request["server"]
    process.stdin.write(json.dumps(request).encode() + b"\n")
    try:
        answer = await asyncio.wait_for(_answer_of(process.stdout, errors), _START_WITHIN_S)
    except TimeoutError:
        raise TrialError(f"the {name} server {server} did not start within {_START_WITHIN_S:.0f} s") from None
    if "url" in answer:
        return answer
    kind = UsageError if answer.get("usage") else TrialError
    raise kind(f"the {name} server {server} did not start: {'; '.join([answer['error'], *errors])}")


async def _answer_of(stdout: asyncio.StreamReader, errors: list[str]) -> dict[str, Any]:
    """Return the next answer of a server process; add the exceptions that it tells of until then to `errors`."""
    while "uncaught" in (answer := json.loads(await stdout.readline() or b'{"error": "it ended without a word"}')):
        errors.append(answer["uncaught"])
    return cast(dict[str, Any], answer)


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


async def _serve_until_end_of_input(request: Mapping[str, Any], answers: BinaryIO, take: Take) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in ("SIGTERM", "SIGINT"):
        with suppress(NotImplementedError):
            loop.add_signal_handler(getattr(signal, name), stop.set)
    relay_log.turn_on()
    stopped = partial(loop.call_soon_threadsafe, stop.set)
    Thread(target=_answer_until_end_of_input, args=(answers, take, stopped), daemon=True).start()
    try:
        async with AsyncExitStack() as stack:
            names = request["transport"], request["server"], request["host"], request["port"]
            tls = authority = None
            with ExitStack() as until_loaded:  # the key is on disk only while the server starts
                if request["tls"]:
                    cert, key, authority = until_loaded.enter_context(certificate_files(request["host"]))
                    tls = server_context(cert, key)
                url = await stack.enter_async_context(serve(*names, request["options"], tls))
            _answer(answers, {"url": url, "ca": authority})
            await stop.wait()
            if hasattr(signal, "alarm"):
                signal.alarm(round(_STOP_WITHIN_S))  # ends the process, should closing hang and nobody else insist
    except Exception as error:
        text = str(error) if isinstance(error, Error) else registry.described(error)
        _answer(answers, {"error": text, "usage": isinstance(error, UsageError)})


def _answer(answers: BinaryIO, content: Mapping[str, Any], rows: bytes = b"") -> None:
    answers.write(json.dumps(content).encode() + b"\n" + rows)
    answers.flush()


def _first_line() -> bytes:
    """Read one line of standard input, and no byte beyond it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _answer_until_end_of_input(answers: BinaryIO, take: Take, then: Callable[[], object]) -> None:
    while os.read(0, 1):
        with suppress(OSError):  # nobody reads any more: standard input is about to end
            take_from_tasks(take)
            rows = relay_log.rows()
            _answer(answers, {"bytes": len(rows)}, rows)
    with suppress(RuntimeError):  # the loop is closed: somebody else stopped the server first
        then()


def _main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    errors: list[str] = []

    def take(error: BaseException) -> None:
        """Tell of an exception, unless it says that a connection has ended: clients leave."""
        if not isinstance(error, ConnectionError | EOFError) and note(errors, error):
            with suppress(OSError):  # nobody reads any more
                _answer(answers, {"uncaught": errors[-1]})

    with taken(take):
        try:
            request = json.loads(_first_line())
            if request["namespaces"]:
                from rtbench.links.namespaces import enter  # here, since few servers have them

                enter(Namespaces(**request["namespaces"]))
            asyncio.run(_serve_until_end_of_input(request, answers, take))
        except BaseException as error:
            take(error)
            raise


if __name__ == "__main__":
    _main()
