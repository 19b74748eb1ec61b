"""Measuring a saved result again: whether it agrees is said, and true."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtbench.analysis import statistics
from rtbench.cli import run_program
from rtbench.errors import ResultError
from rtbench.experiments import runner
from rtbench.experiments.compare import Compare, load_comparison
from rtbench.experiments.rerun import agreements, differences, settings_of
from rtbench.plan.settings import Given
from rtbench.result.comparison import Comparison
from tests.builders import REFERENCE, change, save
from tests.conftest import Program

RUN = ("run", "--transport", "polling", "--interval", "100ms", "--rate", "100", "--duration", "400ms", "--warmup", "0s")


@pytest.fixture(scope="module")
def reference() -> Comparison:
    return load_comparison(REFERENCE)


@pytest.fixture(scope="module")
def pair(reference: Comparison) -> Comparison:
    """Two variants of the reference, which are judged sooner than all eight."""
    variants = [v for v in reference.variants if v.label in ("sse", "websocket")]
    trials = [t for t in reference.trials if t.counts.variant in ("sse", "websocket")]
    return dataclasses.replace(reference, variants=variants, trials=trials, planned_trials=len(trials))


def doctored(result: Comparison, variant: str, factor: float = 1.0, dropped: int = 0) -> Comparison:
    """The same result with the latencies of a variant multiplied, and some deliveries of each of its trials gone."""
    trials = []
    for trial in result.trials:
        if trial.counts.variant == variant:
            kept = slice(None, len(trial.deliveries.due_ns) - dropped)
            d = trial.deliveries
            arrays = {f.name: getattr(d, f.name)[kept] for f in dataclasses.fields(d)}
            late_ns = (factor * (arrays["received_ns"] - arrays["due_ns"])).astype(np.int64)
            arrays["received_ns"] = arrays["due_ns"] + late_ns
            trial = dataclasses.replace(trial, deliveries=dataclasses.replace(d, **arrays))
        trials.append(trial)
    return dataclasses.replace(result, trials=trials)


@pytest.mark.process
@pytest.mark.alone
def test_a_result_measured_again_agrees(rtbench: Program) -> None:
    """Two honest runs part in one of twenty cases, so a second attempt is allowed."""
    assert rtbench(*RUN, "--trials", "6", "--seed", "7", "--out", "first").returncode == 0
    for attempt in ("second", "third"):
        done = rtbench("rerun", "first", "--out", attempt, "--quiet")
        if done.returncode != 3:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("agrees")
    assert done.stderr == ""
    assert "environment: the same" in done.stdout
    first, again = (load_comparison(rtbench.directory / name) for name in ("first", attempt))
    assert again.kind == "run"
    assert {given.source for given in again.settings.values()} == {"result"}
    assert {n: g.value for n, g in again.settings.items()} == {n: g.value for n, g in first.settings.items()}
    for a, b in zip(first.trials, again.trials, strict=True):
        assert a.publishes.due_ns.tolist() == b.publishes.due_ns.tolist()
    assert rtbench.processes() == []


@pytest.mark.parametrize(
    ("factor_or_dropped", "code", "said"),
    [
        ({}, 0, "agrees"),
        ({"factor": 3.0}, 3, "websocket: the median is 3"),
        ({"factor": 0.2}, 3, "does not agree: 1 of 2 variants"),
        ({"dropped": 1}, 3, "websocket: 10000 were delivered, then 9992"),
    ],
)
def test_a_doctored_result_does_not_agree(
    factor_or_dropped: dict[str, Any],
    code: int,
    said: str,
    pair: Comparison,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is measured again here is what was saved, which has had its own trials all along."""
    original = save(pair, tmp_path / "original")
    asked: list[Any] = []

    def measure(experiment: Compare, settings: Any, out: Path, watch: Any) -> Comparison:
        asked.append((experiment.kind, out))
        return doctored(pair, "websocket", **factor_or_dropped)

    monkeypatch.setattr(runner, "run", measure)
    assert run_program(["rerun", str(original), "--out", str(tmp_path / "again")]) == code
    printed = capsys.readouterr().out
    assert said in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert asked == [("comparison", tmp_path / "again")]


