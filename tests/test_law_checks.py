"""The checks of the laws, on records that are made up: right ones hold, wrong ones do not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import ArrayLike, NDArray

import rtbench as package
from rtbench.analysis import laws
from rtbench.analysis.law_check import COLUMNS, FAILS, HOLDS, NOT_MEASURED, UNDECIDED, Check, Seen
from rtbench.analysis.measured import Measured
from rtbench.analysis.statistics import Estimate
from rtbench.cli import run_program
from rtbench.errors import ResultError
from rtbench.experiments import laws as experiment
from rtbench.experiments import load, runner
from rtbench.links import choice
from rtbench.plan import laws as plan
from rtbench.plan.laws import at_knee, at_random, flooded, slow
from rtbench.plan.workload import Workload
from rtbench.result.laws import LawsResult
from tests.builders import changed, trial

RTT_MS = 100.0
D = RTT_MS / 2
SET_UPS = {each.name: each for each in plan.set_ups(RTT_MS / 1e3)}
LOSS, CLOSING = "websocket, loss", "sse, a connection for each request"
BUSY = at_random(max(plan.POISSON))


def made(name: str, hop_ms: ArrayLike = D, publish_ms: float = D, connect: float = 0.0, **counts: Any) -> Measured:
    """A trial of a set-up on one topic; `hop_ms` is the delivery hop of all messages or of each."""
    workload = replace(SET_UPS[name], topics=1, publishers=1).workload(RTT_MS / 1e3)
    hops_ns = np.asarray(hop_ms, dtype=float) * 1e6
    latency_ns = np.ceil((publish_ms * 1e6 + hops_ns) * 1.5)  # two thirds of it are when the kernel had it
    return trial(
        workload,
        hops_ns.size if hops_ns.ndim else 60,
        latency_ns,
        lag_ns=0,
        stamped=True,
        relayed_after_ns=publish_ms * 1e6,
        connect_ns=(round(connect * RTT_MS * 1e6),) if connect else (),
        variant=name,
        **counts,
    )


def at_rate(name: str, per_s: float) -> Measured:
    """A trial whose publishes are finished at a rate, in the bursts of a window."""
    count = np.arange(round(per_s * made(name).workload.schedule_ns / 1e9))
    measured = made(name, np.full(len(count), D))
    done_ns = (count // plan.WINDOW * plan.WINDOW / per_s * 1e9).astype(np.int64)
    return replace(measured, publishes=replace(measured.publishes, done_ns=done_ns))


def waits(rate: float) -> NDArray[np.float64]:
    """What Poisson messages wait, evenly over their distribution."""
    share = np.linspace(0, 1, 5001)
    idle = np.exp(-rate) / (rate + np.exp(-rate))
    return np.asarray(D + RTT_MS * np.clip((share - idle) / (1 - idle), 0, None))


RIGHT: dict[str, Callable[[float], Measured]] = {  # by set-up: a trial as the law says it, stretched by a factor
    **{at_knee(r): lambda f, r=r: made(at_knee(r), f * (D if r < 1 else 2 * D)) for r in plan.KNEE},  # type: ignore[misc]
    "websocket": lambda f: made("websocket", f * D, connect=2 * f),
    "websocket, TLS": lambda f: made("websocket, TLS", connect=3 * f),
    "tcp": lambda f: made("tcp", connect=2 * f),
    "sse": lambda f: made("sse", f * D, f * D, connect=2 * f),
    CLOSING: lambda f: made(CLOSING, D, 3 * f * D),
    "polling": lambda f: made("polling", f * (D + np.linspace(0, plan.INTERVAL * RTT_MS, 2001))),
    **{at_random(r): lambda f, r=r: made(at_random(r), f * waits(r)) for r in plan.POISSON},  # type: ignore[misc]
    **{
        slow(q): lambda f, q=q: made(slow(q), f * (5 * D if q == 2 else D), f * D, connect=3 * f)  # type: ignore[misc]
        for q in (0, 1, 2)
    },
    **{flooded(q): lambda f, q=q: at_rate(flooded(q), f * 200 / q) for q in (1, 2)},  # type: ignore[misc]
    LOSS: lambda f: made(LOSS, [D] * 20 + [D + 250 if f == 1 else D]),
}


def seen(wrong: str = "", factor: float = 1.0) -> Seen:
    """Five trials of every set-up, those of `wrong` stretched by a factor."""
    return Seen({name: [make(factor if name == wrong else 1.0)] * 5 for name, make in RIGHT.items()}, RTT_MS)


def verdicts(law: str, of: Seen) -> list[str]:
    return [check.verdict for check in laws.checks(law, of)]


@pytest.mark.parametrize("law", laws.LAWS)
def test_a_law_holds_on_records_that_follow_it(law: str) -> None:
    assert {*verdicts(law, seen())} == {HOLDS}


NEEDED = [(law, each.name) for each in SET_UPS.values() for law in each.laws]


@pytest.mark.parametrize(("law", "name"), NEEDED)
def test_a_law_does_not_hold_on_records_that_are_a_tenth_off(law: str, name: str) -> None:
    assert FAILS in verdicts(law, seen(name, 1.1))
    if name != LOSS:  # which has a limit at one side only
        assert FAILS in verdicts(law, seen(name, 0.9))


@pytest.mark.parametrize("law", laws.LAWS)
def test_every_set_up_of_a_law_is_needed_for_it(law: str) -> None:
    for name in RIGHT:
        without = Seen({other: [make(1.0)] for other, make in RIGHT.items() if other != name}, RTT_MS)
        assert (NOT_MEASURED in verdicts(law, without)) == ((law, name) in NEEDED), name


def test_a_message_that_is_lost_breaks_the_law_of_loss() -> None:
    right = made(LOSS, [D] * 20 + [D + 250])
    lost = replace(right.deliveries, **{name: column[1:] for name, column in vars(right.deliveries).items()})
    with_loss = Seen({LOSS: [right, replace(right, deliveries=lost)]}, RTT_MS)
    assert verdicts("L14", with_loss) == [FAILS, HOLDS]


def test_a_trial_that_failed_or_had_another_link_is_not_counted_and_says_why() -> None:
    of = Seen({"sse": [made("sse", error="the server died"), changed(made("sse"), link_wrong="too slow")]}, RTT_MS)
    (check,) = laws.checks("L2", of)
    assert (check.verdict, check.reason) == (NOT_MEASURED, "sse: the server died")


def test_without_the_stamps_of_the_kernel_a_law_is_not_measured() -> None:
    measured = made("sse")
    unstamped = replace(measured, deliveries=replace(measured.deliveries, arrived_ns=np.empty(0, dtype=np.int64)))
    (check,) = laws.checks("L2", Seen({"sse": [unstamped]}, RTT_MS))
    assert check.verdict == NOT_MEASURED
    assert "receive stamps" in check.reason


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (96, 104, HOLDS),
        (94, 104, UNDECIDED),
        (96, 106, UNDECIDED),
        (90, 110, UNDECIDED),
        (106, 120, FAILS),
        (80, 94, FAILS),
    ],
)
def test_a_law_is_decided_by_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert Check("", "", "ms", 100, 95, 105, Estimate(100, low, high)).verdict == verdict


def test_without_an_interval_the_value_decides() -> None:
    assert [Check("", "", "", 1, 0.95, 1.05, Estimate(value)).verdict for value in (1, 1.06)] == [HOLDS, FAILS]


@pytest.mark.parametrize(("rate", "mean_ms"), [(0.01, 50.5), (0.1, 55.0), (0.4, 68.7), (2, 96.8), (10, 100.0)])
def test_the_law_of_poisson_arrivals_has_the_values_that_were_computed_and_simulated(
    rate: float, mean_ms: float
) -> None:
    assert laws.poisson_mean_ms(rate, RTT_MS) == pytest.approx(mean_ms, abs=0.05)
    assert simulated_mean_ms(rate) == pytest.approx(mean_ms, rel=0.01)


def simulated_mean_ms(rate: float, messages: int = 200_000) -> float:
    """The mean delay of a server that answers a waiting request with all it has, and gets the next a round trip later."""
    request_ms = total_ms = 0.0  # when the next request is there
    queued = False  # whether a message waits for it
    for at in np.cumsum(np.random.default_rng(1).exponential(RTT_MS / rate, messages)).tolist():
        if queued and request_ms <= at:  # it was answered meanwhile
            request_ms, queued = request_ms + RTT_MS, False
        if at < request_ms:
            total_ms, queued = total_ms + request_ms - at, True
        else:
            request_ms = at + RTT_MS
    return total_ms / messages + D


def test_the_distance_from_uniform_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    distance, bound = laws.uniform_distance([values[:100], values[100:]], 1, 9)
    assert distance == pytest.approx(scipy.stats.kstest(values, scipy.stats.uniform(1, 8).cdf).statistic)
    assert scipy.stats.kstwobign.sf(bound * 20) == pytest.approx(0.01, rel=0.02)


# The experiment, with these trials for measured ones


def measured_at_once(wrong: str, factor: float, busy: Container[int]) -> Callable[..., Any]:
    """What runs trials at once, but makes them up; those of `wrong` are stretched by a factor, those of `busy` disturbed."""

    async def trials_of(plans: Any, *_: object, **__: object) -> list[Measured]:
        found = []
        for each in plans:
            name = each.variant.label
            disturbed = each.index in busy
            of = RIGHT[name](factor if name == wrong else 1.2 if disturbed else 1.0)
            place = {"index": each.index, "block": each.block, "variant": each.variant.name}
            found.append(changed(of, **place, others_cpu=float(disturbed)))
        return found

    return trials_of


@pytest.fixture
def laws_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `rtbench laws` with made-up trials over a link that is there; return its exit code."""

    def run(
        *arguments: str, wrong: str = "", factor: float = 1.0, packet_link: str = "", busy: Container[int] = ()
    ) -> int:
        monkeypatch.setattr(experiment, "trials_of", measured_at_once(wrong, factor, busy))
        for module in (experiment, choice):
            monkeypatch.setattr(module, "packet_link_missing", lambda: packet_link)
        return run_program(["laws", "--quiet", *arguments])

    return run


