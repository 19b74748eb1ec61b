"""What is counted is what happened: servers that break a known number of messages, measured as any other is."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rtbench.transports import registry
from tests import oracle
from tests.conftest import Program
from tests.oracle import Faults

MESSAGES, SUBSCRIBERS = 40, 3

CLEAN = Faults()
EVERYTHING = Faults(drop=(3, 7, 39), repeat=(5, 12), swap=(10, 30), corrupt=(20,))
PLANS = [
    pytest.param(CLEAN, id="nothing", marks=pytest.mark.long),
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(Faults(repeat=(0, 17, 39)), id="messages repeated, the last one too", marks=pytest.mark.long),
]


@dataclass(frozen=True)
class Subject:
    """A transport with the options of one of its variants."""

    transport: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([self.transport, *self.options])


def subjects() -> list[Subject]:
    found = []
    for name in oracle.embedded():
        client = registry.client(name)
        interval = ("--interval", "40ms") if "interval_s" in client.options else ()
        for variant in client.variants:
            chosen = (text for option, value in variant.items() for text in (f"--{option}", str(value)))
            found.append(Subject(name, (*chosen, *interval)))
    return found


def with_the_others_long() -> list[Any]:
    """All subjects: the one that promises most in every run of the tests."""
    always = ("mqtt --qos 2",)
    return [each if str(each).startswith(always) else pytest.param(each, marks=pytest.mark.long) for each in subjects()]


class Laboratory:
    """Measures a transport with its oracle for a server, and gives the rows of the run."""

    def __init__(self, directory: Path) -> None:
        self._program = Program(directory)
        self._installed = directory / "installed"
        self._installed.mkdir()
        oracle.install(self._installed)

    def rows(self, subject: Subject, faults: Faults) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the rows of summary.csv and trials.csv."""
        path = [str(self._installed), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = self._program(
            *("run", "--transport", subject.transport, "--server", "oracle", "--out", "out"),
            *("--trials", "1", "--rate", "100", "--duration", "400ms", "--warmup", "0s"),
            *(() if "--subscribers" in subject.options else ("--subscribers", str(SUBSCRIBERS))),
            *subject.options,
            PYTHONPATH=os.pathsep.join(path),
            **faults.environment,
        )
        assert done.returncode == 0, f"{subject} {faults}\n{done.stdout}\n{done.stderr}"
        summary, trial = (read(self._program.directory / "out" / name) for name in ("summary.csv", "trials.csv"))
        return summary, trial


def read(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    return row


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory(tmp_path)


def check_that_exactly_what_was_broken_is_reported(row: dict[str, Any], faults: Faults) -> None:
    expected = MESSAGES * SUBSCRIBERS
    counts = faults.counts(SUBSCRIBERS)
    assert {name: int(row[name]) for name in counts} == counts
    assert int(row["published"]) == MESSAGES
    assert int(row["expected"]) == expected
    assert int(row["delivered"]) == expected - counts["lost"]
    assert int(row["failed"]) == 0


def check_that_a_publisher_without_acknowledgements_learns_what_arrived(row: dict[str, Any], faults: Faults) -> None:
    assert (int(row["acked"]), int(row["indeterminate"])) in [(MESSAGES, 0), (0, MESSAGES)]
    arrived = MESSAGES - len(faults.drop) - len(faults.corrupt)
    assert int(row["recovered"]) == (arrived if int(row["indeterminate"]) else 0)


@pytest.mark.parametrize("faults", PLANS)
@pytest.mark.parametrize("subject", with_the_others_long(), ids=str)
@pytest.mark.process
def test_what_was_broken_is_reported_and_what_arrived_is_known(
    laboratory: Laboratory, subject: Subject, faults: Faults
) -> None:
    for row in laboratory.rows(subject, faults):
        check_that_exactly_what_was_broken_is_reported(row, faults)
        check_that_a_publisher_without_acknowledgements_learns_what_arrived(row, faults)


def test_all_embedded_transports_take_part() -> None:
    names = [subject.transport for subject in subjects()]
    assert {"polling", "long-polling", "sse", "websocket", "mqtt"} <= set(names)
    assert names.count("mqtt") == 3


@pytest.mark.long
@pytest.mark.process
def test_duplicates_do_not_end_a_run_before_the_rest_has_come(laboratory: Laboratory) -> None:
    """Every poll brings everything twice, so half of the polls bring as many deliveries as are expected in all."""
    faults = Faults(repeat=tuple(range(MESSAGES)))
    for row in laboratory.rows(Subject("polling", ("--interval", "1s", "--subscribers", "20")), faults):
        assert {name: int(row[name]) for name in faults.counts(20)} == faults.counts(20)
