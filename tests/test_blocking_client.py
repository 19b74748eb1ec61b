"""A client that brings a loop of its own: it runs whole processes, is measured as any other, and holds nothing idle."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Callable

import pytest

from tests import blocking
from tests.conftest import Program


@pytest.fixture
def run(rtbench: Program) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs rtbench with the client installed."""
    installed = rtbench.directory / "installed"
    installed.mkdir()
    blocking.install(installed)
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    return lambda *arguments: rtbench(*arguments, PYTHONPATH=path)


@pytest.mark.parametrize(
    ("pattern", "deliveries"),
    [(("fan-out", "--subscribers", "6"), 6), (("room", "--publishers", "3"), 9)],
    ids=["fan-out", "room"],
)
@pytest.mark.process
def test_everything_is_delivered_and_recorded(
    rtbench: Program,
    run: Callable[..., subprocess.CompletedProcess[str]],
    pattern: tuple[str, ...],
    deliveries: int,
) -> None:
    done = run(
        *("run", "--transport", "tcp", "--client", "blocking", "--pattern", *pattern, "--rate", "100"),
        *("--trials", "1", "--duration", "400ms", "--warmup", "0s", "--out", "out"),
    )
    assert done.returncode == 0, done.stderr
    with (rtbench.directory / "out" / "summary.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["variant"], row["client"]) == ("tcp (blocking)", "blocking")
    assert int(row["delivered"]) == int(row["expected"]) == 40 * deliveries
    assert [row[name] for name in ("lost", "duplicated", "reordered", "corrupt", "unexpected", "failed")] == ["0"] * 6
    assert float(row["latency_p50_ms"]) > 0
    assert row["arrived_p50_ms"] == row["wire_bytes_per_delivery"] == ""  # it has neither stamps nor counts of bytes
    assert rtbench.processes() == []


@pytest.mark.process
def test_idle_connections_are_refused_in_one_line(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run("idle", "--transport", "tcp", "--client", "blocking", "--connections", "2", "--duration", "100ms")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "the client blocking of tcp cannot hold idle connections" in done.stderr


@pytest.mark.process
def test_it_is_listed(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    lines = [line.split()[:3] for line in run("transports").stdout.splitlines()]
    assert ["tcp", "client", "blocking"] in lines