def test_every_law_is_printed_with_its_verdict_and_saved(
    laws_of: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert laws_of("--trials", "2", "--out", str(tmp_path / "out")) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    table = [line.split()[0] for line in said.splitlines() if line.endswith("  holds")]
    assert list(dict.fromkeys(table)) == list(laws.LAWS)
    assert f"{len(table)} checks hold." in said
    again = load(tmp_path / "out")
    assert isinstance(again, LawsResult)
    assert again.report() + "\n" == said
    assert again.summary.columns == [column.name for column in COLUMNS]
    assert (again.status, again.exit_code(strict=True)) == ("complete", 0)
    assert {trial.workload for trial in again.trials_of(again.variants[0].name)} == {
        SET_UPS[again.variants[0].label].workload(RTT_MS / 1e3)
    }


def test_a_law_that_does_not_hold_is_exit_code_3_and_one_that_is_undecided_4_if_strict(
    laws_of: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "--law", "L6", "--trials", "2"
    assert laws_of(*asked, "--out", str(tmp_path / "wrong"), wrong=slow(2), factor=1.1) == 3
    assert "does not hold" in capsys.readouterr().out
    assert laws_of(*asked, "--strict", "--out", str(tmp_path / "right")) == 0
    result = load(tmp_path / "right")
    result.trials[0] = changed(made(slow(0), D, 1.2 * D), variant=result.trials[0].counts.variant)
    result.forget_tables()
    assert UNDECIDED in result.summary.column("verdict")
    assert (result.exit_code(), result.exit_code(strict=True)) == (0, 4)


def test_without_a_packet_link_the_law_of_loss_is_not_measured_and_says_why(
    laws_of: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert laws_of("--law", "L9", "--law", "L14", "--trials", "1", "--out", out, packet_link="no /dev/net/tun") == 0
    said = capsys.readouterr().out
    assert "L14 is not measured here: lost packets need a packet link: no /dev/net/tun" in said
    assert {v.link for v in load(tmp_path / "out").variants} == {"stream"}
    assert laws_of("--law", "L14", "--out", str(tmp_path / "none"), packet_link="no /dev/net/tun") == 2


def test_a_law_that_is_not_there_is_named(laws_of: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert laws_of("--law", "L8") == 2
    assert "--law must be one of L1, L2, L3, L4, L5, L6, L7, L9, L10, L14: got 'L8'" in capsys.readouterr().err
    assert laws_of("--rtt", "1ms") == 2
    assert "--rtt must be 0.04s to 2s: got 0.001s" in capsys.readouterr().err


def test_what_an_interruption_left_is_measured_in_the_same_order(laws_of: Callable[..., int], tmp_path: Path) -> None:
    assert laws_of("--law", "L10", "--law", "L6", "--trials", "2", "--out", str(tmp_path / "out")) == 0
    whole = load(tmp_path / "out")
    order = [(trial.counts.block, trial.counts.variant) for trial in whole.trials]
    assert isinstance(whole, LawsResult)
    whole.trials = whole.trials[:7]
    whole.status = "incomplete"
    runner.resume(experiment.ALL_LAWS, whole)
    assert [(trial.counts.block, trial.counts.variant) for trial in whole.trials] == order
    assert [trial.counts.index for trial in whole.trials] == list(range(len(order)))


def test_a_result_of_other_set_ups_is_not_resumed(laws_of: Callable[..., int], tmp_path: Path) -> None:
    assert laws_of("--law", "L6", "--trials", "1", "--out", str(tmp_path / "out")) == 0
    whole = load(tmp_path / "out")
    assert isinstance(whole, LawsResult)
    whole.status, whole.workloads = "incomplete", {name: Workload() for name in whole.workloads}
    with pytest.raises(ResultError, match="other set-ups"):
        runner.resume(experiment.ALL_LAWS, whole)


@pytest.mark.parametrize(
    ("busy", "runs", "code"), [((3, 4), 16, 0), (range(99), 21, 3)], ids=["for a moment", "all the time"]
)
def test_disturbed_trials_are_run_again_unless_the_machine_is_busy_all_the_time(
    busy: Container[int], runs: int, code: int, laws_of: Callable[..., int], tmp_path: Path
) -> None:
    # seven set-ups in two blocks are batches of 5, 2, 5 and 2; the first two are run again in vain
    assert laws_of("--law", "L6", "--law", "L10", "--trials", "2", "--out", str(tmp_path / "out"), busy=busy) == code
    result = load(tmp_path / "out")
    assert isinstance(result, LawsResult)
    assert len(result.trials) == runs
    assert result.repeated == runs - result.planned_trials
    assert ("were disturbed" in result.report()) == (code == 3)


@pytest.mark.parametrize("name", LawsResult.charts)
def test_a_chart_of_a_law_says_its_law_only_if_it_holds(name: str, laws_of: Callable[..., int], tmp_path: Path) -> None:
    of = {"laws-knee": at_knee(0.9), "laws-polling": "polling", "laws-qos": slow(2)}[name]
    titles = []
    for factor in (1.0, 1.2):
        out = tmp_path / f"{factor}"
        laws_of(
            "--law", "L3", "--law", "L5", "--law", "L6", "--trials", "2", "--out", str(out), wrong=of, factor=factor
        )
        chart = load(out).chart(name)
        lines = {line.get_label(): line for line in chart.figure.axes[0].lines}
        titles.append(chart.title)
        assert "round trip R = 100 ms" in chart.alt
        assert name == "laws-qos" or "predicted" in lines
    right, wrong = titles
    assert right.endswith(wrong)
    assert right != wrong


@pytest.mark.alone
@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="receive stamps")
def test_two_laws_hold_over_a_short_link(tmp_path: Path) -> None:
    result = package.laws(["L3", "L6"], rtt="40ms", trials=3, out=tmp_path / "out")
    assert FAILS not in result.summary.column("verdict"), result.report()
    assert HOLDS in result.summary.column("verdict")
    assert result.exit_code() == 0
    assert load(tmp_path / "out").report() == result.report()
