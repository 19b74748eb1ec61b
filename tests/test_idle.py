"""Idle connections, held for real and briefly, against what they must cost."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import rtbench as package
from rtbench.cli import run_program
from rtbench.errors import UsageError
from rtbench.experiments import runner
from rtbench.experiments.idle import IDLE
from rtbench.plan.settings import resolve
from rtbench.result.idle import report, sentence
from rtbench.table import Table
from rtbench.transports.records import IdlePlan
from rtbench.trial.coordinator import Coordinator
from rtbench.trial.idle_client import hold
from rtbench.trial.servers import RunningServer
from tests.conftest import Program, command_of, until
from tests.sharing import made_once

FEW, MORE = 40, 120  # so many that what is free in the heap of a new server is little beside them
INTERVAL_S = 0.2
SILENT = ["sse", "websocket", "mqtt-qos1"]
ALL = ["polling", *SILENT]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="bytes and private memory are known on Linux only")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    """The same connections, few and more of them; side by side, since nearly all of the time is waiting."""
    asked: dict[str, Any] = {
        "transport": ["polling", "sse", "websocket", "mqtt"],
        "qos": 1,
        "interval": INTERVAL_S,
        "duration": "1s",
    }

    def make(directory: Path) -> None:
        def measure(number: int) -> object:
            return package.idle(out=directory / str(number), connections=number, **asked)

        with ThreadPoolExecutor() as threads:
            list(threads.map(measure, (FEW, MORE)))

    directory = made_once(tmp_path_factory, "idle", make)
    return [package.load(directory / str(number)).summary for number in (FEW, MORE)]


@pytest.fixture(scope="module")
def few(both: list[Table]) -> Table:
    return both[0]


@pytest.fixture(scope="module")
def more(both: list[Table]) -> Table:
    return both[1]


@pytest.mark.process
def test_every_variant_is_measured_and_every_connection_held(few: Table) -> None:
    assert few.column("variant") == ALL
    assert few.column("error") == [None] * 4
    assert few.column("connections") == [FEW] * 4


@pytest.mark.parametrize("connections", [FEW, MORE])
@pytest.mark.alone
def test_each_polling_connection_asks_once_an_interval(few: Table, more: Table, connections: int) -> None:
    row = (few if connections == FEW else more)["polling"]
    assert row["requests_per_connection_hour"] == pytest.approx(3600 / INTERVAL_S, rel=0.2)


@on_linux
@pytest.mark.alone
def test_polling_pays_for_every_empty_answer(few: Table) -> None:
    row = few["polling"]
    a_request = row["wire_bytes_per_connection_hour"] / row["requests_per_connection_hour"]
    assert 300 < a_request < 1100  # facts of the wire: an empty poll takes 322 bytes at least, a browser's 1,025
    assert row["active_connections"] == FEW
    assert row["server_cpu_ms_per_connection_hour"] > 0


@on_linux
@pytest.mark.parametrize("variant", SILENT)
@pytest.mark.alone
def test_an_open_connection_is_silent(few: Table, more: Table, variant: str) -> None:
    for row in (few[variant], more[variant]):
        assert row["requests_per_connection_hour"] == 0
        assert row["wire_bytes_per_connection_hour"] == 0
        assert row["active_connections"] == 0


@on_linux
@pytest.mark.parametrize("variant", SILENT)
@pytest.mark.alone
def test_an_open_connection_costs_the_server_less_cpu_than_polling(few: Table, variant: str) -> None:
    cost = "server_cpu_ms_per_connection_hour"
    assert few[variant][cost] < few["polling"][cost] / 5


PAGES_BYTES = 8 * 4096  # the kernel gives memory in pages: so many may be had, or not yet, when it is read


@on_linux
@pytest.mark.parametrize("variant", ALL)
@pytest.mark.process
def test_memory_of_a_connection_does_not_depend_on_their_number(few: Table, more: Table, variant: str) -> None:
    one, other = (table[variant]["server_memory_bytes_per_connection"] for table in (few, more))
    assert 0 < one < 1e6
    assert 0 < other < 1e6
    assert abs(one - other) <= max(one, other) / 2 + PAGES_BYTES / FEW
    row = more[variant]
    assert row["server_memory_low_bytes"] <= other <= row["server_memory_high_bytes"]
    assert row["server_peak_rss_mb"] >= 0.9 * row["server_rss_mb"] > 5


@on_linux
@pytest.mark.process
def test_opening_takes_the_same_bytes_however_many_there_are(few: Table, more: Table) -> None:
    for variant in ALL:
        opening = few[variant]["opening_wire_bytes"]
        assert opening == pytest.approx(more[variant]["opening_wire_bytes"], rel=0.1)
        assert opening > 3 * 40 + 16  # SYN, SYN-ACK and ACK alone


@on_linux
@pytest.mark.process
def test_opening_mqtt_takes_what_its_packets_take() -> None:
    row = package.idle(connections=1, transport="mqtt", qos=0, duration="100ms").summary["mqtt-qos0"]
    handshake = 52 * 3 + 16
    least = 12 + 4 + 4 + 2 + 2 + len("idle") + 1 + 5  # CONNECT, CONNACK, SUBSCRIBE, SUBACK, an empty client id
    assert handshake + 4 * 52 + least <= row["opening_wire_bytes"] <= handshake + 8 * 52 + least + 23
    assert row["server_memory_low_bytes"] is None  # one connection has no halves


@pytest.mark.process
def test_the_report_says_that_hours_are_extrapolated(few: Table) -> None:
    text = report(few)
    assert max(map(len, text.splitlines())) <= 100
    assert f"extrapolated from {max(few.column('observed_s')):.3g} s observed" in " ".join(text.split())
    sentences = {row["variant"]: sentence(row) for row in few}
    assert "nothing new" in sentences["polling"]


@on_linux
@pytest.mark.process
def test_the_report_says_which_keep_alives_were_seen(few: Table) -> None:
    assert "no keep-alive fell into" in sentence(few["mqtt-qos1"])
    pinged = dict(few["mqtt-qos1"])  # as after 70 s: PINGREQ and PINGRESP, 2 bytes each, and an acknowledgement
    pinged |= {"observed_s": 36.0, "active_connections": 7}
    pinged |= {"wire_bytes_per_connection_hour": 160 * 100.0, "application_bytes_per_connection_hour": 4 * 100.0}
    assert f"7 of {FEW} connections exchanged something, on average 4 bytes above TCP and 160 on the wire" in sentence(
        pinged
    )


@pytest.mark.process
def test_doubt_is_said(few: Table) -> None:
    row = dict(few["sse"])
    assert "busy for 95 %" in sentence(row | {"verdict": "invalid", "client_cpu_percent": 95.0})
    assert "memory is uncertain" in sentence(row | {"server_memory_low_bytes": -1.0, "server_memory_high_bytes": 9e3})
    assert "waited for a core for 40 %" in sentence(
        row | {"server_waiting_percent": 40.0, "server_cpu_ms_per_connection_hour": 1.0}
    )
    assert "was not measured: no" in sentence(row | {"error": "no"})
    nothing = dict.fromkeys(("wire_bytes_per_connection_hour", "application_bytes_per_connection_hour"))
    assert "bytes are not counted" in sentence(row | nothing)
    assert "RSS" in sentence(row | {"server_memory_kind": "rss"})


class Broken(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(OSError("no process could be started"))
        return future


@pytest.mark.process
def test_a_variant_that_cannot_be_measured_leaves_a_reason_and_no_figure() -> None:
    given = {"connections": (1, "argument"), "transport": ("sse", "argument"), "duration": ("100ms", "argument")}
    result = runner.run(IDLE, resolve(given, IDLE.settings()), executor=Broken)
    (row,) = result.summary
    assert row["error"] == "no process could be started"
    assert row["server_memory_bytes_per_connection"] is row["requests_per_connection_hour"] is None
    assert "–" in result.report()
    assert result.exit_code() == 1


@pytest.mark.process
def test_connections_that_are_refused_say_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    async def refused() -> None:
        coordinator = Coordinator(["idle-client"])
        address = await coordinator.listen("127.0.0.1")
        coordinator.announce(RunningServer(f"http://127.0.0.1:{port}"))
        plan = IdlePlan(
            name="idle-client", control=address, token=coordinator.token, transport="sse", client="library",
            options={}, topic="t", batches=(1,),
        )  # fmt: skip
        with pytest.raises(OSError, match=str(port)):
            await asyncio.get_running_loop().run_in_executor(None, hold, plan)
        await coordinator.close()

    asyncio.run(refused())


@pytest.mark.process
def test_measuring_works_beside_a_running_event_loop_and_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    async def notebook() -> Table:
        return package.idle(connections=2, transport="websocket", duration="300ms", progress=True).summary

    assert asyncio.run(notebook())["websocket"]["error"] is None
    assert "left: websocket, observing 2 connections" in capsys.readouterr().err


def test_a_setting_that_does_not_concern_idle_connections_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"unknown option 'rate'; the options are .*connections, duration"):
        package.idle(rate=5)  # type: ignore[call-arg]


REFUSED = [
    ("no connections", ["--connections", "0"], "--connections must be 1 to 99999: got 0"),
    ("a number that is none", ["--connections", "many"], "--connections must be a whole number: got 'many'"),
    ("more than there are", ["--connections", "2000000000"], "--connections must be 1 to 99999"),
    ("no time", ["--duration", "0s"], "--duration must be above 0"),
    ("a time without sense", ["--duration", "soon"], "write it with ns, us, ms, s, m or h"),
    ("an unknown transport", ["--transport", "pigeon"], "unknown transport 'pigeon'"),
    ("an unknown server", ["--transport", "sse", "--server", "nginx"], "no transport has the server nginx"),
    ("a QoS for nobody", ["--transport", "sse", "--qos", "1"], "sse has no --qos; mqtt has it"),
    ("an interval of 0", ["--interval", "0s"], "--interval must be above 0"),
    ("an --out that cannot be", ["--out", "/dev/null/idle"], "--out /dev/null/idle cannot be written"),
    (
        "an unknown option",
        ["--rate", "5"],
        "rtbench idle has no --rate; run, compare, capacity, forecast, guarantees, sweep have it",
    ),
]


@pytest.mark.process
@pytest.mark.parametrize(("arguments", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_input_gets_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run_program(["idle", *arguments]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert said in written.err
    assert written.err.startswith("rtbench: ")
    assert written.err.count("\n") == 1


@pytest.mark.process
def test_more_connections_than_files_are_refused_before_anything_is_started(rtbench: Program) -> None:
    done = rtbench("idle", "--connections", "99999")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--connections 99999 needs" in done.stderr or "--connections 99999: this machine has ports" in done.stderr
    assert rtbench.processes() == list(rtbench.directory.iterdir()) == []


@pytest.mark.process
@pytest.mark.long
def test_rows_go_to_standard_output_and_to_a_directory(rtbench: Program) -> None:
    arguments = ("idle", "--transport", "sse", "--connections", "2", "--duration", "100ms")
    as_json = rtbench(*arguments, "--json", "--quiet", "--out", "out")
    assert (as_json.returncode, as_json.stderr) == (0, "")
    content = json.loads(as_json.stdout)
    assert content["status"] == "complete"
    (row,) = content["summary"]
    text = (rtbench.directory / "out" / "summary.csv").read_text()
    (saved,) = csv.DictReader(io.StringIO(text))
    assert list(saved) == list(row)
    assert float(saved["opening_wire_bytes"]) == row["opening_wire_bytes"]
    assert rtbench("export", "out").stdout == text
    assert [path.name for path in rtbench.directory.iterdir()] == ["out"]
    assert rtbench.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.process
def test_a_stopped_measurement_leaves_no_process(rtbench: Program, number: signal.Signals) -> None:
    process = rtbench.start("idle", "--transport", "websocket", "--connections", "5", "--duration", "60s")
    assert until(lambda: any("rtbench.trial.executor" in command_of(p) for p in rtbench.processes()))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    (saved,) = (rtbench.directory / "results").iterdir()
    where = saved.relative_to(rtbench.directory)
    assert stderr == f"rtbench: interrupted; 0 trials measured, saved in {where} as incomplete\n"
    assert until(lambda: rtbench.processes() == [])


@pytest.mark.process
def test_a_server_that_dies_is_a_reason_and_exit_code_1(rtbench: Program) -> None:
    process = rtbench.start("idle", "--transport", "websocket", "--connections", "5", "--duration", "60s")
    assert until(lambda: len(rtbench.processes()) == 3)
    serving = [p for p in rtbench.processes() if "rtbench.trial.server_process" in command_of(p)]
    serving[0].kill()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert "was not measured: the server died" in " ".join(stdout.split())
    assert rtbench.processes() == []
