"""What is counted is what happened: servers that break a known number of messages, measured as any other is."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rtbench.transports import registry
from tests import oracle
from tests.conftest import Program
from tests.oracle import Faults

MESSAGES, SUBSCRIBERS = 40, 3
AT_ONCE = 3  # runs; they mostly wait: for what was dropped

CLEAN = Faults()
EVERYTHING = Faults(drop=(3, 7, 39), repeat=(5, 12), swap=(10, 30), corrupt=(20,))
PLANS = [
    pytest.param(CLEAN, id="nothing"),
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(Faults(repeat=(0, 17, 39)), id="messages repeated, the last one too"),
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


class Laboratory:
    """Measures subjects under plans, some at a time, and gives the rows of each run."""

    def __init__(self, directory: Path, pool: Executor) -> None:
        self._installed = directory / "installed"
        self._installed.mkdir()
        oracle.install(self._installed)
        self._program = Program(directory)
        self._pool = pool
        self._runs: dict[tuple[Subject, Faults], Future[tuple[dict[str, Any], dict[str, Any]]]] = {}

    def start(self, subject: Subject, faults: Faults) -> None:
        out = f"run-{len(self._runs)}"
        self._runs[subject, faults] = self._pool.submit(self._run, subject, faults, out)

    def measure(self, subject: Subject, faults: Faults) -> tuple[dict[str, Any], dict[str, Any]]:
        """Measure now; what all the tests want of a subject is better started together."""
        return self._run(subject, faults, f"run-of-{len(list(self._program.directory.iterdir()))}")

    def rows(self, subject: Subject, faults: Faults) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the rows of summary.csv and trials.csv."""
        return self._runs[subject, faults].result()

    def _run(self, subject: Subject, faults: Faults, out: str) -> tuple[dict[str, Any], dict[str, Any]]:
        path = [str(self._installed), *filter(None, [os.environ.get("PYTHONPATH")])]
        done = self._program(
            *("run", "--transport", subject.transport, "--server", "oracle", "--out", out),
            *("--trials", "1", "--rate", "100", "--duration", "400ms", "--warmup", "0s"),
            *("--subscribers", str(SUBSCRIBERS), *subject.options),
            PYTHONPATH=os.pathsep.join(path),
            **faults.environment,
        )
        assert done.returncode in (0, 4), f"{subject} {faults}\n{done.stdout}\n{done.stderr}"
        summary, trial = (read(self._program.directory / out / name) for name in ("summary.csv", "trials.csv"))
        return summary, trial


def read(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    return row


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Laboratory]:
    asked = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = dict.fromkeys((of["subject"], of["faults"]) for of in asked if isinstance(of.get("faults"), Faults))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        laboratory = Laboratory(tmp_path_factory.mktemp("oracle"), pool)
        for subject, faults in wanted:
            laboratory.start(subject, faults)
        yield laboratory
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("faults", PLANS)
@pytest.mark.parametrize("subject", subjects(), ids=str)
def test_exactly_what_was_broken_is_reported(laboratory: Laboratory, subject: Subject, faults: Faults) -> None:
    expected = MESSAGES * SUBSCRIBERS
    counts = faults.counts(SUBSCRIBERS)
    for row in laboratory.rows(subject, faults):
        assert {name: int(row[name]) for name in counts} == counts
        assert int(row["published"]) == MESSAGES
        assert int(row["expected"]) == expected
        assert int(row["delivered"]) == expected - counts["lost"]
        assert int(row["failed"]) == 0


@pytest.mark.parametrize("faults", PLANS)
@pytest.mark.parametrize("subject", subjects(), ids=str)
def test_who_has_no_acknowledgement_still_learns_what_arrived(
    laboratory: Laboratory, subject: Subject, faults: Faults
) -> None:
    for row in laboratory.rows(subject, faults):
        assert (int(row["acked"]), int(row["indeterminate"])) in [(MESSAGES, 0), (0, MESSAGES)]
        arrived = MESSAGES - len(faults.drop) - len(faults.corrupt)
        assert int(row["recovered"]) == (arrived if int(row["indeterminate"]) else 0)


def test_all_embedded_transports_take_part() -> None:
    names = [subject.transport for subject in subjects()]
    assert {"polling", "long-polling", "sse", "websocket", "mqtt"} <= set(names)
    assert names.count("mqtt") == 3


def test_duplicates_do_not_end_a_run_before_the_rest_has_come(laboratory: Laboratory) -> None:
    """Every poll brings everything twice, so half of the polls bring as many deliveries as are expected in all."""
    faults = Faults(repeat=tuple(range(MESSAGES)))
    for row in laboratory.measure(Subject("polling", ("--interval", "1s", "--subscribers", "20")), faults):
        assert {name: int(row[name]) for name in faults.counts(20)} == faults.counts(20)
