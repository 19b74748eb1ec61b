"""The two hops of a delivery apart, in time and in bytes: publisher to server, and server to subscriber."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import rtbench
from rtbench.experiments.compare import load_comparison
from rtbench.plan import payload
from rtbench.result.comparison import Comparison
from rtbench.result.exports import delivery_lines
from rtbench.transports import Feed, relay_log
from rtbench.transports.records import PublisherRecord
from rtbench.trial import server_process
from rtbench.trial.coordinator import ClockOffset
from rtbench.trial.merging import merged
from rtbench.wire.tcp import Direction, Wire
from tests import builders, sabotage
from tests.conftest import Program, until
from tests.programs import needs

HOPS = ("publish_hop_mean_ms", "delivery_hop_mean_ms")
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's receive stamps and TCP_INFO are Linux's")


# The log of a server


@pytest.fixture
def log() -> Iterator[None]:
    """Leave the log of this process as it was: off."""
    relay_log.turn_off()
    yield
    relay_log.turn_off()


@pytest.mark.usefixtures("log")
def test_a_server_notes_nothing_unless_it_is_in_a_trial() -> None:
    Feed[bytes]().append(payload.build(0, 0, 0, 100))
    assert relay_log.rows() == b""
    relay_log.turn_on()
    Feed[bytes]().append(payload.build(0, 0, 0, 100))
    assert len(relay_log.rows()) == relay_log.ROW_BYTES


@pytest.mark.usefixtures("log")
def test_a_short_message_is_noted_and_a_text_is_not() -> None:
    relay_log.turn_on()
    feed: Feed[str | bytes] = Feed()
    feed.append("a text")
    feed.append(b"short")
    assert len(relay_log.rows()) == relay_log.ROW_BYTES
    assert relay_log.rows()[8:] == b"short".ljust(payload.HEADER_BYTES, b"\0")


def row(sequence: int, at_ns: int, publisher: int = 0) -> bytes:
    return at_ns.to_bytes(8, sys.byteorder) + payload.build(publisher, sequence, 0, payload.HEADER_BYTES)


def relayed_ns(relay_log: bytes | None, offset_ns: int = 0) -> list[int]:
    """Merge three messages, due at 1,000, 1,100 and 1,200 on the coordinator's clock; the trial starts at 1,000."""
    times = array("q", [1000 + offset_ns, 1100 + offset_ns, 1200 + offset_ns])
    record = PublisherRecord(
        array("i", [0, 0, 0]), array("i", [0, 1, 2]), times, times, times, times, array("b", [2, 2, 2])
    )
    found = merged([(record, ClockOffset(offset_ns, 0))], [], [np.array([0, 100, 200])], relay_log)
    assert found is not None
    return [int(at_ns) for at_ns in found[0].relayed_ns]


def test_a_stamp_goes_to_its_message_and_counts_from_the_start() -> None:
    assert relayed_ns(row(1, 1150) + row(0, 1050) + row(2, 1250)) == [50, 150, 250]


def test_the_clock_of_a_publisher_does_not_move_the_stamp_of_the_server() -> None:
    assert relayed_ns(row(0, 1050) + row(1, 1150) + row(2, 1250), offset_ns=10**9) == [50, 150, 250]


def test_of_a_message_that_is_relayed_twice_the_first_stamp_counts() -> None:
    assert relayed_ns(row(0, 1050) + row(1, 1150) + row(1, 1180) + row(2, 1250)) == [50, 150, 250]


@pytest.mark.parametrize(
    "other", [b"", row(payload.PROBE, 1150), row(1, 1150, publisher=7), (1150).to_bytes(8, sys.byteorder) + b"x" * 39]
)
def test_a_message_without_a_stamp_of_its_own_has_none(other: bytes) -> None:
    assert relayed_ns(row(0, 1050) + other + row(2, 1250)) == [50, 0, 250]


@pytest.mark.parametrize("nothing", [None, b""])
def test_a_server_that_does_not_tell_leaves_all_stamps_unknown(nothing: bytes | None) -> None:
    assert relayed_ns(nothing) == [0, 0, 0]


# The stages


def of_one_trial(**made: Any) -> Comparison:
    return builders.comparison(
        [builders.variant("sse")], lambda workload, *_: builders.trial(workload, stamped=True, **made), trials=1
    )


