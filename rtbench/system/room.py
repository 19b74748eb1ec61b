"""Room for connections: the open files, the ports and the memory that many connections to one server need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from rtbench.errors import UsageError
from rtbench.system.source import ADDRESSES

CONNECTION_BYTES = 64_000  # set aside for both ends: an aiohttp server and a lean client were seen to take 29 kB
_OTHER_FILES = 64  # descriptors of a server or a client beside its connections
_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
CGROUP = Path("/sys/fs/cgroup")


@contextmanager
def room_for(connections: int, asked: str, *, many_addresses: bool = False, relayed: bool = False) -> Iterator[None]:
    """Let this process and those it starts open so many connections to one server.

    `asked` are the flags that ask. With `many_addresses` the connections may leave from several loopback addresses.
    `relayed` connections pass a process that has two files open for each, one to either side.

    Raises:
        UsageError: ports, memory, or the hard limit of open files do not suffice.
    """
    ports = free_ports() * (ADDRESSES if many_addresses and not relayed else 1)
    if connections > ports:
        raise UsageError(
            f"{asked}: this machine has ports for {ports} connections to one server; as root, "
            "`sysctl net.ipv4.ip_local_port_range='1024 65535'` gives 64512"
        )
    with _files_for(connections, asked, 2 if relayed else 1):
        _check_memory(connections, asked)
        yield


def _check_memory(connections: int, asked: str) -> None:
    if (needed := connections * CONNECTION_BYTES) > (free := free_memory_bytes()):
        raise UsageError(
            f"{asked} needs up to {needed / 1e6:.0f} MB of memory, and {free / 1e6:.0f} MB are free here; "
            f"{free // CONNECTION_BYTES} connections fit"
        )


@contextmanager
def _files_for(connections: int, asked: str, each: int) -> Iterator[None]:
    """Raise the soft limit of open files meanwhile, if it is too low for `each` files a connection."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited, needed = resource.RLIM_INFINITY, each * connections + _OTHER_FILES
    if hard not in (unlimited, -1) and needed > hard:
        raise UsageError(
            f"{asked} needs {needed} open files, and the hard limit here is {hard} (ulimit -Hn); "
            f"at most {max(hard - _OTHER_FILES, 0) // each} connections fit. As root, `ulimit -n {needed}` before the "
            "command, or `nofile` in /etc/security/limits.conf, raises it"
        )
    raised = soft not in (unlimited, -1) and needed > soft
    if raised:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        if raised:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def all_open_files() -> None:
    """Let this process have as many open files as it may: a server cannot know how many connections will come."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_ports() -> int:
    """Return how many connections from one address to one server can be open; on other systems than Linux, 2^16."""
    try:
        first, last = map(int, _PORTS.read_text().split())
    except (OSError, ValueError):
        return 2**16
    return last - first + 1


def free_memory_bytes() -> int:
    """Return how much memory processes can still take: of the machine, or of the container if that has less."""
    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # no container, or no limit (memory.max is "max")
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, limit - used)
    return int(free)
