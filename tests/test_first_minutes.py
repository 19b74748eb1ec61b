"""What somebody meets in the first minutes: wrong words, wrong values, narrow terminals, files in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from click.testing import CliRunner

import rtbench as package
from rtbench.cli import run_program
from rtbench.cli.measuring import result_directory
from rtbench.experiments.compare import COMPARISON
from rtbench.experiments.idle import IDLE
from rtbench.keywords import CompareKeywords, IdleKeywords, RunKeywords
from rtbench.result.result import Result
from rtbench.table import LEAST_WIDTH, Table
from rtbench.units import clock, plain
from tests import builders
from tests.builders import REFERENCE, idle_result, variant
from tests.conftest import RTBENCH, Program

QUICK = ("--duration", "200ms", "--warmup", "0", "--trials", "1", "--subscribers", "1")


def test_default_directories_never_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with result_directory(None, "run") as first, result_directory(None, "run") as second:
        assert first != second
        (first / "result.json").write_text("{}")
    assert (first.exists(), second.exists()) == (True, False)


@pytest.mark.parametrize(("value", "text"), [(990.0, "990"), (0.00005, "0.00005"), (12345.6, "12300"), (0.5, "0.5")])
def test_numbers_in_sentences_are_plain(value: float, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(4.6, "0:05"), (754, "12:34"), (5400, "1:30:00"), (3600, "1:00:00")])
def test_a_long_time_is_shown_with_hours(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.process
@pytest.mark.parametrize(
    ("experiment", "keywords"),
    [(COMPARISON, CompareKeywords), (IDLE, IdleKeywords)],
    ids=["compare", "idle"],
)
def test_every_option_is_a_typed_keyword(experiment: Any, keywords: type) -> None:
    assert {"transport", *get_type_hints(keywords)} == set(experiment.settings())
    compared = {name for name, setting in COMPARISON.settings().items() if setting.compared}
    assert set(get_type_hints(RunKeywords)) == set(get_type_hints(CompareKeywords)) - compared


@pytest.mark.process
def test_a_type_checker_finds_a_wrong_keyword(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text('import rtbench\n\nrtbench.run("mqtt", qos=2, duration="5s").report()\n')
    (tmp_path / "wrong.py").write_text(
        'import rtbench\n\nrtbench.run("mqtt", trails=2)\nrtbench.run("mqtt", rate="x")\n'
    )
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--cache-dir", str(tmp_path / "cache")]
    environment = {**os.environ, "MYPYPATH": str(REFERENCE.parents[1])}
    done = subprocess.run(
        [*command, "right.py", "wrong.py", "--follow-imports", "silent"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "right.py" not in done.stdout, done.stdout
    assert 'wrong.py:3: error: Unexpected keyword argument "trails"' in done.stdout, done.stdout + done.stderr
    assert "wrong.py:4" in done.stdout


def wide() -> Iterator[tuple[str, Result[Any]]]:
    yield "reference", package.load(REFERENCE)
    yield "idle", idle_result(variant("websocket"), variant("a-transport-with-a-long-name"))
    yield "long names", builders.comparison([variant("a-transport-with-quite-a-long-name-of-its-own", slot=5)])


@pytest.mark.parametrize("columns", [60, 72, 80, 100])
def test_the_report_fits_the_terminal(columns: int) -> None:
    for name, result in wide():
        text = result.report(columns)
        assert max(map(len, text.splitlines())) <= columns, name
        assert "verdict" in text or name == "idle"


def test_what_is_left_out_of_a_narrow_table_is_said() -> None:
    result = package.load(REFERENCE)
    narrow, whole = (" ".join(result.report(columns).split()) for columns in (LEAST_WIDTH, 100))
    assert "Left out, because the terminal is narrow: CPU us" in narrow
    assert "Left out" not in whole


def test_a_saved_result_is_printed_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["show", str(REFERENCE)]) == 0
    assert capsys.readouterr().out.rstrip("\n") == package.load(REFERENCE).report()
    assert run_program(["show", str(REFERENCE), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "comparison"
    assert run_program(["show", "nowhere"]) == 2


def test_the_table_is_had_for_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["export", str(REFERENCE), "--markdown"]) == 0
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("| variant | net+srv |")
    assert set(rule) == set("| -:")
    assert len(rows) == len(package.load(REFERENCE).variants)
    assert all(row.count("|") == head.count("|") for row in rows)
    assert "a\\|b" in Table([{"x": "a|b"}]).to_markdown()


def test_presets_do_not_overwrite_each_other(tmp_path: Path) -> None:
    from rtbench.cli.chart import command

    for preset in ("slides", "dark"):
        one = ["--chart", "server-cpu", "--format", "svg", "--preset", preset, "--out", str(tmp_path)]
        assert CliRunner().invoke(command, [str(REFERENCE), *one]).exit_code == 0
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
    done = rtbench("run", "--transport", transport, *QUICK, "--out", "out")
    assert done.returncode == 0, done.stderr


PRINTS = "print('a word that nobody asked for')\n"


def install(directory: Path, server: str, client: str) -> None:
    """Put a distribution with a transport `other` where Python finds it."""
    info = directory / "other-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    points = "[rtbench.servers]\nother = other_server\n[rtbench.clients]\nother = other_client\n"
    (info / "entry_points.txt").write_text(points)
    (directory / "other_server.py").write_text(server)
    (directory / "other_client.py").write_text(client)


def path_with(directory: Path) -> str:
    return os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])


SERVER = "from rtbench.servers.tcp import serve\n"
CLIENT = "from rtbench.clients.tcp import connect\n"


@pytest.mark.process
def test_a_module_that_prints_breaks_nothing(rtbench: Program) -> None:
    installed = rtbench.directory / "installed"
    install(installed, PRINTS + SERVER, PRINTS + CLIENT)
    done = rtbench("run", "--transport", "other", *QUICK, "--json", "--out", "out", PYTHONPATH=path_with(installed))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["variants"][0]["name"] == "other"


@pytest.mark.process
@pytest.mark.parametrize(
    ("server", "client", "said"),
    [
        (SERVER, "\n\nimport nowhere\n" + CLIENT, "No module named 'nowhere' (other_client.py, line 3)"),
        (SERVER, CLIENT + "\n1 / 0\n", "ZeroDivisionError: division by zero (other_client.py, line 3)"),
        (SERVER, CLIENT + "\ndef (:\n", "SyntaxError: invalid syntax (other_client.py, line 3)"),
        (SERVER + "\nraise ValueError('no')\n", CLIENT, "ValueError: no (other_server.py, line 3)"),
    ],
    ids=["an import", "an exception", "no Python", "a server"],
)
def test_a_broken_plugin_is_named_with_its_line(rtbench: Program, server: str, client: str, said: str) -> None:
    installed = rtbench.directory / "installed"
    install(installed, server, client)
    environment = {"PYTHONPATH": path_with(installed)}
    alone = rtbench("run", "--transport", "other", *QUICK, "--out", "alone", **environment)
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 1)
    assert said in alone.stderr
    listed = rtbench("transports", **environment)
    assert said in listed.stdout


@pytest.mark.process
def test_a_broken_plugin_is_left_out_of_a_comparison_of_everything(rtbench: Program) -> None:
    installed, said = rtbench.directory / "installed", "ZeroDivisionError: division by zero (other_client.py, line 3)"
    install(installed, SERVER, CLIENT + "\n1 / 0\n")
    environment = {"PYTHONPATH": path_with(installed)}
    compared = rtbench("compare", "--no-sparse", *QUICK, "--out", "compared", **environment)
    assert compared.returncode == 0, compared.stderr
    assert "rtbench: other is left out: the " in compared.stderr
    assert said in compared.stderr
    names = [v["name"] for v in json.loads((rtbench.directory / "compared" / "result.json").read_text())["variants"]]
    assert "websocket" in names
    assert "other" not in names


@pytest.mark.process
def test_an_exception_of_a_server_that_starts_stands_in_the_message(rtbench: Program) -> None:
    installed = rtbench.directory / "installed"
    broken = "async def serve(listener):\n    yield {}['url']\n"
    install(installed, "from contextlib import asynccontextmanager\n\n\n@asynccontextmanager\n" + broken, CLIENT)
    done = rtbench("run", "--transport", "other", *QUICK, "--out", "out", PYTHONPATH=path_with(installed))
    assert done.returncode == 1
    assert "KeyError: 'url' (other_server.py, line 6)" in " ".join(done.stdout.split())


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
