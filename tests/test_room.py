"""Room for connections: open files and ports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rtbench.errors import UsageError
from rtbench.system import room
from rtbench.system.room import room_for
from tests.programs import needs


def test_the_limit_of_open_files_is_raised_and_put_back() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with room_for(400, "--connections 400"):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 400
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, hard)
        with room_for(10, "--connections 10"):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_connections_than_open_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1000))
    with (
        pytest.raises(UsageError, match=r"needs 1064 open files, .* at most 936 connections fit"),
        room_for(1000, "--connections 1000"),
    ):
        pass


def test_a_relay_needs_two_files_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1000))
    with (
        pytest.raises(UsageError, match=r"needs 1064 open files, .* at most 468 connections fit"),
        room_for(500, "--connections 500", relayed=True),
    ):
        pass


def test_more_connections_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory_bytes", lambda: 6_400_000)
    with (
        pytest.raises(UsageError, match=r"needs up to 13 MB of memory, and 6 MB are free here; 100 connections fit"),
        room_for(200, "--connections 200"),
    ):
        pass


def test_a_container_has_the_memory_that_it_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr(room, "CGROUP", tmp_path)
    assert room.free_memory_bytes() == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert room.free_memory_bytes() > 1_000_000


OUT_OF_PORTS = """
import asyncio, collections, socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
open("/proc/sys/net/ipv4/ip_local_port_range", "w").write("40000 40099")
from rtbench.system.meter import Meter
async def main():
    server, meter = socket.create_server(("127.0.0.1", 5000), backlog=500), Meter()
    opened = [await meter.connect("127.0.0.1", 5000) for _ in range(250)]
    print(*collections.Counter(sock.getsockname()[0] for sock in opened).values())
asyncio.run(main())
"""


@needs("ip", "unshare")
@pytest.mark.process
def test_connections_beyond_the_ports_leave_from_further_loopback_addresses() -> None:
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system does not let its users make a network namespace")
    done = subprocess.run([*alone, sys.executable, "-c", OUT_OF_PORTS], check=False, capture_output=True, text=True)
    assert done.stdout.split() == ["100", "100", "50"], done.stderr


def test_more_connections_than_ports_are_refused() -> None:
    with (
        pytest.raises(UsageError, match=r"--connections 70000: this machine has ports for \d+ connections"),
        room_for(70_000, "--connections 70000"),
    ):
        pass
