"""A saved result comes back as it was written, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtbench
from rtbench.cli import run_program
from rtbench.errors import ResultError
from rtbench.experiments.compare import load_comparison
from rtbench.result import storage
from rtbench.result.comparison import Comparison
from rtbench.result.result import COMPLETE, INCOMPLETE
from tests.builders import REFERENCE

KEPT = 2  # trials of the reference, so that a copy is quickly made


@cache
def reference_result() -> Comparison:
    return load_comparison(REFERENCE)


def small(directory: Path) -> Comparison:
    """The first trials of the reference, written anew as a run does it: trial after trial."""
    reference = reference_result()
    result = dataclasses.replace(reference, trials=[], sparse=[], status=INCOMPLETE)
    result.save_in(directory)
    for trial in reference.trials[:KEPT]:
        result.add(trial)
    return result


def content_of(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    return content


def rewrite(directory: Path, content: Any) -> None:
    (directory / "result.json").write_text(json.dumps(content), encoding="utf-8")


def resealed(directory: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Edit on purpose, the sum too."""
    content = content_of(directory)
    change(content)
    rewrite(directory, {**content, "sha256": storage.content_sha256(content)})


def edited(directory: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = content_of(directory)
    change(content)
    rewrite(directory, content)


def samples(directory: Path, index: int = 0) -> Path:
    return directory / "samples" / f"{index:03d}.npz"


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


def swap(directory: Path) -> None:
    other = samples(directory).with_name("other")
    samples(directory, 0).rename(other)
    samples(directory, 1).rename(samples(directory, 0))
    other.rename(samples(directory, 1))


def forge(directory: Path) -> None:
    """Give a file of samples other arrays: a whole file, and not what was measured."""
    with np.load(samples(directory)) as arrays:
        columns = dict(arrays)
    columns["delivery_received_ns"] = columns["delivery_received_ns"] - 1_000_000
    np.savez_compressed(samples(directory), **columns)


def put_a_folder(directory: Path) -> None:
    samples(directory).unlink()
    samples(directory).mkdir()


DAMAGES = [
    ("a missing file", lambda d: samples(d, 1).unlink(), "samples/001.npz is missing"),
    ("a missing folder", lambda d: shutil.rmtree(d / "samples"), "samples/000.npz is missing"),
    ("a file cut short", lambda d: samples(d).write_bytes(samples(d).read_bytes()[:-9]), "samples/000.npz is cut short"),
    ("an empty file", lambda d: samples(d).write_bytes(b""), "samples/000.npz is cut short: 0 bytes of"),
    ("a flipped bit", lambda d: flip(samples(d)), "samples/000.npz was changed after it was written"),
    ("other arrays", forge, "samples/000.npz"),
    ("two files swapped", swap, "samples/000.npz holds what belongs in samples/001.npz"),
    ("one file copied over another", lambda d: shutil.copy(samples(d, 1), samples(d, 0)), "holds what belongs in samples/001.npz"),
    ("a folder for a file", put_a_folder, "is no regular file"),
    ("no result.json", lambda d: (d / "result.json").unlink(), "holds no result"),
    ("half a result.json", lambda d: (d / "result.json").write_text('{"schema": 3'), "result.json cannot be read"),
    ("an empty result.json", lambda d: (d / "result.json").write_text(""), "result.json cannot be read"),
    ("a result.json of bytes", lambda d: (d / "result.json").write_bytes(b"\xff\xfe"), "result.json cannot be read"),
    ("something else in JSON", lambda d: rewrite(d, [1]), "is not a result of rtbench"),
    ("a run killed at its first breath", lambda d: rewrite(d, {}), "has schema None"),
    ("an earlier schema", lambda d: edited(d, lambda c: c.update(schema=1)), "has schema 1, and this rtbench reads 4"),
    ("a later schema", lambda d: edited(d, lambda c: c.update(schema=9)), "has schema 9"),
    ("an edited figure", lambda d: edited(d, lambda c: c["trials"][0].update(server_cpu_ns=1)), "result.json was edited"),
    ("an edited setting", lambda d: edited(d, lambda c: c["settings"]["seed"].update(value=2)), "result.json was edited"),
    ("a trial taken out", lambda d: edited(d, lambda c: c["trials"].pop()), "result.json was edited"),
    ("an edited sum of a file", lambda d: edited(d, lambda c: c["files"].clear()), "result.json was edited"),
    ("no sum", lambda d: edited(d, lambda c: c.pop("sha256")), "result.json was edited"),
    ("a forged sum, no sum of a file", lambda d: resealed(d, lambda c: c["files"].clear()), "is damaged: KeyError"),
    ("a forged sum, no workload", lambda d: resealed(d, lambda c: c.pop("workload")), "the file: 'workload' is a required property"),
    ("a forged sum, no settings", lambda d: resealed(d, lambda c: c.update(settings=[])), "settings: [] is not of type 'object'"),
    ("a forged sum, an unknown count", lambda d: resealed(d, lambda c: c["trials"][0].update(x=1)), "trials/0: Additional properties are not"),
    ("a file outside the result", lambda d: resealed(d, lambda c: c["trials"][0].update(samples="../x.npz")), "trials/0/samples: '../x.npz' does not match"),
    ("an absolute file", lambda d: resealed(d, lambda c: c["trials"][0].update(samples="/x.npz")), "trials/0/samples: '/x.npz' does not match"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), [row[1:] for row in DAMAGES], ids=[row[0] for row in DAMAGES])
def test_a_damaged_result_is_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], Any], said: str) -> None:
    directory = tmp_path / "result"
    small(directory)
    rtbench.load(directory)
    damage(directory)
    with pytest.raises(ResultError) as refused:
        rtbench.load(directory)
    text = str(refused.value)
    assert said in text
    assert str(directory) in text
    assert "\n" not in text
    assert any(way in text for way in ("measure again", "holds no result", "do not use it"))


