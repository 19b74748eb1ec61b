"""What the kernel's files say, and that a file that is not there says nothing."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from rtbench.system import kernel
from tests.conftest import until

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of this on Linux only")
NETSTAT = """TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits
TcpExt: 1 20 28 4
IpExt: InNoRoutes ListenDrops
IpExt: 5 6
"""
PRESSURE = """some avg10=0.08 avg60=0.11 avg300=0.24 total=28088109
full avg10=0.08 avg60=0.08 avg300=0.14 total=23720998
"""


def file(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "file"
    path.write_text(content)
    return path


def test_drops_stand_below_their_name(tmp_path: Path) -> None:
    assert kernel.listen_drops(file(tmp_path, NETSTAT)) == 28


def test_stalls_are_those_of_some_task_in_nanoseconds(tmp_path: Path) -> None:
    assert kernel.io_stalled_ns(file(tmp_path, PRESSURE)) == 28_088_109_000


@pytest.mark.parametrize("content", ["", "IpExt: InNoRoutes\nIpExt: 5\n", "full avg10=0.00 total=3\n"])
def test_what_is_not_told_is_none(tmp_path: Path, content: str) -> None:
    assert kernel.listen_drops(file(tmp_path, content)) is kernel.io_stalled_ns(file(tmp_path, content)) is None
    assert kernel.listen_drops(tmp_path / "none") is kernel.io_stalled_ns(tmp_path / "none") is None


def test_growth_is_known_only_between_what_is_known() -> None:
    assert kernel.grown(3, 10) == 7
    assert kernel.grown(10, 3) == 0  # a thread has ended, and what it gathered is gone with it
    assert kernel.grown(None, 3) is kernel.grown(3, None) is None


@pytest.mark.process
@on_linux
def test_a_connection_that_finds_no_room_is_counted() -> None:
    before = kernel.listen_drops()
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        clients = [socket.socket() for _ in range(8)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        assert until(lambda: (kernel.grown(before, kernel.listen_drops()) or 0) >= len(clients) - 2)
        for client in clients:
            client.close()
