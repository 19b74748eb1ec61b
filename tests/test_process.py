from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from rtbench.system import process
from rtbench.system.load import Load

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

SPINNER = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print("ready", flush=True)
while True:
    pass
"""

SLEEPER = """
import sys, threading, time
asked, done = threading.Semaphore(0), threading.Semaphore(0)
def sleep():
    while True:
        asked.acquire()
        for _ in range(times):
            time.sleep(0.001)
        done.release()
threading.Thread(target=sleep, daemon=True).start()
for line in sys.stdin:
    times = int(line)
    asked.release()
    done.acquire()
    print("slept", flush=True)
"""

HOLDER = """
import os, sys
held = bytearray()
for line in sys.stdin:
    if line == "fork\\n":
        read, write = os.pipe()
        if not (child := os.fork()):
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        print(child, flush=True)
    else:
        held = bytearray(b"x") * int(line)
        print("held", flush=True)
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


@pytest.mark.process
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


@pytest.mark.process
def test_the_clock_of_a_process_that_waits_stands_still() -> None:
    with python(WORKER) as busy, python(WORKER) as idle:
        ask(busy, "0.01")
        ask(idle, "0.01")
        before = [process.cpu_ns(psutil.Process(p.pid)) for p in (busy, idle)]
        ask(busy, "0.3")
        after = [process.cpu_ns(psutil.Process(p.pid)) for p in (busy, idle)]
    assert after[0] - before[0] > 20 * (after[1] - before[1])


@pytest.mark.process
def test_a_process_without_children_serves_itself() -> None:
    with python(WORKER) as child:
        assert [p.pid for p in process.serving_processes(child.pid)] == [child.pid]


@pytest.mark.process
def test_a_process_with_children_has_them_serve() -> None:
    with python(PARENT, WORKER) as parent:
        child = int(ask(parent))
        assert [p.pid for p in process.serving_processes(parent.pid)] == [child]


@pytest.mark.process
def test_children_of_children_serve_too() -> None:
    with python(PARENT, PARENT.replace("sys.argv[1]", repr(WORKER))) as parent:
        child = int(ask(parent))
        (grandchild,) = psutil.Process(child).children() or until_it_has_a_child(child)
        assert {p.pid for p in process.serving_processes(parent.pid)} == {child, grandchild.pid}


def until_it_has_a_child(pid: int) -> list[psutil.Process]:
    while not (children := psutil.Process(pid).children()):
        os.sched_yield()
    return children


@pytest.mark.process
def test_a_process_that_has_ended_serves_no_more_and_costs_nothing() -> None:
    with python(WORKER) as child:
        processes = process.serving_processes(child.pid)
    assert process.serving_processes(child.pid) == []
    ended = process.load(processes, pages=True)
    assert (ended.cpu_ns, ended.rss_bytes) == (0, 0)
    assert not process.alive(processes[0])


@pytest.mark.process
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
    before, after = Load(1000, 50, 0), Load(3000, 550, 0)
    assert after.cpu_since(before) == 0.25
    assert before.cpu_since(before) == 0.0


@pytest.mark.process
def test_load_has_the_cpu_time_that_was_burned() -> None:
    with python(WORKER) as child:
        seen = [psutil.Process(child.pid)]
        own = [int(ask(child, "0.05"))]
        before = process.load(seen)
        own.append(int(ask(child, "0.2")))
        after = process.load(seen)
    assert after.cpu_ns - before.cpu_ns == pytest.approx(own[1] - own[0], rel=0.02 if sys.platform == "linux" else 0.2)
    assert 0 < after.cpu_since(before) <= 1.05


@pytest.mark.process
def test_what_is_not_known_is_none() -> None:
    plain = Load(1000, 50, 0)
    assert plain.waiting_since(plain) is plain.waiting_ns is plain.voluntary_switches is plain.private_bytes is None
    with python(WORKER) as child:
        without = process.load([psutil.Process(child.pid)])
    assert without.pss_bytes is without.private_bytes is None


def test_the_share_of_waiting_is_of_the_time_in_which_it_could_have_run() -> None:
    before, after = Load(0, 50, 0, waiting_ns=100), Load(10_000, 350, 0, waiting_ns=200)
    assert after.waiting_since(before) == 0.25
    assert before.waiting_since(before) == 0.0


