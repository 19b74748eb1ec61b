"""CPU time, waiting, memory and sockets of the processes of a server, read from outside these processes.

CPU time comes from the CPU clock of the process, in nanoseconds (clock_getcpuclockid(3): the clock id of a process is
`(~pid << 3) | 2`). On systems without such a clock it comes from psutil, in ticks of 10 ms. The other values come from
`/proc` (proc(5), and `rtbench.system.kernel`); they are None if `/proc` does not have them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rtbench.system.kernel import waiting_ns
from rtbench.system.load import Load
from rtbench.system.meter import read_wire

_PIDFD_GETFD = 438  # the same number on every architecture (Linux 5.6)


def cpu_ns(process: psutil.Process) -> int:
    """Return the CPU time, user and system, that a process has used."""
    if sys.platform == "linux":
        with suppress(OSError):
            return time.clock_gettime_ns(((~process.pid) << 3) | 2)
    times = process.cpu_times()
    return round((times.user + times.system) * 1e9)


def serving_processes(pid: int) -> list[psutil.Process]:
    """Return the processes that serve: the children of process `pid`, or `pid` itself if it has no children.

    An external program (mosquitto) is started by a Python process that only waits for it. The memory of that Python
    process is not memory of the server.
    """
    try:
        process = psutil.Process(pid)
        return process.children(recursive=True) or [process]
    except psutil.NoSuchProcess:
        return []


def alive(process: psutil.Process) -> bool:
    """Return whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def load(processes: list[psutil.Process], pages: bool = False) -> Load:
    """Return the sum of the load of processes; a process that has ended is left out.

    With `pages` the sum has `pss_bytes` and `private_bytes` too. For these the kernel walks all pages, which takes a
    millisecond for 50 MB, and during that time the process cannot map new pages: do not use it during a timed part.
    """
    cpu, seen = 0, []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            cpu += cpu_ns(process)
            seen.append(process)
    at_ns = time.monotonic_ns()
    each = []
    for process in seen:
        with suppress(psutil.NoSuchProcess):
            rss = process.memory_info().rss
            each.append((rss, *_switches(process), waiting_ns(process.pid), _peak_rss(process)))
    rss_bytes, *rest = (_sum(values) for values in zip(*each, strict=True)) if each else (0,) * 5
    shares = [_pages(process.pid) for process in seen] if pages else [(None, None)]
    return Load(at_ns, cpu, rss_bytes or 0, *rest, *(_sum(values) for values in zip(*shares, strict=True)))


def _sum(values: Iterable[int | None]) -> int | None:
    """Return the sum; None if a value is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _fields(path: Path) -> dict[str, int]:
    """Return the integers of a file with lines `NAME: NUMBER ...`; an empty dict if it cannot be read."""
    lines = []
    with suppress(OSError):
        lines = path.read_text().splitlines()
    words = [line.split() for line in lines]
    return {word[0].rstrip(":"): int(word[1]) for word in words if len(word) > 1 and word[1].isdecimal()}


def _switches(process: psutil.Process) -> tuple[int | None, int | None]:
    """Return the voluntary and the involuntary context switches of all threads, from `/proc` or from psutil."""
    threads = [_fields(path) for path in Path(f"/proc/{process.pid}/task").glob("*/status")]
    known = [t for t in threads if "voluntary_ctxt_switches" in t]
    if known:
        return sum(t["voluntary_ctxt_switches"] for t in known), sum(t["nonvoluntary_ctxt_switches"] for t in known)
    with suppress(psutil.AccessDenied, NotImplementedError):
        switches = process.num_ctx_switches()
        return switches.voluntary, switches.involuntary
    return None, None


def _peak_rss(process: psutil.Process) -> int | None:
    """Return the highest RSS so far: VmHWM, which is late by a few pages per core; on Windows the peak working set."""
    kilobytes = _fields(Path(f"/proc/{process.pid}/status")).get("VmHWM")
    if kilobytes is not None:
        return kilobytes * 1024
    return getattr(process.memory_info(), "peak_wset", None)


def _pages(pid: int) -> tuple[int | None, int | None]:
    """Return PSS and private bytes. They are exact; the RSS of the kernel is wrong by a few pages per core."""
    kilobytes = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    if "Pss" not in kilobytes:
        return None, None
    return kilobytes["Pss"] * 1024, (kilobytes["Private_Dirty"] + kilobytes.get("Swap", 0)) * 1024


def system_cpu_ns() -> int:
    """Return the CPU time of all processes since the system started, in ns with a resolution of 10 ms.

    Without idle time, and without time stolen by the hypervisor; guests are part of user time (proc(5), `/proc/stat`).
    """
    times = psutil.cpu_times()
    others = ("idle", "iowait", "guest", "guest_nice", "steal")
    return round((sum(times) - sum(getattr(times, name, 0.0) for name in others)) * 1e9)


def stolen_ns() -> int | None:
    """Return the time that the hypervisor gave to others while a core had work, of all cores, since the start.

    In ns with a resolution of 10 ms; None if the system does not tell.
    """
    stolen_s = getattr(psutil.cpu_times(), "steal", None)
    return None if stolen_s is None else round(stolen_s * 1e9)


@dataclass(frozen=True)
class ServerEnds:
    """The server side of its connections: how many lack TCP_NODELAY, and how many bytes they have retransmitted."""

    nagle: int
    retransmitted_bytes: int


def server_ends(processes: list[psutil.Process], port: int) -> ServerEnds | None:
    """Read the accepted connections on `port`; None if they cannot be read.

    pidfd_getfd(2) gives access to the sockets of another process; Linux allows it for descendants.
    """
    if sys.platform != "linux":
        return None
    seen = nagle = retransmitted = 0
    for process in processes:
        for sock in _tcp_sockets(process.pid):
            with sock, suppress(OSError):
                sock.getpeername()
                if sock.getsockname()[1] == port:
                    seen += 1
                    nagle += not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    wire = read_wire(sock)
                    retransmitted += wire.retransmitted_bytes if wire else 0
    return ServerEnds(nagle, retransmitted) if seen else None


def _tcp_sockets(pid: int) -> list[socket.socket]:
    libc = ctypes.CDLL(None, use_errno=True)
    sockets: list[socket.socket] = []
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return []
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if not str(entry.readlink()).startswith("socket:"):
                    continue
                fd = libc.syscall(_PIDFD_GETFD, pidfd, int(entry.name), 0)
                if fd < 0:  # it was closed, or access is not allowed
                    continue
                sock = socket.socket(fileno=fd)
                if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
                    sockets.append(sock)
                else:
                    sock.close()
    except OSError:
        pass
    finally:
        os.close(pidfd)
    return sockets
