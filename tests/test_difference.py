"""Differences: results made up here with a known truth, and how often the intervals tell it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from rtbench.analysis import statistics
from rtbench.analysis.difference import CANNOT_TELL, COMPARED, NO_INTERVAL, SAME, between, noise_floor, ratios, verdict
from rtbench.analysis.measured import Measured
from rtbench.analysis.statistics import Estimate
from rtbench.cli.diff import command
from rtbench.errors import Error, UsageError
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result.comparison import Comparison
from rtbench.result.result import INCOMPLETE
from tests import builders
from tests.builders import BETWEEN, change, comparison, latencies, save, simulated, simulated_trial, variant
from tests.conftest import Program

REFERENCE = str(builders.REFERENCE)


# what is compared


def test_a_result_and_itself_show_no_difference() -> None:
    result = simulated({"sse": 1.0, "websocket": 2.0})
    compared = between(result, result)
    found = [row for row in compared if row["metric"] != "latency_p99_ms"]
    assert compared.columns == ["variant", "metric", "a", "b", "ratio", "ratio_low", "ratio_high", "verdict"]
    assert {row["verdict"] for row in found} == {SAME}
    assert {row["ratio"] for row in found} == {1.0}
    assert all(row["ratio_low"] <= 1 <= row["ratio_high"] for row in found)
    assert not compared.conditions


def test_the_figures_are_those_of_the_summary() -> None:
    a, b = simulated({"sse": 1.0}, seed=1), simulated({"sse": 1.3}, seed=2)
    for row in between(a, b):
        if row["metric"] == "latency_p99_ms":
            continue  # 360 messages are too few
        assert row["a"] == pytest.approx(a.summary["sse"][row["metric"]], rel=1e-12)
        assert row["b"] == pytest.approx(b.summary["sse"][row["metric"]], rel=1e-12)
        assert row["ratio"] == pytest.approx(row["b"] / row["a"], rel=1e-12)


def test_latencies_and_costs_of_one_and_a_half_show_one_and_a_half() -> None:
    found = between(simulated({"sse": 1.0}, trials=20, spread=0.02), simulated({"sse": 1.5}, trials=20, spread=0.02))
    for row in found:
        if row["metric"] == "wire_bytes_per_delivery":
            assert row["verdict"] == SAME
        else:
            assert row["ratio"] == pytest.approx(1.5, rel=1e-4)
            if row["metric"] == "latency_p99_ms":
                assert row["verdict"] == NO_INTERVAL
                continue
            assert 1.35 < row["ratio_low"] < 1.5 < row["ratio_high"] < 1.65
            assert row["verdict"].startswith("B is 1.4")
            assert row["verdict"].endswith(" times A")


def test_a_failed_trial_is_left_out_and_its_variant_named() -> None:
    a, b = simulated({"sse": 1.0}), simulated({"sse": 1.0})
    change(b, 0, error="broke", server_cpu_ns=10**15)
    found = between(a, b)
    assert found.rows[-1]["verdict"] == SAME
    assert not found.fit
    assert any(note.startswith("sse in B is invalid: trials failed: 1 of 6 trials failed") for note in found.notes)


def test_what_is_missing_is_no_figure() -> None:
    a, b = simulated({"sse": 1.0}, trials=1), simulated({"sse": 1.0}, trials=2)
    change(b, 0, subscriber_run_wire=None, server_cpu_ns=None)
    assert [row["verdict"] for row in between(a, b)] == [
        NO_INTERVAL,
        NO_INTERVAL,
        "too few messages",
        "too few messages",
        NO_INTERVAL,
        "not measured",
        "not measured",
    ]


def test_an_incomplete_result_and_what_only_one_has_are_named() -> None:
    a, b = simulated({"sse": 1.0, "polling": 1.0}), simulated({"sse": 1.0, "mqtt": 1.0})
    b.status, b.planned_trials = INCOMPLETE, 20
    text = " ".join(str(between(a, b)).split())
    assert "B is INCOMPLETE: 12 of 20 trials." in text
    assert "Only in A, so not compared: polling." in text
    assert "Only in B, so not compared: mqtt." in text
    with pytest.raises(UsageError, match="no variant in common: A has polling, and B has mqtt"):
        between(simulated({"polling": 1.0}), simulated({"mqtt": 1.0}))


# what is refused


def other_workload(result: Comparison) -> None:
    result.workload = replace(result.workload, payload_bytes=200)


def other(**changed: Any) -> Callable[[Comparison], None]:
    def change(result: Comparison) -> None:
        result.variants = [replace(variant, **changed) for variant in result.variants]

    return change


def on(**changed: Any) -> Callable[[Comparison], None]:
    def change(result: Comparison) -> None:
        result.environment = {**result.environment, **changed}

    return change


CONDITIONS = [
    pytest.param(other_workload, "payload_bytes 100 and 200", id="workload"),
    pytest.param(other(options={"qos": 1}), "sse, mqtt: qos unknown and 1", id="an option"),
    pytest.param(other(server_software="S 2"), "sse, mqtt: server software S 1 and S 2", id="server software"),
    pytest.param(other(client_software="C 2"), "sse, mqtt: client software C 1 and C 2", id="client software"),
    pytest.param(on(kernel="6.2"), "kernel 6.1 and 6.2", id="kernel"),
    pytest.param(on(processor="Q"), "processor P and Q", id="processor"),
    pytest.param(on(cores=8), "cores 4 and 8", id="cores"),
    pytest.param(on(python="CPython 3.13.0"), "python CPython 3.11.7 and CPython 3.13.0", id="python"),
    pytest.param(on(link="wifi"), "link loopback and wifi", id="link"),
    pytest.param(on(libraries={"rtbench": "2"}), "libraries.rtbench 1 and 2", id="rtbench"),
    pytest.param(on(affinity="0"), "affinity unknown and 0", id="cores that may be used"),
    pytest.param(on(cpu_quota_cores=0.5), "cpu_quota_cores unknown and 0.5", id="a quota"),
    pytest.param(on(network={"congestion_control": "bbr"}), "network.congestion_control unknown and bbr", id="TCP"),
    pytest.param(on(python_build={"debug": True}), "python_build.debug unknown and True", id="how python was built"),
]


@pytest.mark.parametrize(("made_other", "said"), CONDITIONS)
def test_results_measured_otherwise_are_refused_by_name(made_other: Callable[[Comparison], None], said: str) -> None:
    a, b = simulated({"sse": 1.0, "mqtt": 1.0}, 2), simulated({"sse": 1.0, "mqtt": 1.0}, 2)
    made_other(b)
    with pytest.raises(UsageError) as refused:
        between(a, b)
    assert str(refused.value) == f"A and B were not measured alike; {said}; --anyway compares them nevertheless"
    found = between(a, b, anyway=True)
    assert list(found.conditions) == [said]
    assert str(found).startswith(f"NOT MEASURED ALIKE, so a difference may come from any of these:\n- {said}\n\n")
    assert said in found._repr_html_()


def test_what_cannot_reach_the_figures_is_no_condition() -> None:
    other: dict[str, Any] = {
        "memory_bytes": 1,
        "limits": {"open_files": 9},
        "packages_sha256": "f",
        "libraries": {"rtbench": "1", "click": "9"},
    }
    assert not between(simulated({"sse": 1.0}), simulated({"sse": 1.0}, **other)).conditions


def test_all_that_differs_is_named_in_one_line() -> None:
    a, b = simulated({"sse": 1.0}), simulated({"sse": 1.0}, kernel="6.2", cores=8)
    other_workload(b)
    with pytest.raises(UsageError) as refused:
        between(a, b)
    assert "; payload_bytes 100 and 200; kernel 6.1 and 6.2; cores 4 and 8; " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_more_trials_another_time_and_another_variant_are_no_other_conditions() -> None:
    a, b = simulated({"sse": 1.0}, trials=5, seed=1), simulated({"sse": 1.0, "mqtt": 1.0}, trials=7, seed=2)
    b.variants[1] = replace(b.variants[1], server_software="S 9")
    found = between(a, b)
    assert not found.conditions
    assert any("different times" in note for note in found.notes)


# within one result


def test_ratios_are_those_to_the_baseline() -> None:
    result = simulated({"sse": 1.0, "websocket": 0.5, "mqtt": 2.0}, spread=0.01)
    found = result.ratios("websocket")
    assert list(dict.fromkeys(found.column("variant"))) == ["sse", "mqtt"]
    by = {(row["variant"], row["metric"]): row for row in found}
    assert by["sse", "latency_p50_ms"]["ratio"] == pytest.approx(2, rel=0.001)
    assert by["mqtt", "latency_mean_ms"]["ratio"] == pytest.approx(4, rel=0.001)
    assert by["mqtt", "latency_p50_ms"]["verdict"].endswith(" times the baseline")
    with pytest.raises(UsageError, match="no variant 'pigeon' in this result; it has sse, websocket, mqtt"):
        ratios(result, "pigeon")
    with pytest.raises(UsageError, match="sse is the only variant"):
        ratios(simulated({"sse": 1.0}), "sse")


def test_the_noise_floor_sets_odd_blocks_against_even_ones() -> None:
    result = simulated({"sse": 1.0}, trials=5)
    row = next(row for row in result.noise_floor() if row["metric"] == "latency_p50_ms")
    groups = [[t.latency_ms for t in result.trials if t.counts.block % 2 == odd] for odd in (0, 1)]
    even, odd = (statistics.pooled_percentile(group, 50, 60 * len(group)) for group in groups)
    expected = statistics.ratio(odd, even)
    assert expected is not None
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (expected.value, expected.low, expected.high)


def test_the_noise_floor_of_a_machine_that_alternates_is_seen() -> None:
    result = simulated({"sse": 1.0}, trials=10, spread=0.02)
    slow = simulated({"sse": 1.2}, trials=10, spread=0.02).trials
    result.trials = [slow[i] if i % 2 else trial for i, trial in enumerate(result.trials)]
    assert noise_floor(result)["sse"]["verdict"].startswith("odd is 1.1")


def test_few_trials_are_said_to_be_few() -> None:
    few, enough = noise_floor(simulated({"sse": 1.0}, trials=5)), noise_floor(simulated({"sse": 1.0}, trials=10))
    assert any(n.startswith("3 against 2 trials (sse): too few to show a small difference") for n in few.notes)
    assert not any("too few" in note for note in enough.notes)
    assert "Where nothing differs, up to 1 of 6 rows may show a difference." in few.notes
    with pytest.raises(UsageError, match="at least two trials"):
        noise_floor(simulated({"sse": 1.0}, trials=1))


# in words


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (Estimate(1.27, 1.24, 1.31), "B is 1.24 to 1.31 times A"),
        (Estimate(0.5, 0.4567, 0.6), "B is 0.457 to 0.600 times A"),
        (Estimate(1.0, 0.9, 1.1), SAME),
        (Estimate(1.0, 1.0, 1.1), SAME),
        (Estimate(1.0, 0.8, 1.25), SAME),
        (Estimate(1.0, 0.79, 1.25), CANNOT_TELL),
        (Estimate(1.0, 0.8, 1.26), CANNOT_TELL),
        (Estimate(0.53, 4.5e-5, 6350.0), CANNOT_TELL),
        (Estimate(1.0, 1 + 1e-12, 1 + 2e-12), SAME),
        (Estimate(1.0, 1.00012, 1.002), "B is 1.0001 to 1.0020 times A"),
        (Estimate(2.69, 2.69, 2.69), "B is 2.69 times A"),
        (Estimate(200.0, 190.0, 1234.5), "B is 190 to 1234 times A"),
        (Estimate(1.2), NO_INTERVAL),
        (None, "no ratio: the baseline is zero"),
    ],
)
def test_a_verdict_is_in_words(ratio: Estimate | None, said: str) -> None:
    assert verdict(ratio, "B is {} times A") == said


# on the command line


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are saved in a directory of the test's own, and named from there."""
    monkeypatch.chdir(tmp_path)