@on_linux
@pytest.mark.alone
def test_two_that_share_a_core_wait_for_half_of_the_time() -> None:
    core = str(min(os.sched_getaffinity(0)))
    with python(SPINNER, core) as one, python(SPINNER, core) as two:
        for child in (one, two):
            assert ask(child) == "ready"
        seen = [psutil.Process(child.pid) for child in (one, two)]
        before = process.load(seen)
        time.sleep(0.6)
        after = process.load(seen)
        one.kill()
        two.kill()
    assert after.waiting_ns is not None
    assert before.waiting_ns is not None
    could_run_ns = 2 * (after.at_ns - before.at_ns)  # each of the two, all the time
    ran_ns = after.cpu_ns - before.cpu_ns  # half of it, if nobody else is on this core
    assert ran_ns < 0.55 * could_run_ns
    assert after.waiting_ns - before.waiting_ns == pytest.approx(could_run_ns - ran_ns, rel=0.1)
    assert after.waiting_since(before) == pytest.approx(1 - ran_ns / could_run_ns, abs=0.05)
    assert after.involuntary_switches is not None
    assert before.involuntary_switches is not None
    assert after.involuntary_switches - before.involuntary_switches > 10


@on_linux
@pytest.mark.process
def test_each_sleep_of_any_thread_is_a_voluntary_switch() -> None:
    with python(SLEEPER) as child:
        seen = [psutil.Process(child.pid)]
        ask(child, "1")
        before = process.load(seen)
        ask(child, "200")
        after = process.load(seen)
    assert after.voluntary_switches is not None
    assert before.voluntary_switches is not None
    assert 200 <= after.voluntary_switches - before.voluntary_switches <= 230
    assert after.waiting_ns is not None


@on_linux
@pytest.mark.process
def test_memory_is_private_while_it_is_held_and_in_the_peak_for_ever() -> None:
    size = 32 * 2**20
    with python(HOLDER) as child:
        seen = [psutil.Process(child.pid)]
        loads = []
        for line in ("0", str(size), "0"):
            ask(child, line)
            loads.append(process.load(seen, pages=True))
    private, pss, peak = (
        [getattr(load, name) for load in loads] for name in ("private_bytes", "pss_bytes", "peak_rss_bytes")
    )
    for kind in (private, pss):
        assert kind[1] - kind[0] == pytest.approx(size, rel=0.05)
        assert kind[2] - kind[0] == pytest.approx(0, abs=0.05 * size)
    assert peak[1] - peak[0] == pytest.approx(size, rel=0.1)
    assert peak[2] == pytest.approx(peak[1], rel=0.02)
    assert all(private <= load.rss_bytes for private, load in zip(private, loads, strict=True))


@on_linux
@pytest.mark.process
def test_a_shared_page_counts_twice_in_rss_and_once_in_pss() -> None:
    size = 32 * 2**20
    with python(HOLDER) as child:
        ask(child, str(size))
        alone = process.load([psutil.Process(child.pid)], pages=True)
        twin = int(ask(child, "fork"))
        both = process.load([psutil.Process(child.pid), psutil.Process(twin)], pages=True)
    assert alone.pss_bytes is not None
    assert both.pss_bytes is not None
    assert both.rss_bytes - alone.rss_bytes > size
    assert both.pss_bytes - alone.pss_bytes < 0.1 * size
    assert both.private_bytes is not None
    assert both.private_bytes < 0.3 * size


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
@pytest.mark.process
def test_server_sockets_with_nagle_are_counted(nodelay: list[int], count: int | None) -> None:
    with python(SERVER) as server:
        port = int(ask(server))
        clients = []
        for option in nodelay:
            clients.append(socket.create_connection(("127.0.0.1", port)))
            assert ask(server, str(option)) == "accepted"
        seen = process.server_ends([psutil.Process(server.pid)], port)
        assert seen == (None if count is None else process.ServerEnds(count, 0))
        assert process.server_ends([psutil.Process(server.pid)], port + 1) is None
        for client in clients:
            client.close()


@on_linux
@pytest.mark.process
def test_looking_at_the_sockets_of_a_process_leaves_nothing_open() -> None:
    with python(SERVER) as server:
        port = int(ask(server))
        with socket.create_connection(("127.0.0.1", port)) as client:
            ask(server, "1")
            before = psutil.Process().num_fds()
            for _ in range(5):
                process.server_ends([psutil.Process(server.pid)], port)
            assert psutil.Process().num_fds() == before
            client.sendall(b"still there")