def test_a_failed_trial_is_exit_code_1(
    pair: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = dataclasses.replace(pair, trials=list(pair.trials))
    change(again, 0, error="the server ended")
    monkeypatch.setattr(runner, "run", lambda *_: again)
    assert run_program(["rerun", str(save(pair, tmp_path / "original"))]) == 1
    assert "invalid this time: trials failed: 1 of 8 trials failed: the server ended" in capsys.readouterr().out


def test_one_trial_cannot_be_judged(
    reference: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**reference.settings, "trials": Given(1, "flag")}
    one = dataclasses.replace(reference, trials=reference.trials[:8], settings=settings, planned_trials=8)
    monkeypatch.setattr(runner, "run", lambda *_: one)
    one_saved = str(save(one, tmp_path / "one"))
    assert run_program(["rerun", one_saved, "--strict"]) == 4
    assert run_program(["rerun", one_saved]) == 0
    printed = capsys.readouterr().out
    assert "one trial has no interval; measure with --trials 5" in printed
    assert "CANNOT TELL: 8 of 8 variants" in printed


def test_everything_installed_becomes_what_was_installed_then(reference: Comparison) -> None:
    settings = settings_of(reference)
    assert reference.settings["transport"].value is None
    assert settings["transport"] == Given(["polling", "long-polling", "sse", "websocket", "mqtt"], "result")
    assert settings["rate"] == Given(50.0, "result")
    fewer = [v for v in reference.variants if v.transport in ("sse", "websocket")]
    assert settings_of(dataclasses.replace(reference, variants=fewer))["transport"].value == ["sse", "websocket"]


@pytest.mark.process
def test_the_control_is_measured_again_where_it_was_measured(comparison: Path) -> None:
    fresh = load_comparison(comparison)
    settings = settings_of(fresh)
    assert settings["control"].value == any(v.control for v in fresh.variants)
    assert settings["transport"].value == list(dict.fromkeys(v.transport for v in fresh.variants if not v.control))


def replaced(result: Comparison, **options: Any) -> Comparison:
    variants = [dataclasses.replace(v, options=options) if v.label == "polling" else v for v in result.variants]
    return dataclasses.replace(result, variants=variants)


REFUSED = [
    ("incomplete", lambda r: dataclasses.replace(r, status="incomplete", trials=r.trials[:3]), "incomplete (3 of 64 trials)"),
    ("a missing variant", lambda r: dataclasses.replace(r, variants=[v for v in r.variants if v.label != "mqtt-qos1"]), "measured would be polling"),
    ("a default that changed", lambda r: replaced(r, interval_s=0.1), "polling had the options {'interval_s': 0.1}"),
    ("an unknown setting", lambda r: dataclasses.replace(r, settings={**r.settings, "colour": Given("red", "flag")}), "unknown option 'colour'"),
    ("another workload", lambda r: dataclasses.replace(r, workload=dataclasses.replace(r.workload, subscribers=9)), "has subscribers 9, measured would be 10"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_measured_again_is_refused_before_anything_starts(
    change: Any, said: str, reference: Comparison
) -> None:
    with pytest.raises(ResultError) as refused:
        settings_of(change(reference))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_result_agrees_with_itself(reference: Comparison) -> None:
    found = agreements(reference, reference)
    assert [a.agrees for a in found] == ["yes"] * 8
    assert [a.ratio.value for a in found if a.ratio] == pytest.approx([1.0] * 8)


def test_what_differs_in_the_environment_is_named(reference: Comparison) -> None:
    other = copy.deepcopy(reference)
    other.environment = {**reference.environment, "kernel": "7.0", "openssl": "4.0"}
    other.environment["libraries"] = {**reference.environment["libraries"], "aiohttp": "4.0"}
    other.variants = [
        dataclasses.replace(v, server_software="nginx 1") if v.label == "sse" else v for v in other.variants
    ]
    said = differences(reference, other)
    assert f"kernel was {reference.environment['kernel']}, is 7.0" in said
    assert any(text.startswith("libraries.aiohttp was") and text.endswith("is 4.0") for text in said)
    assert any(text.startswith("server of sse was") and text.endswith("is nginx 1") for text in said)
    assert len(said) <= 4
    assert differences(reference, reference) == []


def test_the_medians_are_compared_by_the_ratio_of_statistics(reference: Comparison) -> None:
    again = doctored(reference, "sse", 1.25)
    found = next(a for a in agreements(reference, again) if a.variant == "sse")
    before, after = (
        statistics.pooled_percentile([t.latency_ms for t in result.trials_of("sse")], 50, messages=375)
        for result in (reference, again)
    )
    assert found.ratio == statistics.ratio(after, before)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(1.25, rel=1e-6)
