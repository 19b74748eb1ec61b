"""What tests of the program as a user runs it share, and how tests are run: what is skipped, and what is run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from _pytest.runner import runtestprotocol

from rtbench.plan.settings import SETTINGS
from tests import busy, programs
from tests.guard import Guard
from tests.mqtt_peers import Broker, serving
from tests.sharing import made_once

RTBENCH = [str(Path(sys.executable).with_name("rtbench"))]
STARTS_PROCESSES = ("process", "alone", "long")  # marks
NOT_INSTALLED, RUN_AGAIN = "not installed", "run again"  # properties of reports

# How tests are run

guard = Guard()
others_share: dict[str, float] = {}  # by the name of a fixture


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are missing, before anything is made for it."""
    guarded = not any(item.get_closest_marker(name) for name in STARTS_PROCESSES)
    used = {"rtbench", "comparison"} & set(getattr(item, "fixturenames", ()))
    assert not (guarded and used), f"mark the test `process`: it uses {', '.join(used)}"
    wanted = [name for mark in item.iter_markers("program") for name in mark.args]
    if missing := programs.missing(wanted):
        item.user_properties.append((NOT_INSTALLED, missing))
        pytest.skip(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test that starts a process or opens a connection and does not say so by a mark."""
    guard.seen.clear()
    guard.on = not any(item.get_closest_marker(name) for name in STARTS_PROCESSES)
    try:
        yield
    finally:
        guard.on = False
    assert not guard.seen, f"mark the test `process`: it does {', '.join(guard.seen[:3])}"


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    """Note what other programs used while a fixture was made: it may hold what was measured then."""
    others = busy.Others()
    try:
        return (yield)
    finally:
        others_share[fixturedef.argname] = others.share()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test that needs the machine to itself once more, if it failed while other programs kept it busy."""
    if item.get_closest_marker("alone") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    others = busy.Others()
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    share = max([others.share(), *(others_share.get(name, 0.0) for name in getattr(item, "fixturenames", ()))])
    if any(report.failed for report in reports) and share > busy.BUSY_SHARE:
        text = f"other programs used {share:.0%} of a core while this test failed"
        item.session._setupstate.teardown_exact(None)  # so that what fixtures measured is measured anew
        text += "; run again " + (
            "once they left the machine alone" if busy.wait_for_quiet() else "though they went on"
        )
        item.user_properties.append((RUN_AGAIN, text))
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        for report in reports:
            report.sections.append(("the machine was busy", text))
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """Say at the very end what was run again, and what was not run."""
    yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or "PYTEST_XDIST_WORKER" in os.environ:
        return
    everything = [r for kind in terminal.stats.values() for r in kind if isinstance(r, pytest.TestReport)]
    for report in everything:
        if report.when == "call" and (text := dict(report.user_properties).get(RUN_AGAIN)):
            terminal.write_line(f"{report.nodeid}: {text}", yellow=True)
    skipped: list[Any] = [dict(report.user_properties).get(NOT_INSTALLED) for report in everything if report.skipped]
    for line in programs.not_tested(tuple(names) for names in skipped if names):
        terminal.write_line(line, yellow=True)


# What tests share


class Program:
    """Runs rtbench in a directory of its own, and finds every process that it left behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = f"TEST_OF_RTBENCH={uuid.uuid4().hex}"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("RTBENCH_")}
        self.environment |= dict([self.mark.split("=")])
        self.environment["RTBENCH_REPEAT"] = "no"  # tests run side by side, and would be taken for a disturbance

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
        return [p for p in self.processes() if "rtbench.trial.server_process" in command_of(p)]

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


SETTINGS["repeat"] = replace(SETTINGS["repeat"], default=False)  # the same for what is run in this process


@pytest.fixture
def rtbench(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    for process in program.processes():
        process.kill()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that the program is run in, without the variables of the user."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RTBENCH_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at once where a measurement would be started: what should be refused was not."""

    def started(work: Any) -> None:
        work.close()
        pytest.fail("a measurement was started")

    monkeypatch.setattr("asyncio.run", started)


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small comparison of everything that needs nothing but the package, measured once for all tests."""

    def make(directory: Path) -> None:
        small = ("--trials", "2", "--duration", "600ms", "--warmup", "100ms", "--interval", "200ms")
        sparse = ("--sparse-rate", "2", "--sparse-duration", "2s")
        done = Program(directory)("compare", *small, *sparse, "--out", "out")
        assert done.returncode == 0, done.stderr

    return made_once(tmp_path_factory, "comparison", make) / "out"


def command_of(process: psutil.Process) -> str:
    """The command line of a process; empty for one that has ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def until(condition: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Wait for something that is going to happen; return whether it did."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def broker() -> Iterator[Broker]:
    with serving() as running:
        yield running