def test_the_command_line_refuses_it_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small(tmp_path / "result")
    flip(samples(tmp_path / "result"))
    assert run_program(["export", "result"]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith("rtbench: result/samples/000.npz was changed after it was written")
    assert stderr.count("\n") == 1


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written = small(tmp_path / "result")
    read = load_comparison(tmp_path / "result" / "result.json")
    assert read.description() == written.description()
    assert read.summary.to_csv() == written.summary.to_csv()
    for ours, theirs in zip(written.trials, read.trials, strict=True):
        assert ours.counts == theirs.counts
        for kind in ("publishes", "deliveries"):
            for name, array in vars(getattr(ours, kind)).items():
                np.testing.assert_array_equal(array, getattr(getattr(theirs, kind), name))


def test_it_can_be_read_after_every_trial(tmp_path: Path) -> None:
    reference = reference_result()
    result = dataclasses.replace(reference, trials=[], sparse=[], status=INCOMPLETE)
    storage.write_description(tmp_path, result.description())
    assert rtbench.load(tmp_path).trials == []
    for count, trial in enumerate(reference.trials[:3], start=1):
        storage.write_samples(tmp_path / storage.samples_name(trial.counts.index), result.samples_of(trial))
        assert len(rtbench.load(tmp_path).trials) == count - 1  # killed before result.json names the trial
        result.trials.append(trial)
        result.forget_tables()
        storage.write_description(tmp_path, result.description())
        read = rtbench.load(tmp_path)
        assert (len(read.trials), read.status) == (count, INCOMPLETE)
    assert not list(tmp_path.rglob("*.part"))


def test_the_description_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = small(tmp_path / "result")
    before = (tmp_path / "result" / "result.json").read_bytes()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    result.status = COMPLETE
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        storage.write_description(tmp_path / "result", result.description())
    assert (tmp_path / "result" / "result.json").read_bytes() == before
    assert rtbench.load(tmp_path / "result").status == INCOMPLETE


def test_derived_files_and_charts_are_nobodys_proof(tmp_path: Path) -> None:
    small(tmp_path / "result")
    (tmp_path / "result" / "summary.csv").write_text("opened and saved by a spreadsheet\n")
    (tmp_path / "result" / "charts").mkdir()
    assert len(rtbench.load(tmp_path / "result").trials) == KEPT


def test_layout_does_not_matter_only_content_does(tmp_path: Path) -> None:
    small(tmp_path / "result")
    content = content_of(tmp_path / "result")
    rewrite(tmp_path / "result", dict(reversed(content.items())))
    assert len(rtbench.load(tmp_path / "result").trials) == KEPT


def test_the_sum_can_be_computed_as_the_documents_say() -> None:
    content = content_of(REFERENCE)
    told = content.pop("sha256")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode("ascii")).hexdigest() == told
    for name, its in content["files"].items():
        assert hashlib.sha256((REFERENCE / name).read_bytes()).hexdigest() == its["sha256"]