def test_the_hops_meet_where_the_server_relays_and_add_up() -> None:
    (found,) = of_one_trial(latency_ns=900_000, lag_ns=100_000, relayed_after_ns=250_000).summary
    stages = {name: found[f"{name}_mean_ms"] for name in ("lag", "publish_hop", "delivery_hop", "client")}
    assert stages == pytest.approx({"lag": 0.1, "publish_hop": 0.15, "delivery_hop": 0.35, "client": 0.3})
    assert found["network_server_mean_ms"] == pytest.approx(0.5)


def test_a_hop_below_zero_is_not_made_zero() -> None:
    (found,) = of_one_trial(latency_ns=900_000, lag_ns=100_000, relayed_after_ns=610_000).summary
    assert found["delivery_hop_mean_ms"] == pytest.approx(-0.01)


def test_one_message_without_a_stamp_leaves_the_hops_empty_and_their_sum_there() -> None:
    relayed = np.full(60, 250_000)
    relayed[30] = -(2**40)  # before the start: no stamp is
    result = of_one_trial(latency_ns=900_000, lag_ns=100_000, relayed_after_ns=relayed)
    (found,) = result.summary
    assert [found[name] for name in HOPS] == [None, None]
    assert found["network_server_mean_ms"] == pytest.approx(0.5)


def test_the_export_has_the_stamp_of_the_message_in_each_delivery() -> None:
    result = of_one_trial(relayed_after_ns=250_000)
    lines = list(csv.DictReader(delivery_lines(result)))
    assert len(lines) == 60 * result.workload.subscribers
    assert {int(line["relayed_ns"]) - int(line["due_ns"]) for line in lines} == {250_000}


# Bytes


def test_data_bytes_are_the_same_however_many_bare_acknowledgements_there_are() -> None:
    def found(acks: int) -> Any:
        up = Direction(100 * 60, 60, 0, 52 * 60)
        down = Direction(100 * 600, 600, 0, 52 * 600)
        ack = Direction(0, acks, acks, 52 * acks, 52 * acks)
        wires = {"publisher_run_wire": Wire(1, up, ack), "subscriber_run_wire": Wire(10, ack, down)}
        (row,) = of_one_trial(deliveries=600, published_in_all=60, **wires).summary
        return row

    few, many = found(0), found(300)
    for hop, size in (("publish", 15.2), ("delivery", 152), ("data", 167.2)):
        assert few[f"{hop}_bytes_per_delivery"] == many[f"{hop}_bytes_per_delivery"] == pytest.approx(size)
    assert few["wire_bytes_per_delivery"] == pytest.approx(167.2)
    assert many["wire_bytes_per_delivery"] == pytest.approx(167.2 + 52)
    assert many["publish_ack_bytes_per_delivery"] == many["delivery_ack_bytes_per_delivery"] == pytest.approx(26)
    assert many["tcp_ip_bytes_per_delivery"] == few["tcp_ip_bytes_per_delivery"]


def test_the_bytes_of_a_hop_have_an_interval() -> None:
    columns = of_one_trial().summary.columns
    for name in ("publish", "delivery", "data"):
        assert {f"{name}_low_bytes_per_delivery", f"{name}_high_bytes_per_delivery"} <= set(columns)


@pytest.mark.process
@linux
def test_hops_and_layers_add_up_in_a_real_run(comparison: Path) -> None:
    for row in load_comparison(comparison).summary:
        hops = [row[f"{name}_bytes_per_delivery"] for name in ("publish", "delivery")]
        assert sum(hops) == pytest.approx(row["data_bytes_per_delivery"])
        assert sum(hops) + row["ack_bytes_per_delivery"] == pytest.approx(row["wire_bytes_per_delivery"])
        for layer in ("payload", "framing", "ack", "tcp_ip"):
            of_hops = [row[f"{hop}_{layer}_bytes_per_delivery"] for hop in ("publish", "delivery")]
            assert sum(of_hops) == pytest.approx(row[f"{layer}_bytes_per_delivery"])


# Real servers


@pytest.mark.process
def test_every_embedded_server_tells_when_it_relays_each_message(comparison: Path) -> None:
    result = load_comparison(comparison)
    for variant in result.variants:
        times = result.samples(variant.name)
        assert (times["sent_ns"] < times["relayed_ns"]).all()
        assert (times["relayed_ns"] < times["received_ns"]).all()