def saved(**results: Comparison) -> None:
    for name, result in results.items():
        save(result, Path(name))


def said(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    if done.exception is not None:
        assert isinstance(done.exception, Error), done.exception
        return done.exception.exit_code, str(done.exception)
    return int(done.return_value), done.stdout


LONG = "long-polling (mosquitto, lean)"


@pytest.mark.parametrize("arguments", [("A", "B"), ("A", "--baseline", "sse"), ("A", "--aa")], ids=" ".join)
def test_every_comparison_is_printed_within_a_hundred_columns(arguments: tuple[str, ...]) -> None:
    saved(A=simulated({"sse": 1.0, LONG: 1234.5}), B=simulated({"sse": 1.5, LONG: 0.001}, seed=3))
    code, text = said(*arguments)
    assert code == 0
    assert max(map(len, text.splitlines())) <= 100
    assert f"\n{LONG}\n" in text
    assert all(head in text for head in COMPARED.values())


def test_json_has_the_rows_the_conditions_and_the_notes() -> None:
    saved(A=simulated({"sse": 1.0}), B=simulated({"sse": 1.5}, cores=8))
    code, text = said("A", "B", "--anyway", "--json")
    content = json.loads(text)
    assert code == 0
    assert (content["a"], content["b"], content["conditions"]) == ("A", "B", ["cores 4 and 8"])
    assert [row["metric"] for row in content["rows"]] == list(COMPARED)
    assert content["notes"]


def test_an_invalid_variant_is_exit_code_4_if_that_is_asked_for() -> None:
    result = simulated({"sse": 1.0})
    change(result, 0, nagle_sockets=3)
    saved(A=result)
    code, text = said("A", "--aa", "--strict")
    assert code == 4
    assert said("A", "--aa")[0] == 0
    assert "NOT FIT TO CONCLUDE FROM" in text
    assert "sse is invalid: Nagle's algorithm was on: 3 sockets without TCP_NODELAY" in text


def test_a_row_that_cannot_tell_is_said_aloud_and_is_exit_code_4_if_that_is_asked_for() -> None:
    wide, close = ([simulated({"sse": 1.0}, 6, seed, spread) for seed in (1, 2)] for spread in (0.9, 0.001))
    saved(A=wide[0], B=wide[1], C=close[0], D=close[1])
    assert "CANNOT TELL in" in said("A", "B")[1]
    assert (said("A", "B")[0], said("A", "B", "--strict")[0]) == (0, 4)
    assert "CANNOT TELL" not in said("C", "D")[1]
    assert said("C", "D", "--strict")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["A"], "nothing to compare A with: give a second result, --baseline VARIANT or --aa"),
        (["A", "B", "--aa"], "B and --aa do not go together; give one of them"),
        (["A", "--aa", "--baseline", "sse"], "--baseline and --aa do not go together; give one of them"),
        (["A", "--aa", "--anyway"], "--anyway is for two results"),
        (["A", "--baseline", "pigeon"], "no variant 'pigeon' in this result; it has sse"),
        (["A", "B"], "A and B were not measured alike; kernel 6.1 and 6.2; --anyway compares them nevertheless"),
    ],
)
def test_what_cannot_be_compared_is_said(arguments: list[str], text: str) -> None:
    saved(A=simulated({"sse": 1.0}), B=simulated({"sse": 1.0}, kernel="6.2"))
    code, message = said(*arguments)
    assert code == 2
    assert message.startswith(text)


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments", [(REFERENCE,), ("--baseline", "websocket"), ("--aa",)], ids=["with itself", "its variants", "A/A"]
)
def test_the_reference_result_can_be_compared(rtbench: Program, arguments: tuple[str, ...]) -> None:
    done = rtbench("diff", REFERENCE, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert SAME in done.stdout
    if arguments == (REFERENCE,):
        assert " times A" not in done.stdout


# how often the intervals tell the truth

Trials = list[NDArray[np.float64]]


def median(drawn: Trials) -> statistics.Pooled | None:
    return statistics.pooled_percentile(drawn, 50, sum(map(len, drawn)))


@pytest.mark.statistics
@pytest.mark.parametrize("trials", [3, 5])
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_difference_of_one_half_is_never_taken_for_agreement(trials: int, factor: float) -> None:
    """Equal groups differ in one pair of twenty at most, within what 300 draws vary; few trials mostly cannot tell."""
    random = np.random.default_rng(trials)
    answers = []
    for seed in range(300):
        a, b = latencies(random, trials), [factor * t for t in latencies(random, trials)]
        answers.append(verdict(statistics.ratio(median(b), median(a), seed=seed), "{}"))
    if factor == 1.0:
        assert (
            sum(answer not in (SAME, CANNOT_TELL) for answer in answers) / 300 <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5
        )
        assert answers.count(CANNOT_TELL) > 200
    else:
        assert answers.count(SAME) / 300 < 0.05


def false_alarms(
    trials: int, others: int, pairs: int, unit: Callable[[Trials], Trials], percent: float | None = None
) -> float:
    """Return how many of some pairs, alike by construction, show a difference."""
    random = np.random.default_rng(1000 + trials)

    def figure(count: int) -> statistics.Pooled | None:
        drawn = unit(latencies(random, count))
        if percent is None:
            return statistics.pooled_mean(drawn)
        return statistics.pooled_percentile(drawn, percent, sum(map(len, drawn)))

    found = [statistics.ratio(figure(trials), figure(others), seed=seed) for seed in range(pairs)]
    return sum(map(statistics.differs, found)) / pairs


def of_trials(drawn: Trials) -> Trials:
    return drawn


def of_messages(drawn: Trials) -> Trials:
    """Take every message for a trial, as an interval does that believes them independent."""
    return list(np.concatenate(drawn)[:, None])


GROUPS = [(2, 2), (3, 3), (4, 4), (5, 5), (10, 10), (3, 2), (10, 2), (10, 3)]


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("trials", "others", "percent", "pairs"),
    [(*group, None, 1000) for group in GROUPS]
    + [(2, 2, 50, 400), (5, 5, 50, 400), (10, 10, 50, 600), (10, 3, 50, 400), (3, 3, 75, 400), (5, 5, 75, 400)],
)
def test_at_most_one_pair_in_twenty_shows_a_difference_where_there_is_none(
    trials: int, others: int, percent: float | None, pairs: int
) -> None:
    """Within two standard deviations of what so many draws of a share of 5 % vary."""
    assert false_alarms(trials, others, pairs, of_trials, percent) <= 0.05 + 2 * (0.05 * 0.95 / pairs) ** 0.5


