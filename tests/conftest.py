"""What tests of the program as a user runs it share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

# modules whose figures need the machine to themselves; all others can run side by side (pytest-xdist)
ALONE = ("laws", "measuring", "precision", "process", "rerun", "sabotage", "verdict")
RTBENCH = [str(Path(sys.executable).with_name("rtbench"))]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is to run alone, for `-m alone` and `-m "not alone"`."""
    for item in items:
        if item.path.stem.removeprefix("test_") in ALONE:
            item.add_marker(pytest.mark.alone)


class Program:
    """Runs rtbench in a directory of its own, and finds every process that it left behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = f"RTBENCH_TEST={uuid.uuid4().hex}"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("RTBENCH_")}
        self.environment |= dict([self.mark.split("=")])

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            RTBENCH + list(arguments),
            cwd=self.directory,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            RTBENCH + list(arguments),
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def freeze_server(self, for_s: float) -> float:
        """Stop the server of the trial under way, once messages pass; return for how long, in seconds."""
        assert until(lambda: bool(self._servers()))
        server = self._servers()[0]
        assert until(lambda: len(server.net_connections("tcp")) >= 3)  # listening, and both clients are there
        before = server.num_ctx_switches().voluntary
        assert until(lambda: server.num_ctx_switches().voluntary > before + 200)
        began = time.monotonic()
        server.send_signal(signal.SIGSTOP)
        until(lambda: time.monotonic() - began >= for_s)
        server.send_signal(signal.SIGCONT)
        return time.monotonic() - began

    def _servers(self) -> list[psutil.Process]:
        return [p for p in self.processes() if "rtbench.trial.server_process" in " ".join(p.cmdline())]

    def processes(self) -> list[psutil.Process]:
        """Every process that the program started, however far from it by now."""
        name, _, value = self.mark.partition("=")
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def rtbench(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    for process in program.processes():
        process.kill()


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small comparison of everything that needs nothing but the package, measured once for all tests."""
    directory = tmp_path_factory.mktemp("comparison")
    done = Program(directory)(
        "compare", "--trials", "2", "--duration", "600ms", "--warmup", "100ms", "--interval", "200ms", "--out", "out"
    )
    assert done.returncode in (0, 4), done.stderr
    return directory / "out"


def until(condition: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Wait for something that is going to happen; return whether it did."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
