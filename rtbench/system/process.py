"""What a server's processes cost, seen from outside: CPU time, waiting, memory, and the options of their sockets.

CPU time comes from the process's own clock in nanoseconds (clock_getcpuclockid(3): the clock id of a process is
`(~pid << 3) | 2`); where there is none, from psutil, in ticks of 10 ms. The rest is read from `/proc` (proc(5), and
`rtbench.kernel`); where that has no answer, neither have we.
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
    """Return the processes that serve: those that process `pid` started, or itself when it started none.

    A server that is a program of its own (mosquitto) is started by a Python process that only waits for it, and whose
    memory is not the server's.
    """
    try:
        process = psutil.Process(pid)
        return process.children(recursive=True) or [process]
    except psutil.NoSuchProcess:
        return []


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def load(processes: list[psutil.Process], pages: bool = False) -> Load:
    """Add up the load of some processes; one that has ended counts no more.

    `pages` asks for `pss_bytes` and `private_bytes` too. The kernel walks all pages for them, which takes it a
    millisecond for 50 MB, and meanwhile the process can map nothing new: so not while something is timed.
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
    """Add up; None when one is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _fields(path: Path) -> dict[str, int]:
    """Return the whole numbers of a file of `NAME: NUMBER ...` lines; none when it cannot be read."""
    lines = []
    with suppress(OSError):
        lines = path.read_text().splitlines()
    words = [line.split() for line in lines]
    return {word[0].rstrip(":"): int(word[1]) for word in words if len(word) > 1 and word[1].isdecimal()}


def _switches(process: psutil.Process) -> tuple[int | None, int | None]:
    """Return the voluntary and the involuntary context switches of all threads; elsewhere what psutil has."""
    threads = [_fields(path) for path in Path(f"/proc/{process.pid}/task").glob("*/status")]
    told = [t for t in threads if "voluntary_ctxt_switches" in t]
    if told:
        return sum(t["voluntary_ctxt_switches"] for t in told), sum(t["nonvoluntary_ctxt_switches"] for t in told)
    with suppress(psutil.AccessDenied, NotImplementedError):
        switches = process.num_ctx_switches()
        return switches.voluntary, switches.involuntary
    return None, None


def _peak_rss(process: psutil.Process) -> int | None:
    """Return the highest RSS so far: VmHWM, which lags by some pages a core; on Windows the peak working set."""
    kilobytes = _fields(Path(f"/proc/{process.pid}/status")).get("VmHWM")
    if kilobytes is not None:
        return kilobytes * 1024
    return getattr(process.memory_info(), "peak_wset", None)


def _pages(pid: int) -> tuple[int | None, int | None]:
    """Return PSS and private bytes; they are exact, where the kernel's count of RSS is off by some pages a core."""
    kilobytes = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    if "Pss" not in kilobytes:
        return None, None
    return kilobytes["Pss"] * 1024, (kilobytes["Private_Dirty"] + kilobytes.get("Swap", 0)) * 1024


def system_cpu_ns() -> int:
    """Return the CPU time that the whole system has used since it started, in ticks of 10 ms: all but idle."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return round((sum(times) - idle) * 1e9)


@dataclass(frozen=True)
class ServerEnds:
    """What the server's ends of its connections say: how many lack TCP_NODELAY, and what they have sent again."""

    nagle: int
    retransmitted_bytes: int


def server_ends(processes: list[psutil.Process], port: int) -> ServerEnds | None:
    """Look at the accepted connections on `port`; None where they cannot be seen.

    The sockets of another process are had through pidfd_getfd(2), which Linux allows for one's own descendants.
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
                if fd < 0:  # closed meanwhile, or not ours to look at
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
