"""An interrupted measurement is completed: what was measured stays, and only the rest is measured."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

import rtbench as package
from rtbench.errors import ResultError
from rtbench.experiments.compare import COMPARISON, load_comparison
from tests.conftest import Program, until

CHOSEN = ("--transport", "websocket", "--transport", "sse", "--no-control")
COMPARE = (
    "compare",
    "--no-sparse",
    *CHOSEN,
    "--trials",
    "2",
    "--duration",
    "600ms",
    "--warmup",
    "100ms",
    "--out",
    "out",
)
SEVERAL = ("--transport", "sse", "--transport", "websocket", "--transport", "mqtt", "--qos", "0")
IDLE = ("idle", *SEVERAL, "--connections", "4", "--duration", "500ms", "--out", "out")


def described(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "result.json").read_text())
    return content


def measured(out: Path) -> int:
    try:
        return len(described(out).get("trials", []))
    except (OSError, ValueError):
        return 0


def interrupted(rtbench: Program, *arguments: str, after: int) -> dict[str, Any]:
    """Start, and interrupt after some trials; return what was saved."""
    process = rtbench.start(*arguments)
    out = rtbench.directory / "out"
    assert until(lambda: measured(out) >= after)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    content = described(out)
    assert content["status"] == "incomplete"
    assert len(content["trials"]) >= after
    return content


def written(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "samples").iterdir()}


@pytest.mark.process
@pytest.mark.long
def test_a_comparison_goes_on_where_it_was_interrupted(rtbench: Program) -> None:
    out = rtbench.directory / "out"
    before = interrupted(rtbench, *COMPARE, after=1)
    files = written(out)
    assert len(files) == len(before["trials"]) < before["planned_trials"] == 4
    done = rtbench("resume", "out")
    assert done.returncode == 0, done.stderr
    after = described(out)
    assert after["status"] == "complete"
    assert len(after["trials"]) == after["planned_trials"] == 4
    assert after["trials"][: len(files)] == before["trials"]
    assert written(out).items() >= files.items()
    assert len(written(out)) == 4
    assert [trial["index"] for trial in after["trials"]] == [0, 1, 2, 3]
    by_block = [{t["variant"] for t in after["trials"] if t["block"] == block} for block in (0, 1)]
    assert by_block == [{"sse", "websocket"}] * 2
    assert "INCOMPLETE" not in done.stdout
    assert (out / "summary.csv").read_text() == package.load(out).summary.to_csv()

    again = rtbench("resume", "out")
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (2, "", 1)
    assert "the result is complete" in again.stderr


@pytest.mark.process
@pytest.mark.long
def test_idle_connections_go_on_where_they_were_interrupted(rtbench: Program) -> None:
    out = rtbench.directory / "out"
    before = interrupted(rtbench, *IDLE, after=1)
    assert 1 <= len(before["trials"]) < 3
    done = rtbench("resume", "out")
    assert done.returncode == 0, done.stderr
    after = described(out)
    assert after["status"] == "complete"
    assert after["trials"][: len(before["trials"])] == before["trials"]
    assert [trial["variant"] for trial in after["trials"]] == ["sse", "websocket", "mqtt-qos0"]
    assert all(trial["error"] is None for trial in after["trials"])
    again = rtbench("resume", "out")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


@pytest.mark.process
def test_what_is_damaged_or_missing_is_not_resumed(rtbench: Program) -> None:
    out = rtbench.directory / "out"
    interrupted(rtbench, *COMPARE, after=1)
    (out / "result.json").write_text((out / "result.json").read_text().replace('"websocket"', '"webrocket"'))
    for directory in ("out", "nowhere"):
        done = rtbench("resume", directory)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.process
def test_what_was_begun_under_other_conditions_or_settings_is_not_resumed(comparison: Path) -> None:
    result = load_comparison(comparison)
    COMPARISON.resume(result)
    result.environment = {**result.environment, "kernel": "another"}
    with pytest.raises(ResultError, match=r"under other conditions: kernel was another, is .*; measure it anew"):
        COMPARISON.resume(result)
    result = load_comparison(comparison)
    result.variants = result.variants[1:]
    with pytest.raises(ResultError, match="this rtbench cannot measure the same"):
        COMPARISON.resume(result)
