"""Waiting times and dropped connections that the Linux kernel counts in `/proc`; None if it does not count them.

This module imports only the standard library, because the client processes of a trial use it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

NETSTAT = Path("/proc/net/netstat")
PRESSURE_IO = Path("/proc/pressure/io")


def waiting_ns(pid: int) -> int | None:
    """Return how long the threads of a process were ready to run but had no core: the sum over its threads alive now.

    This is field 2 of `schedstat` (Documentation/scheduler/sched-stats.rst). The file of the process,
    `/proc/PID/schedstat`, covers only its first thread. A kernel that does not count writes `0 0 0`; field 3, how often
    the thread ran, is never 0 for a thread that ran.
    """
    counts = []
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError, ValueError):
            counts.append([int(word) for word in path.read_text().split()])
    return sum(c[1] for c in counts) if any(c[2] for c in counts) else None


def listen_drops(netstat: Path = NETSTAT) -> int | None:
    """Return how many connections were dropped because a listen queue was full, in this network namespace so far.

    This is ListenDrops of TcpExt (net/ipv4/tcp_ipv4.c). It includes ListenOverflows, so they are not added.
    """
    lines: list[list[str]] = []
    with suppress(OSError):
        lines = [line.split() for line in netstat.read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names[0] == "TcpExt:" and "ListenDrops" in names:
            return int(values[names.index("ListenDrops")])
    return None


def io_stalled_ns(pressure: Path = PRESSURE_IO) -> int | None:
    """Return for how long at least one task of the machine waited for I/O (Documentation/accounting/psi.rst)."""
    with suppress(OSError):
        for line in pressure.read_text().splitlines():
            if line.startswith("some "):
                return int(line.rpartition("total=")[2]) * 1000
    return None


def grown(before: int | None, after: int | None) -> int | None:
    """Return by how much a count grew; None if either value is not known."""
    return None if before is None or after is None else max(after - before, 0)
