"""Room for connections: the open files and the ports that many connections to one server need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rtbench.errors import UsageError

_OTHER_FILES = 64  # descriptors of a server or a client beside its connections
_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@contextmanager
def room_for(connections: int, asked: str) -> Iterator[None]:
    """Let this process and those it starts open so many connections to one server; `asked` are the flags that ask.

    Raises:
        UsageError: there are not enough ports, or the hard limit of open files is too low.
    """
    if connections > (ports := _ports()):
        raise UsageError(
            f"{asked}: this machine has ports for {ports} connections to one server (net.ipv4.ip_local_port_range)"
        )
    try:
        import resource
    except ImportError:  # Windows has no such limit
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited, needed = resource.RLIM_INFINITY, connections + _OTHER_FILES
    if hard not in (unlimited, -1) and needed > hard:
        raise UsageError(
            f"{asked} needs {needed} open files, and the hard limit here is {hard} (ulimit -Hn); "
            f"at most {max(hard - _OTHER_FILES, 0)} connections fit"
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


def _ports() -> int:
    """Return how many connections to one address and port can be open; on other systems than Linux, 2^16."""
    try:
        first, last = map(int, _PORTS.read_text().split())
    except (OSError, ValueError):
        return 2**16
    return last - first + 1
