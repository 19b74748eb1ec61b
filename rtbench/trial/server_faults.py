"""Faults of the server: it is started again, killed, or stopped for a time, and it is seen from outside that it was.

The evidence does not come from the signals that are sent: it is what `/proc` shows of the serving processes, looked at
every millisecond, and a connection that the new process accepts.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import psutil

from rtbench.errors import UsageError
from rtbench.plan.faults import Evidence, Fault
from rtbench.system import process
from rtbench.trial.lives import Lives
from rtbench.trial.servers import RunningServer

LOOK_EVERY_S = 0.001
SEEN_WITHIN_S = 5.0


async def inject(server: RunningServer, fault: Fault, at_ns: int) -> Evidence:
    """Do a fault of the server at `at_ns` (CLOCK_MONOTONIC); return what was seen of it, on the same clock.

    A restart and a kill begin with the signal, since clients may notice before the processes are seen gone; a freeze
    begins when they are seen stopped. The first two end when the new process answers, a freeze when they go on.

    Raises:
        UsageError: the server is not rtbench's, or this system has no signals for it.
        TrialError: the server did not start again.
    """
    if server.lives is None:
        raise UsageError(f"--fault {fault.kind} needs a server that rtbench starts; leave out --url")
    if not hasattr(os, "killpg"):
        raise UsageError(f"--fault {fault.kind} needs the signals of Linux or macOS")
    await _until(at_ns)
    if fault.kind == "freeze-server":
        return await _freeze(server.lives, fault, at_ns)
    return await _renew(server.lives, fault, at_ns)


async def _renew(lives: Lives, fault: Fault, at_ns: int) -> Evidence:
    """End the server, in order or by SIGKILL, and start it again."""
    old, asked_ns = list(lives.processes), time.monotonic_ns()
    ends = fault.kind == "restart-server"
    ending = asyncio.create_task(lives.end() if ends else lives.kill())
    gone_ns = await _seen(lambda: not any(map(process.alive, old)))
    await ending
    await _until(at_ns + round(fault.for_s * 1e9))
    await lives.start()
    # from outside nothing reaches into a namespace: there the word of the new process has to do
    answered_ns = time.monotonic_ns() if lives.request.namespaces else await _answer(lives.url)
    new = list(lives.processes)
    happened = bool(gone_ns and new) and set(old).isdisjoint(new) and all(map(process.alive, new))
    gone = f"gone {_ms(gone_ns - asked_ns)} after the signal" if gone_ns else "not gone"
    seen = f"{_names(old)} {gone}; {_names(new)} answers {_ms(answered_ns - (gone_ns or asked_ns))} later"
    return Evidence(str(fault), at_ns, asked_ns if happened else None, answered_ns, seen)


async def _freeze(lives: Lives, fault: Fault, at_ns: int) -> Evidence:
    """Stop the server's processes for a time."""
    stopped = list(lives.processes)
    with _stopped(stopped):
        began_ns = await _seen(lambda: all(_is_stopped(p) for p in stopped))
        await _until(at_ns + round(fault.for_s * 1e9))
        held = all(_is_stopped(p) for p in stopped)
    ended_ns = await _seen(lambda: all(process.alive(p) and not _is_stopped(p) for p in stopped))
    seen = f"{_names(stopped)} {'stopped' if began_ns and held else 'not stopped'}"
    seen += f", going on {_ms(ended_ns - began_ns)} later" if began_ns and ended_ns else ", not going on"
    return Evidence(str(fault), at_ns, began_ns if began_ns and held and ended_ns else None, ended_ns or None, seen)


@contextmanager
def _stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Send SIGSTOP; send SIGCONT on leaving, whatever happens."""
    try:
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.suspend()
        yield
    finally:
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.resume()


def _is_stopped(each: psutil.Process) -> bool:
    """Whether the state of a process is T (proc(5), `/proc/PID/stat`)."""
    try:
        return bool(each.status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False


async def _seen(holds: Callable[[], bool]) -> int:
    """Return when something was seen to hold, 0 if it does not within a few seconds."""
    until_s = time.monotonic() + SEEN_WITHIN_S
    while not holds():
        if time.monotonic() > until_s:
            return 0
        await asyncio.sleep(LOOK_EVERY_S)
    return time.monotonic_ns()


async def _answer(url: str) -> int:
    """Return when the server was seen to accept a connection."""
    parts = urlsplit(url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.close()
    return time.monotonic_ns()


async def _until(at_ns: int) -> None:
    await asyncio.sleep(max(at_ns - time.monotonic_ns(), 0) / 1e9)


def _names(processes: list[psutil.Process]) -> str:
    """Return processes in words, each with its number and its start: a number alone may come again."""
    return " and ".join(f"process {p.pid} (started {p.create_time():.2f})" for p in processes) or "no process"


def _ms(duration_ns: int) -> str:
    return f"{duration_ns / 1e6:.1f} ms"
