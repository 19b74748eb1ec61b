from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from rtbench import process

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the sockets of another process are seen on Linux only")

WORKER = """
import sys, time
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end:
        pass
    print(time.process_time_ns(), flush=True)
"""

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
child.stdin.close()
child.wait()
"""

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
kept = [listener]
for line in sys.stdin:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(line))
    kept.append(connection)
    print("accepted", flush=True)
"""


@contextmanager
def python(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that ends with its standard input."""
    child = subprocess.Popen(
        [sys.executable, "-c", source, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def ask(child: subprocess.Popen[str], line: str = "") -> str:
    assert child.stdin is not None
    assert child.stdout is not None
    if line:
        child.stdin.write(line + "\n")
        child.stdin.flush()
    return child.stdout.readline().strip()


def test_the_clock_of_another_process_is_its_own() -> None:
    with python(WORKER) as child:
        seen = psutil.Process(child.pid)
        own = [int(ask(child, seconds)) for seconds in ("0.1",)]
        outside = [process.cpu_ns(seen)]
        own.append(int(ask(child, "0.4")))
        outside.append(process.cpu_ns(seen))
    tolerance = 0.02 if sys.platform == "linux" else 0.2  # elsewhere the clock ticks every 10 ms
    assert outside[1] - outside[0] == pytest.approx(own[1] - own[0], rel=tolerance)
    assert outside[1] >= own[1] * (1 - tolerance)


def test_the_clock_of_a_process_that_waits_stands_still() -> None:
    with python(WORKER) as busy, python(WORKER) as idle:
        ask(busy, "0.01")
        ask(idle, "0.01")
        before = [process.cpu_ns(psutil.Process(p.pid)) for p in (busy, idle)]
        ask(busy, "0.3")
        after = [process.cpu_ns(psutil.Process(p.pid)) for p in (busy, idle)]
    assert after[0] - before[0] > 20 * (after[1] - before[1])


def test_a_process_without_children_serves_itself() -> None:
    with python(WORKER) as child:
        assert [p.pid for p in process.serving_processes(child.pid)] == [child.pid]


def test_a_process_with_children_has_them_serve() -> None:
    with python(PARENT, WORKER) as parent:
        child = int(ask(parent))
        assert [p.pid for p in process.serving_processes(parent.pid)] == [child]


def test_children_of_children_serve_too() -> None:
    with python(PARENT, PARENT.replace("sys.argv[1]", repr(WORKER))) as parent:
        child = int(ask(parent))
        (grandchild,) = psutil.Process(child).children() or until_it_has_a_child(child)
        assert {p.pid for p in process.serving_processes(parent.pid)} == {child, grandchild.pid}


def until_it_has_a_child(pid: int) -> list[psutil.Process]:
    while not (children := psutil.Process(pid).children()):
        os.sched_yield()
    return children


def test_a_process_that_has_ended_serves_no_more_and_costs_nothing() -> None:
    with python(WORKER) as child:
        processes = process.serving_processes(child.pid)
    assert process.serving_processes(child.pid) == []
    ended = process.load(processes)
    assert (ended.cpu_ns, ended.rss_bytes) == (0, 0)
    assert not process.alive(processes[0])


def test_load_adds_up_over_processes() -> None:
    with python(WORKER) as one, python(WORKER) as two:
        for child in (one, two):
            ask(child, "0.1")
        each = [process.load([psutil.Process(child.pid)]) for child in (one, two)]
        both = process.load([psutil.Process(child.pid) for child in (one, two)])
        assert process.alive(psutil.Process(one.pid))
    assert both.cpu_ns == pytest.approx(sum(load.cpu_ns for load in each), rel=0.02)
    assert both.rss_bytes == pytest.approx(sum(load.rss_bytes for load in each), rel=0.02)
    assert both.rss_bytes > 2 * 2**20


def test_a_share_of_a_core_is_cpu_time_over_time() -> None:
    before, after = process.Load(1000, 50, 0), process.Load(3000, 550, 0)
    assert after.cpu_since(before) == 0.25
    assert before.cpu_since(before) == 0.0


@on_linux
@pytest.mark.parametrize(
    ("nodelay", "count"),
    [
        pytest.param([0], 1, id="one connection with Nagle's algorithm"),
        pytest.param([1], 0, id="one connection without"),
        pytest.param([0, 1, 0], 2, id="two with and one without"),
        pytest.param([], None, id="no connection to look at"),
    ],
)
def test_server_sockets_with_nagle_are_counted(nodelay: list[int], count: int | None) -> None:
    with python(SERVER) as server:
        port = int(ask(server))
        clients = []
        for option in nodelay:
            clients.append(socket.create_connection(("127.0.0.1", port)))
            assert ask(server, str(option)) == "accepted"
        assert process.sockets_with_nagle([psutil.Process(server.pid)], port) == count
        assert process.sockets_with_nagle([psutil.Process(server.pid)], port + 1) is None
        for client in clients:
            client.close()


@on_linux
def test_looking_at_the_sockets_of_a_process_leaves_nothing_open() -> None:
    with python(SERVER) as server:
        port = int(ask(server))
        with socket.create_connection(("127.0.0.1", port)) as client:
            ask(server, "1")
            before = psutil.Process().num_fds()
            for _ in range(5):
                process.sockets_with_nagle([psutil.Process(server.pid)], port)
            assert psutil.Process().num_fds() == before
            client.sendall(b"still there")
