"""Faults of the server: each leaves evidence, the server lives on at its address, and what did not happen is told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from rtbench.errors import UsageError
from rtbench.plan.faults import Evidence, parse_fault
from rtbench.system import process
from rtbench.system.meter import Meter
from rtbench.system.tls import client_context
from rtbench.transports import registry
from rtbench.transports.relay_log import ROW_BYTES
from rtbench.trial import server_faults
from rtbench.trial.lives import reserved_port
from rtbench.trial.server_faults import inject
from rtbench.trial.server_process import Request, ServerProcess
from rtbench.trial.servers import RunningServer, StartedServer

posix = pytest.mark.skipif(not hasattr(os, "killpg"), reason="no signals here")


async def broken(server: RunningServer, text: str) -> Evidence:
    """Do a fault at once; what was seen of it must be near its time, and it must have happened."""
    fault, at_ns = parse_fault(text), time.monotonic_ns()
    evidence = await inject(server, fault, at_ns)
    assert evidence.began_ns is not None, evidence.seen
    assert evidence.ended_ns is not None, evidence.seen
    assert at_ns <= evidence.began_ns < evidence.ended_ns
    assert at_ns + fault.for_s * 1e9 <= evidence.ended_ns
    assert (evidence.fault, evidence.planned_ns) == (str(fault), at_ns)
    return evidence


async def relay_one(server: RunningServer) -> None:
    connect = registry.client("tcp").connect
    assert connect is not None
    async with connect(server.url, Meter(client_context(server.ca))) as client:
        stream = await client.subscribe("topic")
        await client.publish("topic", b"x" * 50)
        assert (await anext(stream))[1] == b"x" * 50


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.process
@posix
def test_a_server_goes_on_after_each_fault_at_its_address_with_its_certificate(tls: bool) -> None:
    async def main() -> None:
        async with StartedServer("tcp", "embedded", tls=tls, restarts=2).running() as server:
            url, pids = server.url, [p.pid for p in server.processes]
            rows = []
            for text in ("restart-server@0s", "freeze-server@0s for 20ms", "kill-server@0s for 20ms"):
                await relay_one(server)
                seen = (await broken(server, text)).seen
                await relay_one(server)
                pids += [p.pid for p in server.processes]
                assert all(f"process {pid} (started " in seen for pid in pids[-2:])
                rows.append(len(await server.relay_log() or b"") // ROW_BYTES)
            assert pids[0] != pids[1] == pids[2] != pids[3]
            assert rows == [2, 4, 2], "a kill loses the rows of its own life alone"
            assert server.url == url
            assert server.errors == []
            assert server.is_alive
            death = asyncio.create_task(server.died())
            await asyncio.sleep(0)
            assert not death.done(), "only an end that nobody asked for is a death"
            os.kill(pids[-1], signal.SIGKILL)
            assert await death == "signal SIGKILL"
            assert not server.is_alive

    asyncio.run(main())


@pytest.mark.process
@posix
def test_the_load_over_two_lives_is_their_sum_without_the_start_of_the_second() -> None:
    async def main() -> None:
        async with StartedServer("tcp", "embedded", restarts=1).running() as server:
            assert server.lives is not None
            first = server.lives.load()
            await server.lives.kill()
            between = server.lives.load()
            await server.lives.start()
            both, second = server.lives.load(), process.load(server.processes)
            assert 0 < first.cpu_ns <= between.cpu_ns <= both.cpu_ns
            assert both.cpu_ns - between.cpu_ns < second.cpu_ns / 2, "the start alone took more"
            assert both.at_ns > between.at_ns > first.at_ns
            assert both.rss_bytes > between.rss_bytes == 0

    asyncio.run(main())


@pytest.mark.process
@posix
def test_no_connection_is_lost_before_a_kill_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_faults, "LOOK_EVERY_S", 0.05)  # clients notice before the end of the process is seen

    async def main() -> None:
        async with StartedServer("tcp", "embedded", restarts=1).running() as server:
            address = urlsplit(server.url)
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            lost = asyncio.create_task(reader.read())
            lost.add_done_callback(lambda _: lost_ns.append(time.monotonic_ns()))
            evidence = await broken(server, "kill-server@0s for 1ms")
            assert evidence.began_ns is not None
            assert evidence.began_ns < lost_ns[0]
            writer.close()

    lost_ns: list[int] = []
    asyncio.run(main())


def unharmed(server: psutil.Process) -> None:
    """Stand in for a signal that does nothing."""


@pytest.mark.process
@posix
def test_a_freeze_that_did_not_happen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> Evidence:
        async with StartedServer("tcp", "embedded").running() as server:
            monkeypatch.setattr(psutil.Process, "suspend", unharmed)
            monkeypatch.setattr(server_faults, "SEEN_WITHIN_S", 0.01)
            return await inject(server, parse_fault("freeze-server@0s for 10ms"), time.monotonic_ns())

    evidence = asyncio.run(main())
    assert evidence.began_ns is None
    assert "not stopped" in evidence.seen


@pytest.mark.process
@posix
def test_a_kill_that_did_not_happen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> Evidence:
        async with StartedServer("tcp", "embedded").running() as server:
            assert server.lives is not None

            async def nothing() -> None:
                pass

            monkeypatch.setattr(server.lives, "kill", nothing)
            monkeypatch.setattr(server.lives, "start", nothing)
            monkeypatch.setattr(server_faults, "SEEN_WITHIN_S", 0.01)
            return await inject(server, parse_fault("kill-server@0s for 10ms"), time.monotonic_ns())

    evidence = asyncio.run(main())
    assert evidence.began_ns is None
    assert "not gone" in evidence.seen


@pytest.mark.parametrize("text", ["restart-server@0s", "kill-server@0s for 1s", "freeze-server@0s for 1s"])
def test_a_server_at_a_url_is_not_broken(text: str) -> None:
    with pytest.raises(UsageError, match="needs a server that rtbench starts; leave out --url"):
        asyncio.run(inject(RunningServer("tcp://127.0.0.1:1"), parse_fault(text), 0))


@pytest.mark.process
@posix
def test_a_cancelled_freeze_lets_the_server_go_on() -> None:
    async def main() -> None:
        async with StartedServer("tcp", "embedded").running() as server:
            fault = inject(server, parse_fault("freeze-server@0s for 1000s"), time.monotonic_ns())
            freezing = asyncio.create_task(fault)
            while server.processes[0].status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(0.001)
            freezing.cancel()
            await asyncio.wait([freezing])
            await relay_one(server)

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.process
def test_a_prepared_server_that_is_never_started_leaves_nothing(tmp_path: Path) -> None:
    """Its owner may be gone between two lives: then it is the one that deletes what the server kept."""
    state = tmp_path / "state"
    state.mkdir()

    async def main() -> None:
        waiting = await ServerProcess.prepared(Request("tcp", "embedded", state=str(state)), [])
        await waiting.end()
        assert waiting.process.returncode == 0

    asyncio.run(main())
    assert not state.exists()


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone lets a port be kept so")
def test_a_kept_port_is_for_servers_alone() -> None:
    with reserved_port("127.0.0.1") as port:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
                pass
