"""The server process: one server in a process of its own, until it is told to stop or its owner is gone.

`python -m rtbench.trial.server_process_main` reads one JSON line from standard input (a `Request`), loads the server,
and waits for a newline: then it answers with one JSON line (`{"url": ...}` or `{"error": ...}`), and serves until
standard input ends. A pipe ends with the process that holds it, so a server never outlives the bench, however the bench
ends. What a server prints does not mix with the answers: it goes to standard error.

A further newline on standard input asks when the server relayed each message. The answer is one JSON line
(`{"bytes": N}`) and N bytes of `rtbench.transports.relay_log`. SIGTERM ends the server, then gives the same answer.
Before it, and before it ends, the process says one JSON line (`{"uncaught": ...}`) for each exception of the server
that nobody caught.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

from rtbench.errors import Error, UsageError
from rtbench.links.link import Namespaces
from rtbench.system.placement import stay_on
from rtbench.system.tls import Certificate, server_context
from rtbench.transports import registry, relay_log
from rtbench.transports.serving import serve
from rtbench.trial.server_process import STOP_WITHIN_S, Request
from rtbench.trial.uncaught import Take, note, take_from_tasks, taken

_DELETE_TRIES, _DELETE_AGAIN_S = 20, 0.1


async def _serve_until_told(request: Request, answers: BinaryIO, take: Take) -> None:
    """Serve until standard input ends, or until SIGTERM, which has the relay log told."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    by_signal: list[str] = []

    def asked(name: str) -> None:
        by_signal.append(name)
        stop.set()

    for name in ("SIGTERM", "SIGINT"):
        with suppress(NotImplementedError):
            loop.add_signal_handler(getattr(signal, name), asked, name)
    relay_log.turn_on()
    stopped = partial(loop.call_soon_threadsafe, stop.set)
    tell = partial(_tell_relay_log, answers, take, keep=request.keeps_log)
    Thread(target=_answer_until_end_of_input, args=(tell, stopped), daemon=True).start()
    try:
        async with AsyncExitStack() as stack:
            _answer(answers, {"url": await stack.enter_async_context(_served(request))})
            await stop.wait()
            if hasattr(signal, "alarm"):
                signal.alarm(round(STOP_WITHIN_S))  # ends the process, should closing hang and nobody else insist
    except Exception as error:
        text = str(error) if isinstance(error, Error) else registry.described(error)
        _answer(answers, {"error": text, "usage": isinstance(error, UsageError)})
    finally:  # whether or not somebody hears the answer
        if not by_signal:
            _forget(request)
    if by_signal:
        tell()


@asynccontextmanager
async def _served(request: Request) -> AsyncIterator[str]:
    """Serve; the key of the certificate is on disk only while the server starts."""
    async with AsyncExitStack() as stack:
        with ExitStack() as until_loaded:
            certificate = request.certificate
            tls = server_context(*until_loaded.enter_context(certificate.files())) if certificate else None
            names = request.transport, request.server, request.host, request.port
            state = Path(request.state) if request.state else None
            url = await stack.enter_async_context(serve(*names, request.options, tls, state))
        yield url


def _forget(request: Request) -> None:
    """Delete what a server kept for its next life: its owner has no use for it, or is gone."""
    for _ in range(_DELETE_TRIES if request.state else 0):  # another life of the server may be writing to it still
        shutil.rmtree(str(request.state), ignore_errors=True)
        if not Path(str(request.state)).exists():
            return
        time.sleep(_DELETE_AGAIN_S)


def _answer(answers: BinaryIO, content: Mapping[str, Any], rows: bytes = b"") -> None:
    answers.write(json.dumps(content).encode() + b"\n" + rows)
    answers.flush()


def _tell_relay_log(answers: BinaryIO, take: Take, keep: bool) -> None:
    with suppress(OSError):  # nobody reads any more
        if keep:  # it looks at all objects of the process, too long for a server that is asked several times a second
            take_from_tasks(take)
        rows = relay_log.rows(keep=keep)
        _answer(answers, {"bytes": len(rows)}, rows)


def _next_line() -> bytes:
    """Read one line of standard input, and no byte beyond it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _answer_until_end_of_input(tell: Callable[[], object], then: Callable[[], object]) -> None:
    while os.read(0, 1):
        tell()
    with suppress(RuntimeError):  # the loop is closed: somebody else stopped the server first
        then()


def _requested() -> Request | None:
    """Read the request, load the server, and wait for the word to start; None if there will be none."""
    fields = json.loads(_next_line())
    certificate, namespaces = fields.pop("certificate"), fields.pop("namespaces")
    if namespaces:
        from rtbench.links.namespaces import enter  # here, since few servers have them

        enter(Namespaces(**namespaces))
    stay_on(tuple(fields["cores"]))
    request = Request(**fields, certificate=Certificate(**certificate) if certificate else None)
    with suppress(Exception):  # `serve` loads it again, and its answer says what is wrong
        registry.server(request.transport, request.server)
    if _next_line():
        return request
    _forget(request)
    return None


def _main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    errors: list[str] = []

    def take(error: BaseException) -> None:
        """Tell of an exception, unless it says that a connection has ended: clients leave."""
        if not isinstance(error, ConnectionError | EOFError) and note(errors, error):
            with suppress(OSError):  # nobody reads any more
                _answer(answers, {"uncaught": errors[-1]})

    if (request := _requested()) is None:
        return
    with taken(take):
        try:
            asyncio.run(_serve_until_told(request, answers, take))
        except BaseException as error:
            take(error)
            raise


if __name__ == "__main__":
    _main()
