"""What Linux's kernel tells of waiting and of what it dropped, read from `/proc`; None where it does not tell.

Nothing but the standard library is imported: the client processes of a trial read their own waiting here.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

NETSTAT = Path("/proc/net/netstat")
PRESSURE_IO = Path("/proc/pressure/io")


def waiting_ns(pid: int) -> int | None:
    """Return how long all threads of a process that are alive now have waited for a core: ready to run, without one.

    This is field 2 of `schedstat` (Documentation/scheduler/sched-stats.rst). The file of the process,
    `/proc/PID/schedstat`, tells of its first thread only. A kernel that does not count says `0 0 0`; the third figure,
    how often it ran, is never 0 of a thread that ran.
    """
    counts = []
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError, ValueError):
            counts.append([int(word) for word in path.read_text().split()])
    return sum(c[1] for c in counts) if any(c[2] for c in counts) else None


def listen_drops(netstat: Path = NETSTAT) -> int | None:
    """Return how many connections no listener of this network namespace had room for, since it exists.

    That is ListenDrops of TcpExt (net/ipv4/tcp_ipv4.c); ListenOverflows are among them, so they are not added.
    """
    lines: list[list[str]] = []
    with suppress(OSError):
        lines = [line.split() for line in netstat.read_text().splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names[0] == "TcpExt:" and "ListenDrops" in names:
            return int(values[names.index("ListenDrops")])
    return None


def io_stalled_ns(pressure: Path = PRESSURE_IO) -> int | None:
    """Return for how long some task of the machine has waited for a disk (Documentation/accounting/psi.rst)."""
    with suppress(OSError):
        for line in pressure.read_text().splitlines():
            if line.startswith("some "):
                return int(line.rpartition("total=")[2]) * 1000
    return None


def grown(before: int | None, after: int | None) -> int | None:
    """Return by how much a count grew; None where either end is not known."""
    return None if before is None or after is None else max(after - before, 0)
