"""TUN: a network interface whose packets a program reads and writes (Linux)."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from rtbench.errors import TrialError

_DEVICE, _NAME = "/dev/net/tun", "rtbench0"
_MTU = 1500
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _IFF_UP = 0x400454CA, 0x0001, 0x1000, 0x0001
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU = 0x8914, 0x8916, 0x891C, 0x8922


def open_tun(host: str, netmask: str) -> int:
    """Make an interface with this address in the network namespace of this process, whose loopback comes up, too.

    Return its file descriptor, which does not block. Each read gives one packet, each write takes one.

    Raises:
        TrialError: the system does not allow it.
    """
    try:
        device = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _NAME.encode(), _IFF_TUN | _IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            _set(any_socket, _SIOCSIFADDR, _NAME, _address(host))
            _set(any_socket, _SIOCSIFNETMASK, _NAME, _address(netmask))
            _set(any_socket, _SIOCSIFMTU, _NAME, struct.pack("i", _MTU))
            for name in (_NAME, "lo"):
                _set(any_socket, _SIOCSIFFLAGS, name, struct.pack("H", _IFF_UP))
    except OSError as error:
        raise TrialError(f"cannot make a network interface with {_DEVICE} ({error.strerror})") from None
    return device


def _set(any_socket: socket.socket, request: int, name: str, value: bytes) -> None:
    """Change one thing of an interface: the request is a `struct ifreq`, its name and a value."""
    fcntl.ioctl(any_socket, request, struct.pack("16s24s", name.encode(), value))


def _address(host: str) -> bytes:
    """Return a `struct sockaddr_in` without a port."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(host))
