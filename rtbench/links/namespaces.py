"""Namespaces: a user namespace and network namespaces in it, made and entered without root (Linux).

A namespace lives as long as a process is in it or has it open, and so does what is in it: its interfaces, addresses and
routes. Nobody has to remove anything.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from rtbench.errors import TrialError
from rtbench.links.link import Namespaces
from rtbench.system.owner import end_with_owner, ends_with_owner

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def make_user() -> None:
    """Put this process, which must have one thread, into a new user namespace, where it may make networks.

    Its user and its group keep their numbers. They have these rights until they start another program.

    Raises:
        TrialError: the system does not allow it.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", _CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")  # or an ordinary user may not map a group
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    except (OSError, AttributeError) as error:
        raise TrialError(f"this system does not let its users make a user namespace ({_why(error)})") from None


def make_network() -> Namespaces:
    """Put this process, which has made a user namespace, into a new network namespace; keep it open.

    Raises:
        TrialError: the system does not allow it.
    """
    try:
        _call("unshare", _CLONE_NEWNET)
        user, network = (os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("user", "net"))
    except OSError as error:
        raise TrialError(f"this system does not let its users make a network namespace ({_why(error)})") from None
    return Namespaces(*(f"/proc/{os.getpid()}/fd/{opened}" for opened in (user, network)))


def enter(namespaces: Namespaces) -> None:
    """Put this process, which must have one thread, into a user namespace and a network namespace in it.

    Raises:
        TrialError: they are gone, belong to another user, or this process has several threads.
    """
    for kind, path in ((_CLONE_NEWUSER, namespaces.user), (_CLONE_NEWNET, namespaces.network)):
        try:
            opened = os.open(path, os.O_RDONLY)
            try:
                _call("setns", opened, kind)
            finally:
                os.close(opened)
        except (OSError, AttributeError) as error:
            what = "user" if kind == _CLONE_NEWUSER else "network"
            raise TrialError(f"cannot enter the {what} namespace {path} of the packet link ({_why(error)})") from None
    if ends_with_owner():
        end_with_owner()  # new rights clear it


def _call(function: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _why(error: OSError | AttributeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "no such system call"
