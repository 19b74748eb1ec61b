"""Eclipse mosquitto as a server of `mqtt`: the program found on PATH, with a configuration made here.

The configuration differs from mosquitto's defaults, for these reasons. TCP_NODELAY is on: otherwise the measurement
would show Nagle's algorithm. A million messages may wait for a client: by default mosquitto drops acknowledged messages
above 1,000. Persistence and log are off. mosquitto keeps the user that starts it, because Linux clears the signal that
ends a process with its parent when the process changes its user (prctl(2), PR_SET_PDEATHSIG).
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
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path

from rtbench.errors import MissingProgram, TrialError
from rtbench.transports import ServerContext
from rtbench.transports.serving import address_url

from .mqtt_broker import by_hand

__all__ = ["by_hand", "serve", "software"]

_PR_SET_PDEATHSIG = 1
_START_WITHIN_S = 10.0
_STOP_WITHIN_S = 1.0

_CONFIGURATION = """\
listener {port} {host}
user {user}
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 1000000
max_inflight_messages 20
persistence false
sys_interval 0
log_type error
log_type warning
log_dest stderr
"""


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
async def serve(listener: socket.socket, *, tls: ServerContext | None = None) -> AsyncIterator[str]:
    """Run mosquitto at the address of `listener` until left; yield the URL."""
    host, port = listener.getsockname()[:2]
    listener.close()  # mosquitto opens its own at the same address
    certificate = f"certfile {tls.cert_file}\nkeyfile {tls.key_file}\n" if tls else ""
    process = None
    try:
        with tempfile.TemporaryDirectory(prefix="rtbench-") as directory:  # deleted before anybody knows the URL
            configuration = Path(directory) / "mosquitto.conf"
            configuration.write_text(_CONFIGURATION.format(host=host, port=port, user=getpass.getuser()) + certificate)
            process = await asyncio.create_subprocess_exec(
                _program(),
                *("-c", str(configuration)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
            await _answering(process, host, port, _unverified() if tls else None)
        yield address_url("mqtt", host, port, tls)
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
