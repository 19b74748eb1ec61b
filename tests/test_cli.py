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
from click.testing import CliRunner

from rtbench.cli import group, run_program
from rtbench.cli.chart import command as chart
from rtbench.cli.measuring import result_directory
from rtbench.links import packet_link
from rtbench.system import doctor
from rtbench.transports import registry
from tests.builders import REFERENCE
from tests.conftest import RTBENCH, Program

QUICK = ("--trials", "1", "--duration", "200ms", "--warmup", "50ms", "--rate", "50")


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
            "guarantees",
            "security",
            "lab",
            "sweep",
            "capacity",
            "forecast",
            "laws",
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


@pytest.mark.parametrize(("missing", "line"), [(None, "fine     packet link"), ("no Linux", "note     packet link")])
def test_doctor_says_whether_there_is_a_packet_link(
    missing: str | None, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packet_link, "packet_link_missing", lambda: missing)
    for module, checks in ((doctor, "examine"), (registry, "broken_servers")):
        monkeypatch.setattr(module, checks, list)
    assert run_program(["doctor"]) == 0
    [said] = capsys.readouterr().out.splitlines()
    assert said.startswith(line)
    assert (missing or "blackhole") in said


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


def test_default_directories_never_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with result_directory(None, "run") as first, result_directory(None, "run") as second:
        assert first != second
        (first / "result.json").write_text("{}")
    assert (first.exists(), second.exists()) == (True, False)


def test_presets_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for preset in ("slides", "dark"):
        one = ["--chart", "server-cpu", "--format", "svg", "--preset", preset, "--out", str(tmp_path)]
        assert CliRunner().invoke(chart, [str(REFERENCE), *one]).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["server-cpu-dark.svg", "server-cpu.svg"]


@pytest.mark.process
@pytest.mark.parametrize("transport", ["sse", "mqtt"])
def test_nothing_is_imported_from_the_working_directory(rtbench: Program, transport: str) -> None:
    for name in (
        "queue",
        "http",
        "random",
        "json",
        "asyncio",
        "socket",
        "email",
        "numpy",
        "rtbench",
        "servers",
        "clients",
    ):
        (rtbench.directory / f"{name}.py").write_text(
            f"raise SystemExit('{name}.py of the working directory was imported')"
        )
    done = rtbench("run", "--transport", transport, *QUICK, "--subscribers", "1", "--out", "out")
    assert done.returncode == 0, done.stderr


@pytest.mark.process
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_names_of_transports_are_completed(rtbench: Program, shell: str) -> None:
    words = {"COMP_WORDS": "rtbench run --transport web", "COMP_CWORD": "3" if shell != "fish" else "web"}
    done = rtbench(_RTBENCH_COMPLETE=f"{shell}_complete", **words)
    assert "websocket" in done.stdout
    assert "polling" not in done.stdout
    script = rtbench(_RTBENCH_COMPLETE=f"{shell}_source")
    assert "_RTBENCH_COMPLETE" in script.stdout


@pytest.mark.process
def test_the_lines_to_try_a_server_with_are_printed_on_a_terminal_and_work(rtbench: Program) -> None:
    ours, theirs = os.openpty()
    serving = subprocess.Popen(
        [*RTBENCH, "serve", "polling"], cwd=rtbench.directory, stdout=theirs, env=rtbench.environment
    )
    os.close(theirs)
    try:
        text = ""
        while text.count("curl") < 2:
            text += os.read(ours, 4096).decode()
        lines = [line.strip() for line in text.splitlines()[1:]]
        assert json.loads(text.splitlines()[0])["transport"] == "polling"
        if shutil.which("curl"):
            answers = [
                subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20).stdout for line in lines
            ]
            assert answers[1].endswith("hello")
    finally:
        serving.terminate()
        serving.wait(20)
        os.close(ours)
