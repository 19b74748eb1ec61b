"""How the tests themselves are run: what is skipped, shared, guarded and run again."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs
from tests.conftest import until
from tests.guard import Guard
from tests.sharing import made_once

ROOT = Path(__file__).parents[1]
HOW = ("__init__.py", "conftest.py", "busy.py", "guard.py", "mqtt_peers.py", "programs.py", "sharing.py")
FOREIGN = {"_setupstate", "_sock", "_sock_recv", "_packet_read", "_repr_html_"}  # of pytest, paho-mqtt, IPython


def private_names(source: str) -> list[str]:
    """Return what a program takes of others though its name begins with an underscore."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            found += [str(a.value) for a in node.args[1:2] if isinstance(a, ast.Constant)]
    return [name for name in found if name.startswith("_") and not name.startswith("__") and name not in FOREIGN]


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_no_private_name_of_the_product_is_used(folder: str) -> None:
    used = {str(path): private_names(path.read_text(encoding="utf-8")) for path in (ROOT / folder).rglob("*.py")}
    assert {path: names for path, names in used.items() if names} == {}


def test_what_was_not_tested_is_said_with_one_command() -> None:
    assert programs.not_tested([]) == []
    assert programs.not_tested([("mosquitto_pub",)]) == [
        "1 test was not run: not installed here: mosquitto_pub",
        "to run them too: sudo apt-get install mosquitto-clients",
    ]
    assert programs.not_tested([("mosquitto",), ("curl",), ("mosquitto_pub", "mosquitto_sub")]) == [
        "3 tests were not run: not installed here: curl, mosquitto, mosquitto_pub, mosquitto_sub",
        "to run them too: sudo apt-get install curl mosquitto mosquitto-clients",
    ]


def test_what_is_shared_is_made_once_by_all_workers(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setattr(tmp_path_factory, "getbasetemp", lambda: tmp_path / "worker")
    calls: list[str] = []

    def make(directory: Path) -> None:
        calls.append("made")
        (directory / "half").touch()
        if len(calls) == 1:
            raise OSError("the first worker fails")
        (directory / "content").write_text("whole")

    with pytest.raises(OSError, match="the first worker fails"):
        made_once(tmp_path_factory, "thing", make)
    directories = [made_once(tmp_path_factory, "thing", make) for _ in range(3)]
    assert calls == ["made", "made"]
    assert {(directory / "content").read_text() for directory in directories} == {"whole"}


@pytest.mark.process
def test_a_process_or_a_connection_is_seen() -> None:
    guard = Guard()
    subprocess.run(["true"], check=True)
    assert guard.seen == []
    guard.on = True
    subprocess.run(["true"], check=True)
    guard.on = False
    assert guard.seen
    assert "true" in guard.seen[0]


FAILS_FIRST = """
import json, pathlib, pytest
runs = pathlib.Path("runs")

@pytest.fixture(scope="module")
def measured():
    with runs.open("a") as file:
        file.write("x")
    return len(runs.read_text())

@pytest.mark.alone
def test_one(measured):
    while not pathlib.Path("busy").exists():
        pass
    assert measured > 1

@pytest.mark.alone
def test_other(measured):
    assert measured == 2
"""
SPIN = "while True: pass"


@pytest.mark.alone
def test_what_fails_on_a_busy_machine_says_so_and_is_run_again_and_what_fails_on_a_quiet_one_fails(
    tmp_path: Path,
) -> None:
    (tmp_path / "tests").mkdir()
    for name in HOW:
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    (tmp_path / "tests" / "test_fake.py").write_text(FAILS_FIRST)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(tmp_path), "tests"]
    pytest_ = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert until(lambda: (tmp_path / "runs").exists())
    with subprocess.Popen([sys.executable, "-c", SPIN]) as spinner:
        assert not until(lambda: pytest_.poll() is not None, within_s=1.0)
        (tmp_path / "busy").touch()
        until(lambda: False, within_s=0.5)
        spinner.kill()
    said, _ = pytest_.communicate(timeout=120)
    assert pytest_.returncode == 0, said
    assert (tmp_path / "runs").read_text() == "xx"
    assert "test_one: other programs used" in said.splitlines()[-1]

    (tmp_path / "runs").unlink()
    alone = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    assert alone.returncode == 1
    assert "other programs used" not in alone.stdout
    assert (tmp_path / "runs").read_text() == "x"
