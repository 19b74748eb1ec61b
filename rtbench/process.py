"""What a server's processes cost, seen from outside: CPU time, memory, and the options of their sockets.

CPU time comes from the process's own clock in nanoseconds (clock_getcpuclockid(3): the clock id of a process is
`(~pid << 3) | 2`); where there is none, from psutil, in ticks of 10 ms.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_PIDFD_GETFD = 438  # the same number on every architecture (Linux 5.6)


@dataclass(frozen=True)
class Load:
    """What a process tree has used: `cpu_ns` since its start, `rss_bytes` now, at `at_ns` of CLOCK_MONOTONIC."""

    at_ns: int
    cpu_ns: int
    rss_bytes: int

    def cpu_since(self, before: Load) -> float:
        """Return the share of one core used since `before` (1.0: a whole core)."""
        return (self.cpu_ns - before.cpu_ns) / max(self.at_ns - before.at_ns, 1)


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


def load(processes: list[psutil.Process]) -> Load:
    """Add up the load of some processes; one that has ended counts no more."""
    cpu = rss = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            cpu += cpu_ns(process)
            rss += process.memory_info().rss
    return Load(time.monotonic_ns(), cpu, rss)


def sockets_with_nagle(processes: list[psutil.Process], port: int) -> int | None:
    """Return how many accepted connections on `port` lack TCP_NODELAY; None where that cannot be seen.

    Looks at the sockets of another process through pidfd_getfd(2), which Linux allows for one's own descendants.
    """
    if sys.platform != "linux":
        return None
    count = seen = 0
    for process in processes:
        for sock in _tcp_sockets(process.pid):
            with sock, suppress(OSError):
                sock.getpeername()
                if sock.getsockname()[1] == port:
                    seen += 1
                    count += not sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    return count if seen else None


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
