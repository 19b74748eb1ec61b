"""What is lost and what comes twice when something breaks, and what of that is a breach of a promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtbench
from rtbench.analysis.episodes import Episode, counts_of
from rtbench.analysis.guarantees import BROKEN, HELD, UNCOUNTED, UNPROMISED
from rtbench.analysis.ledger import account, fates
from rtbench.cli import run_program
from rtbench.errors import MissingProgram, UsageError
from rtbench.experiments import load
from rtbench.experiments.guarantees import GUARANTEES
from rtbench.plan.episodes import BEFORE_S, episodes, parse_episode, schedule_s
from rtbench.plan.faults import Evidence, in_order
from rtbench.plan.reconnect import NAIVE, NONE, ROBUST
from rtbench.plan.records import ACKED, INDETERMINATE, SUBSCRIBER, Outage
from rtbench.plan.settings import resolve
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result.guarantees import GuaranteesResult
from rtbench.result.result import Result
from rtbench.transports import registry
from tests import builders
from tests.builders import deliveries, episode, guarantees_result, publishes, save, variant

KILL = "kill-server for 300ms"
SECOND_NS = 10**9


def mqtt(qos: int, policy: str = ROBUST, **others: Any) -> Variant:
    return variant(f"mqtt-qos{qos}", "mqtt", options={"qos": qos}, reconnect=policy, **others)


def stock() -> Variant:
    return mqtt(1, server="mosquitto", server_options={"stock": True})


def result_of(one: Variant, fault: str = "cut", told: int = 0, **counts: Any) -> GuaranteesResult:
    return guarantees_result([one], [fault], lambda *_: episode(**counts), missed_told=told)


def outcome_of(one: Variant, fault: str = "cut", told: int = 0, **counts: Any) -> str:
    (cell,) = result_of(one, fault, told, **counts).cells
    return cell.outcome


# the plan


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("cut", "cut"),
        ("kill-server", "kill-server for 300ms"),
        (" kill-server  for 2s ", "kill-server for 2s"),
        ("offline for 1s of 50%", "offline for 1s of 50%"),
        ("offline of 50%", "offline for 300ms of 50%"),
    ],
)
def test_a_fault_is_written_without_its_time(text: str, written: str) -> None:
    assert parse_episode(text) == written
    assert parse_episode(written) == written


@pytest.mark.parametrize("text", ["cut@2s", "cut for 1s", "cutt", "", "kill-server for ever", "discard 1s"])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--fault"):
        parse_episode(text)


def test_episodes_do_not_overlap_and_end_before_the_schedule() -> None:
    planned = episodes(KILL, 4)
    assert in_order(planned) == list(planned)
    assert len({fault.at_s for fault in planned}) == 4
    gaps = {round(b.at_s - a.end_s, 6) for a, b in pairwise(planned)}
    assert len(gaps) == 1
    assert schedule_s(KILL, 4) - planned[-1].end_s == pytest.approx(gaps.pop())


# what is counted


def test_the_fate_of_each_message_adds_up_to_the_ledger() -> None:
    sent = publishes(np.arange(4) * SECOND_NS)
    got = deliveries(sent.due_ns[[0, 0, 1, 3, 3, 3]], sequence=[0, 0, 1, 3, 3, 3], subscriber=[0, 1, 0, 0, 1, 1])
    lost, duplicated = fates(sent, got, ["t"], ["t", "t"])
    assert lost.tolist() == [0, 1, 2, 0]
    assert duplicated.tolist() == [0, 0, 0, 1]
    ledger, _ = account(sent, got, ["t"], ["t", "t"])
    assert (ledger.lost, ledger.duplicated) == (lost.sum(), duplicated.sum())


def counted(seen_ns: Sequence[int | None], planned_ns: Sequence[int] = (SECOND_NS, 3 * SECOND_NS)) -> Any:
    """Two episodes of one publisher and one subscriber; the messages due at 0.8 s and 2.6 s are lost, 1 s comes twice."""
    workload = Workload(publishers=1, subscribers=1, duration_s=4.0, warmup_s=0.0)
    due_ns = np.arange(20) * SECOND_NS // 5
    sent = publishes(due_ns, status=[INDETERMINATE if i == 13 else ACKED for i in range(20)], relayed_ns=due_ns + 1)
    arrived = [i for i in range(20) if i not in (4, 13)] + [5]
    got = deliveries(due_ns[arrived], sequence=arrived)
    made = replace(builders.trial(workload, faults=evidence(seen_ns, planned_ns)), publishes=sent, deliveries=got)
    outage = Outage(SUBSCRIBER, 0, SECOND_NS + 100, SECOND_NS + 150_000_000, 1, True)
    return counts_of(builders.changed(made, outages=(outage,)), "cut")


def evidence(seen_ns: Sequence[int | None], planned_ns: Sequence[int]) -> tuple[Evidence, ...]:
    return tuple(
        Evidence("cut", planned, seen, None, "the pings of the witness went on")
        for planned, seen in zip(planned_ns, seen_ns, strict=True)
    )


def test_messages_belong_to_the_fault_around_which_they_were_due() -> None:
    first, second = counted([SECOND_NS, 3 * SECOND_NS]).episodes
    assert BEFORE_S == 0.5  # so a message due at 2.6 s belongs to the fault at 3 s
    assert (first.lost, first.lost_acked, first.duplicated) == (1, 1, 1)
    assert (second.lost, second.lost_acked, second.lost_relayed, second.duplicated) == (1, 0, 1, 0)
    assert first.published + second.published == 20
    assert (first.noticed, first.resumed, second.noticed) == (1, 1, 0)
    assert first.recover_ms == (201.0,)  # the next message was due at 1.2 s, and came 1 ms later


@pytest.mark.parametrize("seen_ns", [[SECOND_NS, None], [SECOND_NS, SECOND_NS]], ids=["unseen", "another episode"])
def test_a_trial_with_a_fault_that_nobody_saw_is_not_counted(seen_ns: list[int | None]) -> None:
    counts = counted(seen_ns)
    assert counts.episodes == ()
    assert counts.not_counted == "1 of 2 faults left no evidence: the pings of the witness went on"


def test_a_fault_that_comes_late_is_counted() -> None:
    assert len(counted([SECOND_NS + 90_000_000, 3 * SECOND_NS]).episodes) == 2


# what is promised


@pytest.mark.parametrize(
    ("one", "counts", "outcome"),
    [
        (mqtt(0), {"lost": 5}, UNPROMISED),
        (mqtt(1), {"lost": 5, "duplicated": 3}, HELD),  # what was lost was never acknowledged
        (mqtt(1), {"lost": 5, "lost_acked": 1}, BROKEN),
        (mqtt(2), {"lost": 5}, HELD),
        (mqtt(2), {"duplicated": 1}, BROKEN),
        (mqtt(2, NAIVE), {"lost": 5, "lost_acked": 5, "duplicated": 1}, UNPROMISED),
        (variant("sse", reconnect=ROBUST), {"lost": 1, "lost_acked": 1}, BROKEN),
        (variant("sse", reconnect=ROBUST), {"duplicated": 4}, HELD),
        (variant("sse", reconnect=NONE), {"lost": 1, "lost_acked": 1}, UNPROMISED),
        (variant("websocket", reconnect=ROBUST), {"lost": 5}, HELD),  # the server never had them
        (variant("websocket", reconnect=ROBUST), {"lost": 5, "lost_relayed": 1}, BROKEN),
        (variant("pigeon", reconnect=ROBUST), {"lost": 5, "lost_acked": 5}, UNPROMISED),
    ],
)
def test_only_what_was_promised_can_be_a_breach(one: Variant, counts: dict[str, Any], outcome: str) -> None:
    assert outcome_of(one, **counts) == outcome


def test_the_end_of_the_server_ends_the_promise_of_a_feed_and_not_that_of_a_session() -> None:
    lost: dict[str, Any] = {"lost": 2, "lost_acked": 2, "lost_relayed": 2}
    assert outcome_of(variant("sse", reconnect=ROBUST), fault=KILL, **lost) == UNPROMISED
    assert outcome_of(mqtt(1), KILL, **lost) == BROKEN


def test_a_gap_that_is_announced_is_no_loss_in_silence() -> None:
    lost: dict[str, Any] = {"lost": 3, "lost_acked": 3}  # in each of two episodes
    sse = variant("sse", reconnect=ROBUST)
    assert outcome_of(sse, told=6, **lost) == HELD
    assert outcome_of(sse, told=5, **lost) == BROKEN
    assert "announced: sse (robust), cut: the server said that 6 deliveries are gone" in result_of(
        sse, told=6, **lost
    ).report(200)


def test_a_failed_trial_and_one_without_evidence_are_named() -> None:
    failed = guarantees_result(error="the server died", episodes=())
    unseen = guarantees_result(faults=["cut"], episodes=())
    assert [r.cells[0].outcome for r in (failed, unseen)] == [UNCOUNTED] * 2
    assert "not counted: sse (robust), cut: the server died" in failed.report()
    assert (failed.exit_code(), unseen.exit_code(), unseen.exit_code(strict=True)) == (1, 0, 4)
    assert unseen.about(unseen.variants[0])["verdict"] == "invalid"


def test_a_promise_that_did_not_hold_is_exit_code_3_with_its_reason() -> None:
    broken = result_of(stock(), KILL, lost=9, lost_acked=7, resumed=0)
    assert broken.exit_code() == 3
    said = "14 acknowledged deliveries lost in 2 episodes; 20 of 20 sessions were gone"
    assert said in " ".join(broken.report().split())
    assert result_of(mqtt(0), lost=9).exit_code() == 0


# the table, the picture, the file


@pytest.fixture
def whole() -> GuaranteesResult:
    durable = replace(stock(), server_options={"durable": True})
    every = [variant("long-polling"), variant("websocket"), mqtt(0), mqtt(1), mqtt(2), stock(), durable]
    variants = [replace(v, reconnect=policy, network="rtt=50ms") for v in every for policy in (NAIVE, ROBUST)]

    def of_cell(one: Variant, fault: str) -> Episode:
        return episode(lost=123, lost_acked=123, duplicated=45, resumed=0) if fault == KILL else episode(duplicated=7)

    return guarantees_result(variants, ["cut", "discard for 300ms", KILL], of_cell)


def test_the_table_fits_80_columns(whole: GuaranteesResult) -> None:
    lines = whole.report(80).splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("mqtt-qos1 mosquitto stock"))
    assert row.split() == ["mqtt-qos1", "mosquitto", "stock", *("+", "0/7", "0.25s") * 2, "!", "123/45", "0.25s"]
    assert "–" not in "".join(lines), "a cell was cut"


def test_faults_of_one_kind_have_columns_of_their_own() -> None:
    table = guarantees_result(faults=[KILL, "kill-server for 2s"]).overview()
    assert table.columns == ["variant", KILL, "kill-server for 2s", "reconnect"]


def test_a_saved_result_is_the_same_when_it_is_loaded(whole: GuaranteesResult, tmp_path: Path) -> None:
    loaded = load(save(whole, tmp_path / "saved"))
    assert isinstance(loaded, GuaranteesResult)
    assert loaded.summary.to_csv() == whole.summary.to_csv()
    assert loaded.report() == whole.report()


def test_the_picture_says_everything_without_colour(whole: GuaranteesResult) -> None:
    chart = whole.chart("guarantees")
    axes = chart.figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert len(texts) == len(whole.cells)
    signs = {"held": "✓", "not kept": "✗", "nothing promised": "–"}
    assert [text[0] for text in texts] == [signs[str(patch.get_gid())] for patch in axes.patches]
    assert "mqtt-qos1 mosquitto stock, robust, kill-server for 300ms: not kept, 246 lost" in chart.alt
    assert chart.title.startswith("10 of 16 promises held")


# the experiment


def started(monkeypatch: pytest.MonkeyPatch, **given: Any) -> GuaranteesResult:
    """An empty result for some settings, without a look at the machine."""
    monkeypatch.setattr("rtbench.result.result.describe", lambda _: {"link": "loopback"})
    return GUARANTEES.start(resolve({k: (v, "argument") for k, v in given.items()}, GUARANTEES.settings()))


def test_without_mosquitto_its_rows_are_left_out_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(transport: str, name: str = "embedded") -> Any:
        if name == "mosquitto":
            raise MissingProgram("mosquitto is not installed: get it")
        return server(transport, name)

    server = registry.server
    monkeypatch.setattr(registry, "server", missing)
    with pytest.warns(UserWarning, match="mosquitto is left out: mosquitto is not installed: get it"):
        result = started(monkeypatch, transport="mqtt")
    assert {v.server for v in result.variants} == {"embedded"}
    with pytest.raises(MissingProgram):
        started(monkeypatch, transport="mqtt", server="mosquitto")
    assert {v.server for v in started(monkeypatch, transport="sse").variants} == {"embedded"}, "no word of it here"


@pytest.mark.process
@pytest.mark.program("mosquitto")
def test_mosquitto_is_measured_stock_and_durable_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    result = started(monkeypatch, qos=1)
    served = {tuple(v.server_options) for v in result.variants if v.server == "mosquitto"}
    assert served == {("stock",), ("durable",)}
    named = started(monkeypatch, transport="mqtt", server="mosquitto", server_option="durable=yes")
    assert {tuple(v.server_options) for v in named.variants} == {("durable",)}


def test_a_cell_that_is_not_counted_is_measured_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    result = started(monkeypatch, transport="sse", reconnect=ROBUST, fault=["cut", "stall"], at_once=1)
    measured = []
    for batch in GUARANTEES.steps(result):
        ((plan, fault),) = batch.trials
        measured.append(fault)
        episodes_of: dict[str, Any] = {} if fault == "cut" else {"episodes": ()}
        made = guarantees_result([plan.variant], [fault], index=plan.index, **episodes_of)
        result.add(made.trials[0])
    assert measured == ["cut", "stall for 300ms", "stall for 300ms"]
    assert result.steps == (3, 3)


def test_clients_that_do_not_come_back_have_one_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    result = started(monkeypatch, transport="sse", reconnect=[NONE, ROBUST], fault="cut")
    (batch,) = GUARANTEES.steps(result)
    assert {plan.variant.reconnect: len(plan.faults) for plan, _ in batch.trials} == {NONE: 1, ROBUST: 4}


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fault", "blackhole"], "--fault blackhole needs a packet link, and this has a stream link: use discard"),
        (["--fault", "cut@1s"], "--fault is repeated here: leave out its time"),
        (["--episodes", "0"], "--episodes must be 1 to 1000"),
        (["--at-once", "0"], "--at-once must be 1 to 64"),
        (["--network", "lan"], "no --network"),
        (["--server", "embedded", "--rate", "0.001"], "--rate"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["guarantees", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.process
@pytest.mark.long
def test_what_is_promised_is_what_is_seen(tmp_path: Path) -> None:
    few: dict[str, Any] = {"server": "embedded", "episodes": 3, "reconnect": ROBUST}
    result: Result[Any] = rtbench.guarantees(["websocket", "mqtt"], fault=["cut", KILL], out=tmp_path / "out", **few)
    rows = {(row["variant"].partition(" ")[0], row["fault"]): row for row in load(tmp_path / "out").summary}
    assert {row["outcome"] for row in rows.values()} <= {HELD, BROKEN, UNPROMISED}
    for name in ("websocket", "mqtt-qos0"):
        assert rows[name, "cut"]["lost_deliveries"] > 0, f"{name} lost nothing: the fault proves nothing"
    once = rows["mqtt-qos1", "cut"]
    assert (once["outcome"], once["lost_acked"]) == (HELD, 0)
    assert once["duplicated_deliveries"] > 0
    exactly = rows["mqtt-qos2", "cut"]
    assert (exactly["outcome"], exactly["lost_acked"], exactly["duplicated_deliveries"]) == (HELD, 0, 0)
    assert rows["mqtt-qos1", KILL]["outcome"] == BROKEN
    assert result.exit_code() == 3


@pytest.mark.process
@pytest.mark.long
@pytest.mark.program("mosquitto")
def test_mosquitto_keeps_qos_1_over_sigkill_if_it_is_told_to_write() -> None:
    few: dict[str, Any] = {"server": "mosquitto", "episodes": 3, "reconnect": ROBUST, "fault": "kill-server", "qos": 1}
    rows = {row["variant"].split("=")[-2].split(" ")[-1]: row for row in rtbench.guarantees("mqtt", **few).summary}
    assert rows["stock"]["outcome"] == BROKEN
    assert rows["stock"]["resumed"] == 0
    assert rows["durable"]["resumed"] == rows["durable"]["noticed"] > 0
    assert rows["durable"]["lost_acked"] < rows["stock"]["lost_acked"] / 5
