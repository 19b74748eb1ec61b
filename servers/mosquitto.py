"""Eclipse mosquitto as a server of `mqtt`: the program found on PATH, with a configuration made here.

There are three configurations:
    by default   A million messages may wait for a client: mosquitto itself drops acknowledged messages above 1,000.
                 Nothing is on disk.
    stock=yes    As Debian's package has it: 1,000 messages wait for a client, and the rest is dropped after it was
                 acknowledged. Sessions are written to disk every half hour and when mosquitto ends in order: SIGKILL
                 loses them.
    durable=yes  Sessions are written to disk after every change, so that acknowledged messages outlive SIGKILL, but for
                 one acknowledged in the last milliseconds: the write comes after the acknowledgement. Each time
                 mosquitto writes all that waits: what a message costs grows with that.

In all three TCP_NODELAY is on: it changes no guarantee, and otherwise the measurement would show Nagle's algorithm.
Errors and warnings are the only log. mosquitto keeps the user that starts it, because Linux clears the signal that ends
a process with its parent when the process changes its user (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import ctypes
import getpass
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated

from rtbench.errors import MissingProgram, TrialError, UsageError
from rtbench.transports import Option, ServerContext
from rtbench.transports.serving import address_url

from .mqtt_broker import by_hand

__all__ = ["by_hand", "serve", "software"]

_PR_SET_PDEATHSIG = 1
_START_WITHIN_S = 10.0
_STOP_WITHIN_S = 1.0

_ALWAYS = """\
listener {port} {host}
user {user}
allow_anonymous true
set_tcp_nodelay true
log_type error
log_type warning
log_dest stderr
"""
_STATE = "persistence true\npersistence_location {state}/\n"
_EVERY_CHANGE = "autosave_on_changes true\nautosave_interval 1\n"
_LIMITS = "max_queued_messages {queued}\nmax_inflight_messages {in_flight}\nsys_interval 0\n"
_QUEUED, _IN_FLIGHT = 1_000_000, 20

Durable = Annotated[bool, Option("write sessions to disk after every change", metavar="yes|no")]
Stock = Annotated[bool, Option("the configuration of Debian's package, with TCP_NODELAY", metavar="yes|no")]
MaxQueued = Annotated[int, Option("messages that wait for one client", metavar="N", above=0, most=10**9)]
MaxInflight = Annotated[int, Option("messages in flight for one client", metavar="N", above=0, most=65_535)]


@cache
def software() -> str:
    """Return the name and version of the program.

    Raises:
        MissingProgram: mosquitto is not on PATH.
    """
    told = subprocess.run([_program(), "-h"], capture_output=True, text=True, check=False).stdout
    return " ".join(told.split()[:3]).replace("version ", "") if told else "mosquitto"


def _program() -> str:
    # Debian installs it in /usr/sbin, which is not on the PATH of every user
    program = shutil.which("mosquitto") or shutil.which(
        "mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
    )
    if program is None:
        raise MissingProgram(
            "mosquitto is not installed: `sudo apt-get install mosquitto` (Debian, Ubuntu), "
            "`brew install mosquitto` (macOS)"
        )
    return program


@asynccontextmanager
async def serve(
    listener: socket.socket,
    *,
    durable: Durable = False,
    stock: Stock = False,
    max_queued_messages: MaxQueued = _QUEUED,
    max_inflight_messages: MaxInflight = _IN_FLIGHT,
    tls: ServerContext | None = None,
    state: Path | None = None,
) -> AsyncIterator[str]:
    """Run mosquitto at the address of `listener` until left; yield the URL.

    Raises:
        UsageError: `stock` together with another option.
    """
    if stock and (durable, max_queued_messages, max_inflight_messages) != (False, _QUEUED, _IN_FLIGHT):
        raise UsageError("stock=yes is the whole configuration; leave out the other options of mosquitto")
    limits = _LIMITS.format(queued=max_queued_messages, in_flight=max_inflight_messages)
    configuration = _STATE * (durable or stock) + _EVERY_CHANGE * durable + limits * (not stock)
    host, port = listener.getsockname()[:2]
    listener.close()  # mosquitto opens its own at the same address
    with ExitStack() as stack:
        directory = state
        if directory is None and (durable or stock):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtbench-")))
        told = (_ALWAYS + configuration).format(host=host, port=port, user=getpass.getuser(), state=directory)
        async with _running(told, host, port, tls):
            yield address_url("mqtt", host, port, tls)


@asynccontextmanager
async def _running(configuration: str, host: str, port: int, tls: ServerContext | None) -> AsyncIterator[None]:
    """Run mosquitto; its configuration is deleted before anybody knows the URL."""
    if tls:
        configuration += f"certfile {tls.cert_file}\nkeyfile {tls.key_file}\n"
    process = None
    try:
        with tempfile.TemporaryDirectory(prefix="rtbench-") as directory:
            file = Path(directory) / "mosquitto.conf"
            file.write_text(configuration)
            process = await asyncio.create_subprocess_exec(
                _program(),
                *("-c", str(file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
            await _answering(process, host, port, _unverified() if tls else None)
        yield
    finally:
        if process is not None:
            await _end(process)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _unverified() -> ssl.SSLContext:
    """Return a client context that verifies no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _answering(process: asyncio.subprocess.Process, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Wait until the broker accepts connections; with TLS, until a handshake succeeds: it listens before it can."""
    try:
        async with asyncio.timeout(_START_WITHIN_S):
            while process.returncode is None:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(host, port, ssl=tls)
                    writer.close()
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise TrialError(f"mosquitto took no connection within {_START_WITHIN_S:.0f} s") from None
    assert process.stderr is not None
    said = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
    raise TrialError(f"mosquitto ended with code {process.returncode}: {said[-1] if said else 'no message'}")


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _STOP_WITHIN_S)
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
