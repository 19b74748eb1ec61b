"""The command line as its contract says: streams, exit codes, one line for every error."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rtbench.cli import group, run_program
from tests.conftest import Program

QUICK = ("--trials", "1", "--duration", "200ms", "--warmup", "50ms", "--rate", "50")

REFUSED = [
    ("a run without a transport", ["run"], "--transport is missing"),
    ("an unknown transport", ["run", "--transport", "pigeon"], "unknown transport 'pigeon'; installed:"),
    ("QoS for a transport that has none", ["run", "--transport", "websocket", "--qos", "2"], "websocket has no --qos; mqtt has it"),
    ("an interval for a transport that has none", ["run", "--transport", "sse", "--interval", "1s"], "sse has no --interval; polling has it"),
    ("a QoS that does not exist", ["run", "--transport", "mqtt", "--qos", "3"], "mqtt has no --qos 3; it has 0, 1, 2"),
    ("rate 0", ["run", "--transport", "sse", "--rate", "0"], "--rate must be above 0"),
    ("a rate that is no number", ["run", "--transport", "sse", "--rate", "fast"], "--rate must be a number: got 'fast'"),
    ("a rate that is not finite", ["run", "--transport", "sse", "--rate", "nan"], "--rate must be a number: got 'nan'"),
    ("a time without sense", ["run", "--transport", "sse", "--duration", "2 parsec"], "write it with a unit"),
    ("an interval of 0", ["run", "--transport", "polling", "--interval", "0s"], "--interval must be above 0"),
    ("a payload below its header", ["run", "--transport", "sse", "--payload", "10"], "--payload must be at least 39 bytes"),
    ("nothing due in the duration", ["run", "--transport", "sse", "--rate", "0.1"], "sends nothing"),
    ("more publishers than subscribers hear", ["run", "--transport", "sse", "--publishers", "9", "--subscribers", "2"], "at least as many --subscribers"),
    ("an odd number in pairs", ["run", "--transport", "sse", "--pattern", "pairs", "--publishers", "3"], "even number"),
    ("an unknown pattern", ["run", "--transport", "sse", "--pattern", "ring"], "--pattern must be one of fan-out"),
    ("an unknown client", ["run", "--transport", "sse", "--client", "lean"], "sse has no client 'lean'; installed: library"),
    ("an unknown server", ["run", "--transport", "sse", "--server", "nchan"], "sse has no server 'nchan'; installed: embedded"),
    ("a server that no transport has", ["compare", "--server", "nchan"], "no transport has the server nchan"),
    ("no trials", ["run", "--transport", "sse", "--trials", "0"], "--trials must be 1 to"),
    ("a precision of 0", ["run", "--transport", "sse", "--precision", "0"], "--precision must be above 0 and below 100 %, such as 5% or 0.05: got '0'"),
    ("a precision that may be percent or not", ["run", "--transport", "sse", "--precision", "5"], "as 5% or 0.05: got '5'"),
    ("a precision that is no number", ["compare", "--precision", "abc"], "as 5% or 0.05: got 'abc'"),
    ("most trials below the first", ["compare", "--precision", "5%", "--trials", "8", "--most-trials", "7"], "--most-trials must be 8 to 10000 (--trials 8): got 7"),
    ("most trials for nothing", ["compare", "--most-trials", "7"], "--most-trials needs --precision"),
    ("an unknown option", ["run", "--transport", "sse", "--colour", "red"], "No such option '--colour'"),
    ("a control of a run", ["run", "--transport", "sse", "--no-control"], "No such option '--no-control'"),
    ("an unknown command", ["walk"], "No such command 'walk'"),
    ("an --out below a file", ["run", "--transport", "sse", "--out", "file/below"], "--out file/below cannot be written"),
    ("an --out that is a file", ["run", "--transport", "sse", "--out", "file"], "--out file is a file"),
    ("an --out that is not empty", ["run", "--transport", "sse", "--out", "full"], "--out full is not empty"),
    ("a missing --config", ["run", "--transport", "sse", "--config", "none.toml"], "--config none.toml cannot be read"),
    ("an unknown key in --config", ["run", "--config", "unknown.toml"], "unknown key 'colour'"),
    ("a --config that is no TOML", ["run", "--config", "file"], "is not TOML"),
    ("a result that is not there", ["chart", "nowhere"], "nowhere holds no result"),
    ("a result that is damaged", ["export", "damaged"], "cannot be read"),
]  # fmt: skip
REFUSED_TO_SERVE = [
    ("serving an unknown transport", ["serve", "pigeon"], "unknown transport 'pigeon'"),
    ("a user without a password", ["serve", "mqtt", "--username", "u"], "--username and a password"),
    ("an option that a server does not take", ["serve", "sse", "--max-queued", "5"], "takes no --max-queued"),
    ("a certificate without its key", ["serve", "sse", "--tls-cert", "file"], "--tls-cert and --tls-key go together"),
    ("a certificate that is none", ["serve", "sse", "--tls-cert", "file", "--tls-key", "file"], "cannot use file as a TLS certificate"),
    ("an address that is not ours", ["serve", "sse", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
]  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that the program is run in, without the variables of the user."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RTBENCH_")]:
        monkeypatch.delenv(name)
    return tmp_path


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that refuses some arguments."""
    assert run_program(arguments) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("\n") == 1
    return stderr