@pytest.fixture(scope="module")
def slow_hops(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[float, float]]:
    """The means of both hops, by transport and server: one as it should be, and one slow on either hop."""
    directory = tmp_path_factory.mktemp("slow-hops")
    sabotage.install(directory)
    path = os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])
    servers = [word for name in ("embedded", "inbound", "outbound") for word in ("--server", name)]
    transports = [word for name in ("tcp", "websocket", "mqtt") for word in ("--transport", name)]
    size = (
        "--qos",
        "0",
        "--subscribers",
        "1",
        "--rate",
        "20",
        "--duration",
        "1s",
        "--warmup",
        "100ms",
        "--trials",
        "1",
    )
    done = Program(directory)("compare", *transports, *servers, *size, "--out", "out", PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    with (directory / "out" / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(row["transport"], row["server"]): (float(row[HOPS[0]]), float(row[HOPS[1]])) for row in rows}


@pytest.mark.parametrize("transport", ["tcp", "websocket", "mqtt"])
@pytest.mark.process
@pytest.mark.long
@linux
def test_what_is_slow_on_the_way_in_is_in_the_publish_hop_alone(slow_hops: Any, transport: str) -> None:
    usual, slow = slow_hops[transport, "embedded"], slow_hops[transport, "inbound"]
    assert slow[0] > 3 * usual[0]
    assert slow[0] > 3 * slow[1]


@pytest.mark.parametrize("transport", ["tcp", "websocket", "mqtt"])
@pytest.mark.process
@pytest.mark.long
@linux
def test_what_is_slow_on_the_way_out_is_in_the_delivery_hop_alone(slow_hops: Any, transport: str) -> None:
    usual, slow = slow_hops[transport, "embedded"], slow_hops[transport, "outbound"]
    assert slow[1] > 3 * usual[1]
    assert slow[1] > 3 * slow[0]


@needs("mosquitto")
@pytest.mark.process
@linux
def test_a_broker_that_is_not_ours_has_the_sum_of_both_hops_and_neither() -> None:
    few: dict[str, Any] = {"trials": 1, "duration": "400ms", "warmup": "100ms"}
    (row,) = rtbench.run(transport="mqtt", server="mosquitto", qos=0, **few).summary
    assert [row[name] for name in HOPS] == [None, None]
    assert row["network_server_mean_ms"] > 0


@pytest.mark.process
def test_two_may_ask_at_the_same_time() -> None:
    async def ask() -> tuple[bytes | None, bytes | None]:
        async with server_process.server_process("tcp", "embedded") as server:
            return await asyncio.gather(server.relay_log(), server.relay_log())

    assert [*asyncio.run(ask())] == [b"", b""]


# A server process that does not answer


@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP here")
def test_a_server_process_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> tuple[bytes | None, bytes | None]:
        async with server_process.server_process("tcp", "embedded") as server:
            before = await server.relay_log()
            monkeypatch.setattr(server_process, "ANSWER_WITHIN_S", 0.1)
            os.kill(server.pid, signal.SIGSTOP)
            assert until(lambda: psutil.Process(server.pid).status() == psutil.STATUS_STOPPED)
            return before, await server.relay_log()

    assert asyncio.run(ask()) == (b"", None)


@pytest.mark.process
@pytest.mark.parametrize(
    "answer",
    ["", "no JSON", "[]", "1", json.dumps({"bytes": 10}) + "\nshort"],
    ids=["nothing", "text", "list", "number", "cut"],
)
def test_an_answer_that_is_not_one_is_no_log(answer: str) -> None:
    async def ask() -> bytes | None:
        pipe = asyncio.subprocess.PIPE
        program = f"input(); print({answer!r}, end='', flush=True)"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
        found = await server_process.ServerProcess(server_process.Request("tcp", "embedded"), process).relay_log()
        await process.wait()
        return found

    assert asyncio.run(ask()) is None


@pytest.mark.process
@pytest.mark.parametrize(("keeps_log", "rows"), [(True, b"BB"), (False, b"AABB")], ids=["whole life", "since the last"])
def test_an_answer_that_comes_too_late_is_part_of_the_next(
    keeps_log: bool, rows: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> tuple[bytes | None, bytes | None]:
        pipe = asyncio.subprocess.PIPE
        program = """if True:
            import os
            os.read(0, 1)
            os.write(1, b'{"bytes": 2}\\nA')
            os.read(0, 1)
            os.write(1, b'A{"bytes": 2}\\nBB')
            os.read(0, 1)
        """
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
        request = server_process.Request("tcp", "embedded", keeps_log=keeps_log)
        asked = server_process.ServerProcess(request, process)
        with monkeypatch.context() as few:
            few.setattr(server_process, "ANSWER_WITHIN_S", 0.5)
            first = await asked.relay_log()
        second = await asked.relay_log()
        await asked.end()
        return first, second

    assert asyncio.run(ask()) == (None, rows)
