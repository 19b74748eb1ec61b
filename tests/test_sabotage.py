"""Real runs with one thing wrong, each beside a clean one of the same size: what is wrong is found, and only there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtbench.analysis.verdict import INVALID, SUSPECT, VALID
from rtbench.experiments import runner
from rtbench.experiments.compare import COMPARISON, RUN
from rtbench.plan.settings import resolve
from rtbench.result.comparison import Comparison
from rtbench.system import kernel
from rtbench.transports import registry
from rtbench.trial import publisher, subscriber
from tests import sabotage
from tests.conftest import RTBENCH, Program
from tests.programs import needs
from tests.sabotage import clients

SIZE = {
    "rate": 20.0,
    "subscribers": 20,
    "trials": 2,
    "duration": 1.3,
    "warmup": 0.2,
}  # 1,040 deliveries: enough for p99
ROOT = Path(__file__).parents[1]
REASONS = {
    "nagle": "without TCP_NODELAY",
    "40 ms": "of the latencies lie at 40 ms",
    "overload": "overload",
    "disk": "a disk was waited for",
    "drops": "connections were turned away",
    "starved server": "waited for a core",
    "others": "other processes used",
    "clock": "the clock was set",
    "client": "a client process used",
    "late": "the publisher was late",
    "retransmissions": "were retransmitted on loopback",
}
SPIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"
WRITE = "import os, sys\nfile = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\nprint(flush=True)\nwhile True: os.pwrite(file, bytes(2**20), 0), os.fsync(file)"

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of this on Linux only")


@contextmanager
def beside(program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program run, from its first line on."""
    command = [sys.executable, "-c", program, *arguments]
    # a session of its own, since Linux shares the CPU out among sessions first (sched(7), autogroups)
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def flags() -> list[str]:
    units = {"duration": "s", "warmup": "s"}
    return [word for name, value in SIZE.items() for word in (f"--{name}", f"{value}{units.get(name, '')}")]


def verdict_in(directory: Path) -> tuple[str, str]:
    (variant,) = json.loads((directory / "result.json").read_text())["variants"]
    return variant["verdict"], variant["reasons"]


