"""TUN: a network interface whose packets a program reads and writes (Linux)."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from rtbench.errors import TrialError

_DEVICE, _NAME = "/dev/net/tun", "rtbench0"
_MTU = 1500
_QUEUE_PACKETS = 100_000  # with the usual 500, a fast sender loses packets here, and nobody counts them
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _IFF_UP = 0x400454CA, 0x0001, 0x1000, 0x0001
_RTM_NEWLINK, _NLM_F_REQUEST_ACK, _IFLA_TXQLEN, _NETLINK_HEADER = 16, 0x5, 13, "=IHHII"
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
        _lengthen_queue()
    except OSError as error:
        raise TrialError(f"cannot make a network interface with {_DEVICE} ({error.strerror})") from None
    return device


def _set(any_socket: socket.socket, request: int, name: str, value: bytes) -> None:
    """Change one thing of an interface: the request is a `struct ifreq`, its name and a value."""
    fcntl.ioctl(any_socket, request, struct.pack("16s24s", name.encode(), value))


def _address(host: str) -> bytes:
    """Return a `struct sockaddr_in` without a port."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(host))


def _lengthen_queue() -> None:
    """Let more packets wait to be read. It takes netlink (rtnetlink(7)): ioctl allows it to nobody but root."""
    link = struct.pack("=BxHiIIHHI", 0, 0, socket.if_nametoindex(_NAME), 0, 0, 8, _IFLA_TXQLEN, _QUEUE_PACKETS)
    size = struct.calcsize(_NETLINK_HEADER)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as netlink:
        netlink.send(struct.pack(_NETLINK_HEADER, size + len(link), _RTM_NEWLINK, _NLM_F_REQUEST_ACK, 0, 0) + link)
        (error,) = struct.unpack_from("=i", netlink.recv(4096), size)
    if error:
        raise OSError(-error, os.strerror(-error))