@pytest.mark.statistics
def test_messages_taken_for_independent_would_show_a_difference_in_a_third_of_the_pairs() -> None:
    assert false_alarms(5, 5, 100, of_messages) > 0.25
    assert false_alarms(5, 5, 100, of_trials) <= 0.1


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("trials", "scale", "least"),
    [(10, 0.8, 70), (10, 1.25, 70), (5, 1.5, 80)],
    ids=["10, -20 %", "10, +25 %", "5, +50 %"],
)
def test_a_difference_that_is_there_is_mostly_shown(trials: int, scale: float, least: int) -> None:
    random = np.random.default_rng(7)
    shown = 0
    for seed in range(100):
        b = statistics.pooled_mean([scale * t for t in latencies(random, trials)])
        found = statistics.ratio(b, statistics.pooled_mean(latencies(random, trials)), seed=seed)
        shown += statistics.differs(found)
    assert shown >= least


VARIANTS = dict.fromkeys(("polling", "sse", "websocket", "mqtt"), 1.0)


def alike(trials: int, seed: int) -> Comparison:
    """Return a result in which nothing differs but the chance of every trial of every variant."""

    def made(workload: Workload, of: Variant, block: int) -> Measured:
        number = list(VARIANTS).index(of.name)
        return simulated_trial(workload, 1.0, BETWEEN, 1000 * seed + number, block=block)

    return comparison([variant(name) for name in VARIANTS], made, trials)