@pytest.fixture
def sabotaged(rtbench: Program) -> Callable[..., tuple[str, str]]:
    """Run with a sabotaged server; return the verdict and its reasons."""
    installed = rtbench.directory / "installed"
    installed.mkdir()
    sabotage.install(installed)
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*arguments: str, **environment: str) -> tuple[str, str]:
        done = rtbench("run", *arguments, *flags(), "--out", "out", PYTHONPATH=path, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return verdict_in(rtbench.directory / "out")

    return run


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """What is sabotaged below, left alone."""
    given = {name: (value, "argument") for name, value in SIZE.items()}
    names = {"transport": (["websocket", "tcp", "mqtt"], "argument"), "qos": ([1], "argument")}
    settings = resolve({**given, **names}, registry.settings())
    return runner.run(COMPARISON, settings, tmp_path_factory.mktemp("clean") / "out")


@pytest.mark.parametrize("reason", REASONS.values(), ids=list(REASONS))
@pytest.mark.alone
def test_a_clean_run_trips_nothing(clean: Comparison, reason: str) -> None:
    assert [row["variant"] for row in clean.summary if reason in row["reasons"]] == []


@pytest.mark.alone
def test_a_clean_run_is_valid(clean: Comparison) -> None:
    assert [(row["variant"], row["verdict"], row["reasons"]) for row in clean.summary] == [
        (name, VALID, "") for name in clean.summary.column("variant")
    ]


@on_linux
@pytest.mark.alone
def test_nagle_on_makes_a_run_invalid_and_a_heap_at_40_ms(sabotaged: Callable[..., tuple[str, str]]) -> None:
    verdict, reasons = sabotaged("--transport", "mqtt", "--qos", "1", "--server", "nagle")
    assert verdict == INVALID
    assert REASONS["nagle"] in reasons
    assert REASONS["40 ms"] in reasons


@pytest.mark.parametrize("transport", [("tcp",), ("mqtt", "--qos", "1")], ids=["unacknowledged", "acknowledged"])
@pytest.mark.alone
def test_a_server_that_waits_for_its_disk_is_an_overload(
    sabotaged: Callable[..., tuple[str, str]], transport: tuple[str, ...], tmp_path: Path
) -> None:
    verdict, reasons = sabotaged("--transport", *transport, "--server", "disk", SABOTAGE_DISK=str(tmp_path))
    assert verdict == INVALID
    assert REASONS["overload"] in reasons


def stalled_share(within_s: float) -> float:
    before, began = kernel.io_stalled_ns(), time.monotonic()
    time.sleep(within_s)  # the time in which it is counted
    return (kernel.grown(before, kernel.io_stalled_ns()) or 0) / 1e9 / (time.monotonic() - began)


@pytest.mark.alone
def test_a_disk_that_something_else_writes_to_is_suspect(
    sabotaged: Callable[..., tuple[str, str]], tmp_path: Path
) -> None:
    with beside(WRITE, str(tmp_path / "written")):
        if stalled_share(1.0) < 0.1:
            pytest.skip("no disk here that a writer waits for, or no kernel that tells of it")
        verdict, reasons = sabotaged("--transport", "websocket")
    assert verdict != VALID
    assert REASONS["disk"] in reasons


@on_linux
@pytest.mark.alone
def test_connections_that_are_turned_away_are_counted(sabotaged: Callable[..., tuple[str, str]]) -> None:
    verdict, reasons = sabotaged("--transport", "websocket", "--server", "deaf")
    assert verdict != VALID
    assert REASONS["drops"] in reasons


@on_linux
@pytest.mark.alone
def test_programs_on_the_core_of_the_server_are_found(sabotaged: Callable[..., tuple[str, str]]) -> None:
    core = str(max(os.sched_getaffinity(0)))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(beside(SPIN, core))
        verdict, reasons = sabotaged("--transport", "websocket", "--server", "starved", SABOTAGE_CORE=core)
    assert verdict == INVALID
    assert REASONS["others"] in reasons  # that the server waited for a core follows from it


@on_linux
@pytest.mark.alone
def test_all_cores_kept_busy_make_a_run_invalid(sabotaged: Callable[..., tuple[str, str]]) -> None:
    with ExitStack() as stack:
        for core in os.sched_getaffinity(0):
            stack.enter_context(beside(SPIN, str(core)))
        verdict, reasons = sabotaged("--transport", "websocket")
    assert verdict == INVALID
    assert REASONS["others"] in reasons


def spoiled(instead: dict[Callable[..., Any], Callable[..., Any]]) -> tuple[str, str]:
    """Run with spoiled client processes; return the verdict and its reasons."""

    def executor() -> Executor:
        return clients.Spoiled(instead)

    given = {name: (value, "argument") for name, value in {**SIZE, "transport": "websocket"}.items()}
    result = runner.run(RUN, resolve(given, registry.settings()), executor=executor)
    (row,) = result.summary
    return row["verdict"], row["reasons"]


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client processes import what spoils them."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))


@on_linux
@pytest.mark.usefixtures("importable")
@pytest.mark.alone
def test_a_clock_that_is_set_in_mid_trial_is_found() -> None:
    verdict, reasons = spoiled({subscriber.subscribe: clients.beside_a_stepped_clock})
    assert verdict != VALID
    assert f"{REASONS['clock']} by {clients.STEP_NS / 1e6:.0f} ms" in reasons


@pytest.mark.usefixtures("importable")
@pytest.mark.alone
def test_a_client_that_computes_on_the_side_makes_a_run_invalid() -> None:
    verdict, reasons = spoiled({subscriber.subscribe: clients.computing_on_the_side})
    assert verdict == INVALID
    assert REASONS["client"] in reasons


@pytest.mark.usefixtures("importable")
@pytest.mark.alone
def test_a_publisher_that_is_late_is_found() -> None:
    verdict, reasons = spoiled({publisher.publish: clients.sending_late})
    assert verdict != VALID
    assert REASONS["late"] in reasons


LOSSY = """
ip link set lo up &&
nft add table inet sabotage &&
nft add chain inet sabotage lose '{ type filter hook input priority 0; }' &&
nft add rule inet sabotage lose tcp flags '&' 'syn == 0' meta length '>' 100 numgen random mod 100 '<' 3 drop &&
exec "$@"
"""


def in_a_lossy_namespace(*command: str) -> list[str]:
    return ["unshare", "--net", "--user", "--map-root-user", "sh", "-c", LOSSY, "sh", *command]


@needs("unshare", "nft", "ip")
@pytest.mark.alone
def test_what_a_lossy_link_drops_is_seen_to_be_sent_again(rtbench: Program) -> None:
    if subprocess.run(in_a_lossy_namespace("true"), capture_output=True).returncode:
        pytest.skip("namespaces or nft are not allowed here")
    command = in_a_lossy_namespace(*RTBENCH, "run", "--transport", "websocket", *flags(), "--out", "out")
    subprocess.run(command, cwd=rtbench.directory, env=rtbench.environment, capture_output=True, timeout=120)
    verdict, reasons = verdict_in(rtbench.directory / "out")
    assert verdict in (SUSPECT, INVALID)
    assert REASONS["retransmissions"] in reasons
