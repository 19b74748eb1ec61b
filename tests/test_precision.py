"""Precision: trials are added until the medians are known well enough, or it is said why they are not."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import rtbench as package
from rtbench.analysis import statistics
from rtbench.analysis.precision import LEAST_TO_PROJECT, Precision, Width
from rtbench.errors import UsageError
from rtbench.experiments import schema
from rtbench.experiments.compare import load_comparison, plans
from rtbench.experiments.rerun import settings_of
from rtbench.plan.settings import LEAST_TRIALS_FOR_PRECISION, SETTINGS, Given, resolve
from rtbench.result.comparison import Comparison
from tests.builders import change, changed, latencies, saved_trials, simulated, simulated_trial, variant
from tests.conftest import Program, until

jsonschema = importlib.import_module("jsonschema")  # has no type hints

QUICK = ("--duration", "300ms", "--warmup", "0s")


def grown(spreads: dict[str, float], precision: float, most_trials: int = 30, seed: int = 0) -> Comparison:
    """Return a result of trials made up here, measured block after block until it says that this is enough."""
    result = simulated(dict.fromkeys(spreads, 1.0), LEAST_TRIALS_FOR_PRECISION)
    result.settings = {
        **result.settings,
        "precision": Given(precision, "flag"),
        "most_trials": Given(most_trials, "flag"),
    }
    result.trials = []
    while True:
        block = len(result.trials) // len(spreads)
        if block == result.blocks and not result.extend():
            return result
        for name, spread in spreads.items():
            trial = simulated_trial(result.workload, 1.0, spread, seed + 7, block=block)
            result.add(changed(trial, variant=name, index=len(result.trials)))


def test_trials_that_agree_are_enough_at_once() -> None:
    result = grown({"sse": 0.001, "websocket": 0.001}, 0.05)
    assert result.blocks == LEAST_TRIALS_FOR_PRECISION
    assert result.planned_trials == len(result.trials) == 2 * LEAST_TRIALS_FOR_PRECISION
    assert result.precision is not None
    assert result.precision.sentences() == ["precision: 5 % reached with 5 trials"]
    assert result.exit_code() == 0


def test_the_widest_variant_decides_and_all_get_its_trials() -> None:
    result = grown({"sse": 0.1, "websocket": 0.001}, 0.05)
    assert LEAST_TRIALS_FOR_PRECISION < result.blocks < 30
    assert [row["trials"] for row in result.summary] == [result.blocks] * 2
    row = result.summary["sse"]
    assert row["latency_p50_high_ms"] / row["latency_p50_ms"] <= 1.05
    assert row["latency_p50_ms"] / row["latency_p50_low_ms"] <= 1.05
    assert result.report().splitlines()[-1] == f"precision: 5 % reached with {result.blocks} trials"
    assert f" {result.blocks} trials;" in " ".join(result.report().split())


def test_what_is_out_of_reach_is_given_up_when_a_projection_means_something() -> None:
    result = grown({"sse": 0.9, "websocket": 0.001}, 0.03)
    assert result.blocks == LEAST_TO_PROJECT
    reached, missed = result.report().splitlines()[-2:]
    assert reached == "precision: 3 % reached by websocket with 10 trials"
    assert missed.startswith("precision: sse ±")
    assert "% after 10 trials, about " in missed
    needed = missed.split("about ")[1].split()[0]
    assert int(needed) > 100
    assert missed.endswith(f"would be needed (--most-trials {needed})")
    assert result.exit_code() == 3


def test_most_trials_are_never_exceeded() -> None:
    result = grown({"sse": 0.5}, 0.01, most_trials=7)
    assert result.blocks == 7
    assert result.exit_code() == 3


def test_a_trial_that_failed_is_exit_code_1_and_an_unfit_one_4() -> None:
    result = grown({"sse": 0.5}, 0.01, most_trials=6)
    change(result, 0, nagle_sockets=3)
    assert (result.exit_code(), result.exit_code(strict=True)) == (0, 4)
    change(result, 0, error="broke")
    assert result.exit_code() == 1


@pytest.mark.parametrize(
    ("width", "precision", "needed"),
    [
        (Width("sse", 10, 0.10), 0.05, 31),
        (Width("sse", 30, 0.073), 0.05, 60),
        (Width("sse", 6, 0.0501), 0.05, 7),
        (Width("sse", 3, 0.01), 0.05, 5),
        (Width("sse", 10, 0.5), 0.05, 530),
        (Width("sse", 10, 0.31), 0.03, 640),
        (Width("sse", 10, None), 0.05, None),
    ],
    ids=str,
)
def test_the_logarithm_of_the_width_shrinks_as_t_over_the_root_of_the_trials(
    width: Width, precision: float, needed: int | None
) -> None:
    assert width.needed(precision) == needed


def narrow(trials: int) -> Width:
    return Width("a", trials, 0.04)


def wide(trials: int) -> Width:
    return Width("b", trials, 0.09)


def none(trials: int) -> Width:
    return Width("c", trials, None)


@pytest.mark.parametrize(
    ("made", "blocks", "most", "enough"),
    [
        ([narrow], 4, 30, False),
        ([narrow], 5, 30, True),
        ([narrow, wide], 5, 30, False),
        ([wide], 9, 30, False),  # 23 would be needed
        ([wide], 9, 10, False),  # too early to project
        ([wide], 10, 25, True),  # 26
        ([wide], 10, 26, False),
        ([wide], 26, 26, True),
        ([narrow, none], 9, 30, False),
        ([narrow, none], 10, 30, True),
    ],
)
def test_whether_to_stop(made: list[Callable[[int], Width]], blocks: int, most: int, enough: bool) -> None:
    assert Precision(0.05, most, [make(blocks) for make in made]).enough(blocks) == enough


def test_what_has_no_interval_is_said() -> None:
    one = Precision(0.05, 30, [none(1)])
    assert one.sentences() == ["precision: c has no interval of its median after 1 trial"]
    far = Precision(0.0001, 30, [wide(10)])
    assert far.sentences()[0].endswith("about 5700000 would be needed")
    assert Precision(0.05, 30, [narrow(7), Width("d", 6, 0.01)]).sentences() == [
        "precision: 5 % reached with 6 to 7 trials"
    ]


def test_the_first_trials_are_those_without_it() -> None:
    variants = [variant(name) for name in "abc"]
    result = simulated({"sse": 1.0})
    more, fewer = (plans(variants, result.workload, blocks, result.settings) for blocks in (30, 5))
    assert more[: 3 * 5] == fewer


@pytest.mark.statistics
def test_stopping_when_it_is_narrow_favours_what_is_narrow_by_chance() -> None:
    """What docs/methodology.md says of 10 %: 90 % of the intervals that are narrow enough hold the median, not 95 %."""
    random = np.random.default_rng(1)
    held = []
    for _ in range(100):
        trials: list[NDArray[np.float64]] = []
        width = Width("a", 0, None)
        while not (trials and Precision(0.1, 30, [width]).enough(len(trials))):
            trials += latencies(random, 1)
            found = statistics.percentile(trials, 50, sum(map(len, trials)))
            assert found is not None
            if found.low is not None and found.high is not None:
                width = Width("a", len(trials), (found.high / found.low) ** 0.5 - 1)
                holds = found.low <= 1 <= found.high
        if width.within(0.1):
            held.append(holds)
    assert len(held) >= 85
    assert 0.82 <= sum(held) / len(held) <= 0.96


# as it is asked for


@pytest.mark.parametrize("given", ["5%", "5 %", " 5% ", 0.05, "0.05", ".05"])
def test_a_share_is_read_as_people_write_it(given: Any) -> None:
    assert resolve({"precision": (given, "argument")}, SETTINGS)["precision"].value == pytest.approx(0.05)


@pytest.mark.parametrize("given", ["0", "abc", "200%", "100%", "5", 5, 1, True, "-5%", "nan", "", "%", "5%%"])
def test_what_is_no_share_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match=r"--precision must be 0\.1% to 99%, such as 5% or 0\.05: got "):
        resolve({"precision": (given, "argument")}, SETTINGS)


@pytest.mark.parametrize(
    ("settings", "trials", "most"),
    [
        ({}, (5, "default"), (None, "default")),
        ({"precision": "5%"}, (5, "default"), (30, "default")),
        ({"precision": "5%", "trials": 3}, (3, "flag"), (30, "default")),
        ({"precision": "5%", "trials": 40}, (40, "flag"), (40, "default")),
        ({"precision": "5%", "most_trials": 64}, (5, "default"), (64, "flag")),
    ],
)
def test_trials_are_where_it_starts(settings: dict[str, Any], trials: tuple[Any, str], most: tuple[Any, str]) -> None:
    resolved = resolve({name: (value, "flag") for name, value in settings.items()}, SETTINGS)
    assert resolved["trials"] == Given(*trials)
    assert resolved["most_trials"] == Given(*most)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"most_trials": 30}, "--most-trials needs --precision"),
        ({"precision": "5%", "most_trials": 4}, r"--most-trials must be 5 to 10000 .*: got 4"),
        ({"precision": "5%", "trials": 8, "most_trials": 7}, r"--most-trials must be 8 to 10000 \(--trials 8\): got 7"),
        ({"precision": "5%", "most_trials": 20_000}, "got 20000"),
    ],
)
def test_trials_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        resolve({name: (value, "flag") for name, value in settings.items()}, SETTINGS)


# with real servers


@pytest.mark.process
@pytest.mark.alone
def test_a_run_that_is_precise_enough_says_so(rtbench: Program) -> None:
    done = rtbench("run", "--transport", "websocket", *QUICK, "--out", "out", RTBENCH_PRECISION="90%")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    result = load_comparison(rtbench.directory / "out")
    assert last == f"precision: 90 % reached with {result.blocks} trials"
    assert result.report() == done.stdout.rstrip("\n")
    assert result.settings["precision"] == Given(0.9, "environment")
    content = json.loads((rtbench.directory / "out" / "result.json").read_text())
    assert content["planned_trials"] == len(content["trials"]) >= 5
    assert content["precision"]["sentences"] == [last]
    settings = settings_of(result)
    assert {name: settings[name].value for name in ("trials", "precision", "most_trials")} == {
        "trials": result.blocks,
        "precision": None,
        "most_trials": None,
    }


@pytest.mark.process
@pytest.mark.alone
def test_a_comparison_that_cannot_be_says_what_it_would_take(rtbench: Program) -> None:
    config = 'precision = 0.001\ntransport = ["sse"]\nmost_trials = 6\n'
    (rtbench.directory / "settings.toml").write_text(config)
    done = rtbench("compare", "--no-sparse", "--config", "settings.toml", *QUICK, "--out", "out")
    assert done.returncode in (3, 4), done.stderr
    lines = done.stdout.splitlines()[-2:]
    for name, line in zip(("sse", "tcp"), lines, strict=True):
        assert line.startswith(f"precision: {name} ±")
        assert "% after 6 trials, about " in line
    result = load_comparison(rtbench.directory / "out")
    names = [trial.counts.variant for trial in result.trials]
    planned = plans(result.variants, result.workload, 30, result.settings)
    assert names == [plan.variant.name for plan in planned[:12]]
    assert result.precision is not None
    assert not result.precision.reached
    assert rtbench.processes() == []


@pytest.mark.process
@pytest.mark.alone
def test_a_run_that_is_stopped_says_how_far_it_came(rtbench: Program) -> None:
    process = rtbench.start("run", "--transport", "sse", "--precision", "0.1%", *QUICK, "--out", "out")
    out = rtbench.directory / "out"
    assert until(lambda: saved_trials(out) >= 6)
    process.terminate()
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    content = json.loads((out / "result.json").read_text())
    assert content["status"] == "incomplete"
    assert content["planned_trials"] == len(content["trials"]) + 1
    assert stdout.splitlines()[-1].startswith("precision: sse ±")
    assert load_comparison(out).report() == stdout.rstrip("\n")


@pytest.mark.process
@pytest.mark.alone
def test_python_takes_the_same_and_the_schema_knows_it(tmp_path: Path) -> None:
    result = package.run(
        transport="websocket", precision=0.9, most_trials=5, duration=0.2, warmup=0, out=tmp_path / "out"
    )
    assert result.blocks == 5
    assert result.precision is not None
    validator = jsonschema.Draft202012Validator(schema())
    validator.validate(json.loads((tmp_path / "out" / "result.json").read_text()))