@pytest.mark.statistics
@pytest.mark.parametrize("trials", [3, 4, 5, 10])
def test_an_aa_comparison_as_a_whole_finds_a_difference_in_one_of_twenty_at_most(trials: int) -> None:
    """Where one single row or another does so much more often: there are 24, at one in twenty each."""
    found = [noise_floor(alike(trials, seed)) for seed in range(30)]
    assert sum("part more than chance" in str(each.conclusion) for each in found) <= 4
    if trials == 10:
        assert sum(any("times" in row["verdict"] for row in each) for each in found) > 6


@pytest.mark.parametrize("factor", [1.2, 0.8])
def test_an_aa_comparison_finds_a_machine_that_alternates(factor: float) -> None:
    result = simulated(VARIANTS, 10, spread=0.03)
    slow = simulated(dict.fromkeys(VARIANTS, factor), 10, spread=0.03).trials
    result.trials = [slow[i] if each.counts.block % 2 else each for i, each in enumerate(result.trials)]
    text = " ".join(str(noise_floor(result)).split())
    assert "rows differ more than chance explains (family-wise at 5 %: Bonferroni): polling net+srv p50 ms, " in text
    assert text.endswith("something on this machine changed from block to block.")


def test_an_aa_comparison_without_a_difference_says_so_in_its_last_line() -> None:
    two = dict.fromkeys(("sse", "websocket"), 1.0)
    a = simulated(two, 10, seed=1)
    saved(A=a, B=simulated(two, 3), C=simulated(two, 2))
    conclusion = "A/A: no difference shown in 12 rows (family-wise at 5 %: Bonferroni)."
    found = noise_floor(a)
    assert str(found).splitlines()[-1] == conclusion
    assert conclusion in found._repr_html_()
    assert json.loads(said("A", "--aa", "--json")[1])["conclusion"] == conclusion
    assert said("B", "--aa")[1].splitlines()[-1].startswith("A/A: no conclusion: a half with one trial")
    assert json.loads(said("A", "C", "--json")[1])["conclusion"] is None
    assert "A/A" not in said("A", "C")[1]
