"""A server that is a program of its own: found, started at an address with a configuration made here, and ended."""

from __future__ import annotations

import asyncio
import ctypes
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from rtbench.errors import MissingProgram, TrialError

_PR_SET_PDEATHSIG = 1
_START_WITHIN_S = 10.0
_STOP_WITHIN_S = 1.0
_ALSO_IN = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"  # Debian installs servers in /usr/sbin, not on every PATH


def find(name: str, how_to_install: str) -> str:
    """Return the path of a program.

    Raises:
        MissingProgram: it is not installed; the message says how to install it.
    """
    program = shutil.which(name) or shutil.which(name, path=_ALSO_IN)
    if program is None:
        raise MissingProgram(f"{name} is not installed: {how_to_install}")
    return program


@asynccontextmanager
async def running(command: Sequence[str], host: str, port: int, *, encrypted: bool) -> AsyncIterator[int]:
    """Run a program until left; yield its process id once it takes connections, with TLS if `encrypted`.

    It ends with this process, however that ends (prctl(2), PR_SET_PDEATHSIG).

    Raises:
        TrialError: it ended, or took no connection in time.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=_die_with_parent if sys.platform == "linux" else None,
    )
    try:
        await _answering(command[0].rpartition("/")[2], process, host, port, _unverified() if encrypted else None)
        yield process.pid
    finally:
        await _end(process)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _unverified() -> ssl.SSLContext:
    """Return a client context that verifies no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _answering(
    name: str, process: asyncio.subprocess.Process, host: str, port: int, tls: ssl.SSLContext | None
) -> None:
    """Wait until the server accepts connections; with TLS, until a handshake succeeds: it listens before it can."""
    try:
        async with asyncio.timeout(_START_WITHIN_S):
            while process.returncode is None:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(host, port, ssl=tls)
                    writer.close()
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise TrialError(f"{name} took no connection within {_START_WITHIN_S:.0f} s") from None
    assert process.stderr is not None
    said = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
    raise TrialError(f"{name} ended with code {process.returncode}: {said[-1] if said else 'no message'}")


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _STOP_WITHIN_S)
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
