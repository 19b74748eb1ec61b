from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rtbench.conformance.running import run
from rtbench.conformance.subject import Subject
from tests import plugins
from tests.sharing import made_once

REPOSITORY = Path(__file__).parents[1]
TUTORIAL = REPOSITORY / "docs" / "adding-a-transport.md"
RTBENCH = str(Path(sys.executable).with_name("rtbench"))
FILE = re.compile(r"^`(?P<name>[\w.-]+)`(?P<continued>, continued)?:\n\n```\w+\n(?P<code>.*?)^```$", re.M | re.S)


def files_of(text: str) -> dict[str, str]:
    files: dict[str, list[str]] = {}
    for block in FILE.finditer(text):
        assert bool(block["continued"]) == (block["name"] in files), f"{block['name']} is begun twice, or never"
        files.setdefault(block["name"], []).append(block["code"])
    return {name: "\n".join(parts) for name, parts in files.items()}


class Reader:
    """Somebody who has typed in the tutorial and installed what it gave."""

    def __init__(self, installed: Path) -> None:
        path = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

    def runs(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def runs_rtbench(self, *arguments: str) -> str:
        return self.runs(RTBENCH, *arguments)

    @contextmanager
    def serves(self) -> Iterator[int]:
        """Serve raw-tcp; yield the port."""
        command = [RTBENCH, "serve", "raw-tcp"]
        with subprocess.Popen(command, cwd=REPOSITORY, env=self.environment, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                url = json.loads(process.stdout.readline())["url"]
                assert url.startswith("tcp://127.0.0.1:")
                yield urlsplit(url).port or 0
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    files = files_of(TUTORIAL.read_text(encoding="utf-8"))
    assert sorted(files) == ["pyproject.toml", "rtbench_raw_tcp.py", "rtbench_zmq.py"]

    def make(directory: Path) -> None:
        (directory / "source").mkdir()
        for name in ("pyproject.toml", "rtbench_raw_tcp.py"):
            (directory / "source" / name).write_text(files[name], encoding="utf-8")
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        where = ("--target", str(directory / "installed"), str(directory / "source"))
        Reader(directory).runs(*pip, "--no-deps", "--no-build-isolation", *where)

    return Reader(made_once(tmp_path_factory, "rtbench-raw-tcp", make) / "installed")


def test_it_says_how_many_pieces_the_module_has() -> None:
    pieces = [block["name"] for block in FILE.finditer(TUTORIAL.read_text(encoding="utf-8"))]
    assert pieces.count("rtbench_raw_tcp.py") == 8
    assert "is shown in eight pieces" in TUTORIAL.read_text(encoding="utf-8")


@pytest.mark.process
def test_it_is_listed_as_server_and_as_client(reader: Reader) -> None:
    lines = [line.split() for line in reader.runs_rtbench("transports").splitlines()]
    assert [line[:3] for line in lines if line[0] == "raw-tcp"] == [
        ["raw-tcp", "server", "embedded"],
        ["raw-tcp", "client", "library"],
    ]


@pytest.mark.process
def test_it_fulfils_the_contract(reader: Reader) -> None:
    said = reader.runs_rtbench("contract", "raw-tcp")
    shown = re.search(r"\n(raw-tcp \(.*\n.*\n.*\n)\.\.\.\n", TUTORIAL.read_text(encoding="utf-8"))
    assert shown
    assert said.startswith(shown[1])
    assert ", 0 failed" in said.splitlines()[-1]


@pytest.mark.process
def test_it_can_be_spoken_to_by_hand(reader: Reader) -> None:
    typed = re.findall(r"^\$ printf '(.*)' >&\d$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE)
    subscribe, publish = (re.sub(r"\\(\d)", lambda digit: chr(int(digit[1])), text).encode() for text in typed)
    with reader.serves() as port, connection_to(port) as subscriber, connection_to(port) as publisher:
        subscriber.sendall(subscribe)
        answer = subscriber.makefile("rb")
        assert answer.read(len(subscribe)) == subscribe
        publisher.sendall(publish)
        assert answer.read(len(publish)) == publish


def connection_to(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


@pytest.mark.process
@pytest.mark.long
def test_it_takes_part_in_a_comparison(reader: Reader, tmp_path: Path) -> None:
    out = tmp_path / "result"
    said = reader.runs_rtbench(
        *("compare", "--no-sparse", "--transport", "raw-tcp", "--transport", "websocket"),
        *("--trials", "1", "--duration", "500ms", "--warmup", "100ms", "--out", str(out)),
    )
    assert "sends a frame of seven bytes and the topic" in said
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"raw-tcp", "websocket", "tcp"}
    for row in rows.values():
        assert int(row["expected"]) > 0
        assert row["delivered"] == row["expected"]
        assert [row[count] for count in ("lost", "duplicated", "reordered", "corrupt")] == ["0"] * 4


@pytest.mark.process
@pytest.mark.long
def test_it_can_be_run_alone(reader: Reader, tmp_path: Path) -> None:
    reader.runs_rtbench(
        *("run", "--transport", "raw-tcp", "--trials", "1", "--duration", "300ms", "--warmup", "100ms"),
        *("--out", str(tmp_path / "result")),
    )


# The second example


@pytest.fixture
def zmq_installed(tmp_path: Path) -> Iterator[Reader]:
    """Have the transport `zmq` in this process and in those that it starts."""
    pytest.importorskip("zmq", reason="pyzmq is not installed (it is in the extra `dev`)")
    files = files_of(TUTORIAL.read_text(encoding="utf-8"))
    project = tomllib.loads(files["pyproject.toml"].replace("raw-tcp", "zmq").replace("raw_tcp", "zmq"))["project"]
    plugins.install_points(tmp_path, project["name"], project["entry-points"])
    (tmp_path / "rtbench_zmq.py").write_text(files["rtbench_zmq.py"], encoding="utf-8")
    with plugins.importable(tmp_path):
        yield Reader(tmp_path)


@pytest.mark.process
def test_the_second_example_has_its_sockets_counted_and_leaves_none(zmq_installed: Reader) -> None:
    for text in (
        "many subscriptions in a row are each ready when they say so",
        "the meter has every connection and none waits for nagle",
        "a client that is left leaves no task and no connection",
        "a server that ends before its clients leaves no task and no listener",
    ):
        run(plugins.case_of(text), Subject("zmq", "embedded", "library"))


@pytest.mark.long
def test_the_second_example_fulfils_the_contract_and_is_measured(zmq_installed: Reader, tmp_path: Path) -> None:
    assert ", 0 failed" in zmq_installed.runs_rtbench("contract", "zmq")
    zmq_installed.runs_rtbench(
        *("run", "--transport", "zmq", "--trials", "1", "--duration", "300ms", "--warmup", "100ms"),
        *("--out", str(tmp_path / "result")),
    )
    with (tmp_path / "result" / "summary.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["delivered"] == row["expected"] != "0"
    assert row["arrived_p50_ms"] == ""
    if sys.platform == "linux":
        assert float(row["wire_bytes_per_delivery"]) > 100
