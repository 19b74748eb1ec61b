"""Trouble while a result is saved: it is said once, the measurement goes on, and nothing that was measured is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rtbench
from rtbench.cli import measuring, run_program
from rtbench.experiments.runner import NotSaved, Stopped
from rtbench.result import storage
from rtbench.result.result import INCOMPLETE
from tests.builders import comparison, save, variant
from tests.conftest import RTBENCH


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("function", ["write_samples", "write_description", "write_text"])
def test_what_could_not_be_saved_is_saved_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    made = comparison([variant("sse")], trials=3)
    trials, made.trials, made.status = made.trials, [], INCOMPLETE
    made.environment = rtbench.load(save(made, tmp_path / "other")).environment
    made.save_in(tmp_path / "out")
    made.add(trials[0])
    with monkeypatch.context() as patch:
        patch.setattr(storage, function, full)
        made.add(trials[1])
        if function != "write_text":
            assert made.unsaved == "No space left on device"
    made.add(trials[2])
    assert made.unsaved == ""
    made.finish()
    assert len(rtbench.load(tmp_path / "out").trials) == 3
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "result.json", "samples", "summary.csv", "trials.csv", "rates.csv"
    }  # fmt: skip


def test_a_full_disk_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = comparison([variant("sse")], trials=3)
    trials, made.trials = made.trials, []
    made.save_in(tmp_path / "out")
    monkeypatch.setattr(storage, "write_samples", full)
    with pytest.warns(UserWarning, match="cannot be written now: No space left on device; the measurement goes on"):
        made.add(trials[0])
    made.add(trials[1])  # a second warning would be an error
    made.finish()
    assert str(NotSaved(made)) == (
        f"the result is not saved: {tmp_path / 'out'} cannot be written (No space left on device)"
    )
    assert f"not saved in {tmp_path / 'out'} (No space left on device)" in str(Stopped(made))


def test_a_directory_that_is_gone_is_made_again_with_all_there_was(tmp_path: Path) -> None:
    made = comparison([variant("sse")], trials=3)
    trials, made.trials = made.trials, []
    made.save_in(tmp_path / "above" / "out")
    for trial in trials[:2]:
        made.add(trial)
    shutil.rmtree(tmp_path / "above")
    with pytest.warns(UserWarning, match="is gone; what was measured is saved there again"):
        made.add(trials[2])
    assert len(list((tmp_path / "above" / "out" / "samples").iterdir())) == 3


def test_a_file_that_cannot_be_written_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="irectory"):
        storage.write_text(tmp_path / "taken", "x")
    with pytest.raises(OSError, match="irectory"):
        storage.write_samples(tmp_path / "taken", {})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_what_is_not_saved_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = comparison([variant("sse")])
    made.path, made.unsaved = tmp_path, "No space left on device"

    def measure(_: Any) -> Any:
        raise NotSaved(made)

    with pytest.raises(NotSaved):
        measuring.carry_out(measure, chart=False, as_json=False, quiet=True, strict=False)
    assert capsys.readouterr().out.startswith("variant")


# Standard streams


def shell(tail: str, directory: Path) -> subprocess.CompletedProcess[str]:
    command = f"{RTBENCH[0]} show saved {tail}"
    return subprocess.run(["bash", "-c", command], cwd=directory, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("tail", "code", "said"),
    [
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        (">/dev/full", 1, "rtbench: standard output cannot be written: No space left on device\n"),
        (">/dev/full 2>/dev/full", 1, ""),
        ("| true; exit ${PIPESTATUS[0]}", 0, ""),
    ],
)
@pytest.mark.process
def test_a_stream_that_nobody_reads_is_no_trouble(tmp_path: Path, tail: str, code: int, said: str) -> None:
    save(comparison([variant("sse")]), tmp_path / "saved")
    done = shell(tail, tmp_path)
    assert (done.returncode, done.stderr) == (code, said)


# Results that others made


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def large(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(2**40)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (fifo, "is no regular file"),
        (large, "has 1099511627776 bytes; a result has at most 268435456"),
        (lambda file: file.write_text("[" * 200_000), "is nested too deeply for a result"),
        (lambda file: file.write_text('{"a":' * 200_000), "is nested too deeply for a result"),
        (lambda file: file.write_text("9" * 5000), "cannot be read"),
        (lambda file: file.write_text("\\ud800"), "cannot be read"),
    ],
)
def test_a_file_that_is_no_result_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    spoil(save(comparison([variant("sse")]), tmp_path / "saved") / "result.json")
    assert run_program(["show", str(tmp_path / "saved")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((path / "result.json").read_text())
    change(content)
    storage.write_text(path / "result.json", json.dumps({**content, "sha256": storage.content_sha256(content)}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(kind=["run"]), "is of the kind ['run']"),
        (lambda c: c.update(trials=5), "trials: 5 is not of type 'array'"),
        (lambda c: c.update(variants=[]), "variants: [] "),
        (lambda c: c["variants"][0].update(transport="\x1b[2Jsse"), "variants/0/transport: "),
        (lambda c: c["trials"][0].update(index=10**30), "is greater than the maximum"),
        (lambda c: c["trials"][0].update(server_cpu_ns="many"), "trials/0/server_cpu_ns: 'many'"),
        (lambda c: c["settings"].update(rate=None), "settings/rate: None is not of type 'object'"),
        (lambda c: c["workload"].update(rate_hz=float("nan")), "NaN is no number of JSON"),
    ],
)
def test_a_result_of_wrong_types_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    changed(save(comparison([variant("sse")]), tmp_path / "saved"), change)
    assert run_program(["show", str(tmp_path / "saved")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "\x1b" not in error
    assert error.count("\n") == 1


def test_samples_that_unpack_to_more_than_any_result_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(comparison([variant("sse")]), tmp_path / "saved")
    monkeypatch.setattr(storage, "MAX_SAMPLES_BYTES", 10_000)
    with pytest.raises(rtbench.errors.ResultError, match=r"unpacks to [0-9]+ bytes; a result has at most 10000"):
        rtbench.load(path)