@pytest.mark.parametrize(("arguments", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_input_gets_one_line_and_exit_code_2(
    directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (directory / "file").write_text("something = of the user's\n")
    (directory / "unknown.toml").write_text('colour = "red"\n')
    (directory / "full").mkdir()
    (directory / "full" / "kept").write_text("kept")
    (directory / "damaged").mkdir()
    (directory / "damaged" / "result.json").write_text('{"schema": 1')
    before = sorted(path.name for path in directory.rglob("*"))
    assert said in refused(arguments, capsys)
    assert sorted(path.name for path in directory.rglob("*")) == before


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "said"), [row[1:] for row in REFUSED_TO_SERVE], ids=[row[0] for row in REFUSED_TO_SERVE]
)
def test_a_server_that_cannot_be_started_is_refused_in_one_line(
    directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (directory / "file").write_text("something = of the user's\n")
    assert said in refused(arguments, capsys)
    assert [path.name for path in directory.iterdir()] == ["file"]


@pytest.mark.process
def test_the_process_ends_with_the_exit_code(rtbench: Program) -> None:
    done = rtbench("run", "--transport", "pigeon")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "unknown transport 'pigeon'" in done.stderr


@pytest.mark.process
def test_a_missing_mosquitto_is_named_with_the_way_to_install_it(rtbench: Program) -> None:
    rtbench.environment["PATH"] = str(rtbench.directory)
    wrapped = ["-c", "import shutil; shutil.which = lambda *a, **k: None; from rtbench.cli import main; main()"]
    done = subprocess.run(
        [sys.executable, *wrapped, "run", "--transport", "mqtt", "--server", "mosquitto"],
        cwd=rtbench.directory,
        env=rtbench.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "apt-get install mosquitto" in done.stderr


@pytest.mark.process
def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rtbench.cli import run_program; run_program(['--help']); "
        "heavy = {'numpy', 'aiohttp', 'matplotlib', 'websockets', 'asyncio'} & set(sys.modules); sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.process
def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    commands = click.Context(group)
    names = group.list_commands(commands)
    assert names[:2] == ["run", "compare"]
    assert {*names} == {
        *(
            "run",
            "compare",
            "resume",
            "contract",
            "serve",
            "chart",
            "show",
            "export",
            "diff",
            "rerun",
            "idle",
            "transports",
            "doctor",
        )
    }
    for name in names:
        assert run_program([name, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"Usage: rtbench {name}")


@pytest.mark.process
def test_a_run_prints_its_table_on_stdout_and_the_rest_on_stderr(rtbench: Program) -> None:
    done = rtbench("run", "--transport", "websocket", *QUICK, "--out", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("websocket")
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "saved in out" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert rtbench("run", "--transport", "websocket", *QUICK, "--out", "quiet", "--quiet").stderr == ""


@pytest.mark.process
def test_json_is_the_whole_result(rtbench: Program) -> None:
    done = rtbench("run", "--transport", "mqtt", "--qos", "1", *QUICK, "--json", "--out", "out")
    content = json.loads(done.stdout)
    assert content["summary"][0]["variant"] == "mqtt-qos1"
    assert content["summary"][0]["delivered"] == 100
    saved = json.loads((rtbench.directory / "out" / "result.json").read_text())
    sums = ("files", "sha256")  # of the files, which are not printed
    assert {key: content[key] for key in saved if key not in sums} == {k: v for k, v in saved.items() if k not in sums}


@pytest.mark.process
def test_flags_beat_variables_beat_the_file_and_the_result_says_so(rtbench: Program) -> None:
    (rtbench.directory / "settings.toml").write_text('transport = "sse"\nrate = 20\npayload = 50\nduration = "150ms"\n')
    done = rtbench(
        *("run", "--config", "settings.toml", "--rate", "40", "--trials", "1", "--warmup", "0s", "--out", "out"),
        RTBENCH_RATE="30",
        RTBENCH_PAYLOAD="60",
    )
    assert done.returncode == 0, done.stderr
    settings = json.loads((rtbench.directory / "out" / "result.json").read_text())["settings"]
    assert settings["rate"] == {"value": 40.0, "source": "flag"}
    assert settings["payload"] == {"value": 60, "source": "environment"}
    assert settings["duration"] == {"value": 0.15, "source": "config"}
    assert settings["seed"] == {"value": 1, "source": "default"}


@pytest.mark.process
def test_export_gives_every_table_from_a_result_moved_elsewhere(rtbench: Program, comparison: Path) -> None:
    moved = rtbench.directory / "moved"
    shutil.copytree(comparison, moved)
    rows = {kind: _csv(rtbench("export", "moved", f"--{kind}")) for kind in ("summary", "trials", "deliveries")}
    assert len(rows["summary"]) == 8
    assert len(rows["trials"]) == 16
    assert rtbench("export", "moved").stdout == (moved / "summary.csv").read_text()
    assert rtbench("export", "moved", "--trials").stdout == (moved / "trials.csv").read_text()
    one = rows["deliveries"][0]
    assert int(one["latency_ns"]) == int(one["received_ns"]) - int(one["due_ns"])
    assert int(one["due_ns"]) <= int(one["sent_ns"]) <= int(one["received_ns"])
    assert int(one["arrived_ns"]) == 0 or int(one["sent_ns"]) < int(one["arrived_ns"]) < int(one["received_ns"])
    measured = sum(row["measured"] == "1" for row in rows["deliveries"])
    assert measured == sum(int(row["delivered"]) + int(row["duplicated"]) for row in rows["summary"])
    assert rtbench("export", "moved", "--deliveries", "--out", "all.csv").returncode == 0
    assert len((rtbench.directory / "all.csv").read_text().splitlines()) == len(rows["deliveries"]) + 1


def _csv(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.mark.process
def test_transports_lists_servers_and_clients(rtbench: Program) -> None:
    rows = json.loads(rtbench("transports", "--json").stdout)
    assert {(r["transport"], r["kind"], r["name"]) for r in rows} >= {
        ("polling", "server", "embedded"),
        ("tcp", "client", "library"),
        ("mqtt", "server", "mosquitto"),
        ("mqtt", "client", "library"),
    }
    assert "interval_s" in next(r["options"] for r in rows if r["transport"] == "polling" and r["kind"] == "client")


@pytest.mark.process
def test_doctor_looks_at_everything(rtbench: Program) -> None:
    done = rtbench("doctor")
    assert done.returncode in (0, 4)
    assert {line.split()[0] for line in done.stdout.splitlines()} <= {"fine", "note", "trouble"}
    assert "timer" in done.stdout


@pytest.mark.process
@pytest.mark.parametrize("transport", ["polling", "long-polling", "sse", "websocket", "mqtt"])
def test_serve_tells_its_url_and_ends_on_sigterm(rtbench: Program, transport: str) -> None:
    process = rtbench.start("serve", transport)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    host, _, port = told["url"].rpartition("/")[2].partition(":")
    assert host == "127.0.0.1"
    with socket.create_connection((host, int(port))):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    process.communicate()
    assert rtbench.processes() == []


@pytest.mark.process
def test_a_port_in_use_is_said_in_one_line(rtbench: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = rtbench("serve", "sse", "--port", port)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"port {port}" in done.stderr
    assert "in use" in done.stderr
