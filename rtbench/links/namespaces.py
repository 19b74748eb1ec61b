"""Network namespaces without root, and TUN devices in them (Linux): user_namespaces(7), network_namespaces(7).

Whoever makes a user namespace has every capability in it, so it may make network namespaces and devices there. Nothing
of the machine outside is touched; with the last process in a namespace, it is gone with all its devices.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys

from rtbench.errors import TrialError
from rtbench.links.link import Namespaces

MTU_BYTES = 1500
_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_TUNSETIFF, _IFF_TUN_NO_PI = 0x400454CA, 0x1001
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8916, 0x891C, 0x8922


def enter(namespaces: Namespaces) -> None:
    """Let this process, which has one thread, use the network of another namespace; open sockets stay where they are.

    Raises:
        TrialError: the kernel refuses it.
    """
    files: list[int] = []
    try:
        files += [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in (namespaces.user, namespaces.network)]
        for file, kind in zip(files, (_NEWUSER, _NEWNET), strict=True):
            _call("setns", file, kind)
    except OSError as error:
        raise TrialError(f"a process could not enter the network of the link: {error.strerror}") from error
    finally:
        for file in files:
            os.close(file)


def make_user_namespace() -> None:
    """Move this process, which has one thread, into a new user namespace, as its root, and a new network namespace.

    Raises:
        OSError: the system does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    _call("unshare", _NEWUSER | _NEWNET)
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  pathlib would cost the process 5 ms
            file.write(content)


def make_network_namespace() -> None:
    """Move this process into a further network namespace.

    Raises:
        OSError: the system does not allow it.
    """
    _call("unshare", _NEWNET)


def network_file() -> int:
    """Return a descriptor of the network namespace of this process."""
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def tun_device(name: str, address: str) -> int:
    """Make a TUN device with an IPv4 address in a network of four, in the namespace of this process; return its file.

    What the kernel sends to the network of the device is read from the file, one packet each; what is written to it
    arrives from there (Documentation/networking/tuntap.rst). The loopback device is set up, too.

    Raises:
        OSError: the system does not allow it.
    """
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def set_to(request: int, value: bytes) -> None:
            fcntl.ioctl(sock, request, struct.pack("16s24s", name.encode(), value))

        set_to(_SIOCSIFMTU, struct.pack("i", MTU_BYTES))
        for request, text in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.252")):
            set_to(request, struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(text)))
        for device in ("lo", name):
            answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16s24x", device.encode()))
            (flags,) = struct.unpack_from("h", answer, 16)
            fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", device.encode(), flags | _IFF_UP))
    return file


def _call(name: str, *arguments: int) -> None:
    if sys.platform != "linux":
        raise OSError(0, "network namespaces are of Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
