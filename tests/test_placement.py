"""Processes are placed on cores as asked: the server apart from the clients, each client on a core of its own."""

from __future__ import annotations

import os
from typing import Any

import pytest

import rtbench
from rtbench.errors import UsageError
from rtbench.system.placement import cores_here, placed
from rtbench.trial.executor import FreshProcesses
from tests.builders import settings

NAMES = ["publisher-0", "subscriber-0", "subscriber-1"]


@pytest.mark.parametrize(
    ("cores", "said"),
    [
        ((0, 1), "server 0; subscriber-0 1; subscriber-1 1; publisher-0 1"),
        ((2, 5, 7), "server 2; subscriber-0 5; subscriber-1 7; publisher-0 5"),
        ((0, 1, 2, 3, 4, 5), "server 0,1,2; subscriber-0 3; subscriber-1 4; publisher-0 5"),
    ],
)
def test_the_server_has_the_first_half_and_each_client_a_core_of_the_rest(cores: tuple[int, ...], said: str) -> None:
    assert str(placed("split", NAMES, cores)) == said


def test_the_scheduler_decides_where_nothing_is_asked_for() -> None:
    assert str(placed("free", NAMES, (0, 1))) == ""


@pytest.mark.parametrize(
    ("how", "cores", "reason"),
    [
        ("split", (3,), "needs two cores, .*: this process may use 1"),
        ("split", (), "no way to choose cores"),
        ("spilt", (0, 1), "must be one of free, split: got 'spilt'; did you mean split"),
    ],
)
def test_what_cannot_be_placed_is_refused(how: str, cores: tuple[int, ...], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        placed(how, NAMES, cores)


def test_more_workers_than_clients_are_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match="--workers must be 1 to 3, since there are as many subscribers: got 4"):
        rtbench.run("websocket", subscribers=3, workers=4)


@pytest.mark.process
@pytest.mark.skipif(len(cores_here()) < 2, reason="this machine has one core, or does not tell")
def test_processes_stay_on_their_cores_and_workers_share_the_subscribers() -> None:
    quick: dict[str, Any] = {"trials": 1, "duration": 0.2, "warmup": 0.1, "repeat": False}
    result = rtbench.run("websocket", subscribers=4, workers=2, cores="split", client="lean", **quick)
    (trial,) = result.trials
    assert trial.counts.error is None
    assert trial.ledger.delivered == trial.ledger.expected > 0
    assert trial.counts.placement == str(placed("split", NAMES, cores_here()))
    assert settings()["cores"].value == "free"
    executor = FreshProcesses()
    assert executor.submit(os.sched_getaffinity, 0).result() == set(cores_here())  # ours are as before
    executor.shutdown()
