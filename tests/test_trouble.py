"""What breaks in mid-measurement: one clear line, the right exit code, what was measured kept, and no process left."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from rtbench.plan.variant import DEFAULT_CLIENT, DEFAULT_SERVER
from rtbench.plan.workload import Workload
from rtbench.transports.choice import variants_of
from rtbench.transports.records import SubscriberPlan
from rtbench.trial.executor import FreshProcesses
from rtbench.trial.planning import TrialPlan
from rtbench.trial.trial import conduct
from tests.conftest import Program, command_of, until
from tests.programs import needs

LONG = ("--trials", "3", "--duration", "1s", "--warmup", "100ms", "--out", "out")

SERVERS = [
    pytest.param(("--transport", "sse"), "rtbench.trial.server_process", id="embedded"),
    pytest.param(
        ("--transport", "mqtt", "--server", "mosquitto"),
        "mosquitto.conf",
        id="mosquitto",
        marks=[needs("mosquitto"), pytest.mark.long],
    ),
]


def _measured_trials(out: Path) -> int:
    return len(list(out.glob("samples/*.npz")))


def _described(out: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((out / "result.json").read_text())
    return content


def _serving(rtbench: Program, command: str) -> list[psutil.Process]:
    return [process for process in rtbench.processes() if command in command_of(process)]


def _connected(rtbench: Program, command: str) -> bool:
    """Whether the server of the second trial has all its clients: it is in the midst of it, or close before."""
    try:
        serving = _serving(rtbench, command)
        return bool(serving) and len(serving[0].net_connections("tcp")) > 11
    except psutil.Error:
        return False


@pytest.mark.long
@pytest.mark.parametrize(("options", "command"), SERVERS)
@pytest.mark.process
def test_a_server_killed_in_mid_trial_fails_that_trial_only(
    rtbench: Program, options: tuple[str, ...], command: str
) -> None:
    process = rtbench.start("run", *options, *LONG)
    out = rtbench.directory / "out"
    assert until(lambda: _measured_trials(out) == 1)
    assert until(lambda: _connected(rtbench, command))
    _serving(rtbench, command)[0].kill()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert "1 of 3 trials failed" in stdout
    assert "the server died in mid-trial" in " ".join(stdout.split())
    assert "Traceback" not in stdout + stderr
    content = _described(out)
    assert content["status"] == "complete"
    assert _measured_trials(out) == 3
    assert rtbench.processes() == []


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="SIGINT"),
        *(pytest.param(n, id=n.name, marks=pytest.mark.long) for n in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
@pytest.mark.process
def test_a_stopped_run_keeps_what_it_has(rtbench: Program, number: signal.Signals) -> None:
    process = rtbench.start("run", "--transport", "websocket", *LONG)
    out = rtbench.directory / "out"
    assert until(lambda: _measured_trials(out) == 1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "rtbench: interrupted; 1 trial measured, saved in out as incomplete\n"
    assert "INCOMPLETE" in stdout
    assert _described(out)["status"] == "incomplete"
    assert rtbench.processes() == []
    assert rtbench("export", "out").stdout == (out / "summary.csv").read_text()


@pytest.mark.parametrize(("options", "command"), SERVERS)
@pytest.mark.process
def test_sigkill_leaves_a_result_and_no_process(
    rtbench: Program, tmp_path: Path, options: tuple[str, ...], command: str
) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    rtbench.environment["TMPDIR"] = str(temporary)
    process = rtbench.start("run", *options, *LONG)
    out = rtbench.directory / "out"
    assert until(lambda: _measured_trials(out) == 1)
    assert until(lambda: any(command in command_of(p) for p in rtbench.processes()))
    process.kill()
    process.communicate()
    assert until(lambda: rtbench.processes() == [], within_s=10.0), rtbench.processes()
    assert list(temporary.iterdir()) == []
    assert _described(out)["status"] == "incomplete"
    assert rtbench("export", "out").returncode == 0


@needs("mosquitto")
@pytest.mark.process
def test_a_killed_server_process_takes_its_program_with_it(rtbench: Program) -> None:
    process = rtbench.start("serve", "mqtt", "--server", "mosquitto")
    assert process.stdout is not None
    process.stdout.readline()
    assert len(rtbench.processes()) == 2
    process.kill()
    process.communicate()
    assert until(lambda: rtbench.processes() == [], within_s=10.0)


class Elsewhere(FreshProcesses):
    """Lets the subscribers subscribe to a topic that nobody publishes on."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        (plan,) = args
        if isinstance(plan, SubscriberPlan):
            plan = replace(plan, topics=["elsewhere" for _ in plan.topics])
        return super().submit(fn, plan)


@pytest.mark.long
@pytest.mark.process
def test_a_topic_that_lets_nothing_through_fails_the_trial() -> None:
    (variant,) = variants_of("websocket", DEFAULT_SERVER, DEFAULT_CLIENT, {})
    plan = TrialPlan(0, 0, variant, Workload(duration_s=0.1), 1, set_up_within_s=0.5)
    trial = asyncio.run(conduct(plan, Elsewhere()))
    assert "a readiness probe was sent and not received" in str(trial.error)


@needs("mosquitto")
@pytest.mark.process
def test_nothing_is_left_on_disk_once_mosquitto_answers(rtbench: Program) -> None:
    rtbench.environment["TMPDIR"] = str(rtbench.directory)
    process = rtbench.start("serve", "mqtt", "--server", "mosquitto")
    assert process.stdout is not None
    assert '"url"' in process.stdout.readline()
    assert list(rtbench.directory.iterdir()) == []
    process.terminate()
    process.communicate()
