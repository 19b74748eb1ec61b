"""Measurements end to end, with real servers, processes and sockets, against what must come out."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtbench
from rtbench.analysis.measured import STAGES
from rtbench.experiments.compare import load_comparison
from rtbench.result.comparison import Comparison

DESIGNED = [
    "variant",
    "transport",
    "qos",
    "server",
    "client",
    "trials",
    "publishers",
    "subscribers",
    "rate_hz",
    "payload_bytes",
    "published",
    "expected",
    "delivered",
    "lost",
    "duplicated",
    "reordered",
    "latency_p50_ms",
    "latency_p50_low_ms",
    "latency_p50_high_ms",
    "latency_p90_ms",
    "latency_p90_low_ms",
    "latency_p90_high_ms",
    "latency_p99_ms",
    "latency_p99_low_ms",
    "latency_p99_high_ms",
    "latency_mean_ms",
    "arrived_p50_ms",
    "lag_p99_ms",
    "wire_bytes_per_delivery",
    "payload_share",
    "requests_per_delivery",
    "server_cpu_us_per_delivery",
    "server_cpu_percent",
    "server_rss_mb",
    "client_cpu_us_per_delivery",
    "verdict",
    "reasons",
]
VARIANTS = ["polling", "long-polling", "sse", "websocket", "mqtt-qos0", "mqtt-qos1", "mqtt-qos2", "tcp"]


@pytest.fixture(scope="module")
def result(comparison: Path) -> Comparison:
    return load_comparison(comparison)


@pytest.mark.process
def test_a_comparison_measures_every_variant_and_loses_nothing(result: Comparison) -> None:
    assert result.summary.column("variant") == VARIANTS
    assert result.summary.column("lost") == [0] * 8
    assert result.summary.column("duplicated") == [0] * 8
    assert result.summary.column("reordered") == [0] * 8
    assert all(row["delivered"] == row["expected"] == row["published"] * 10 for row in result.summary)


@pytest.mark.process
def test_the_files_have_the_columns_of_the_design(comparison: Path) -> None:
    with (comparison / "summary.csv").open() as file:
        columns = next(csv.reader(file))
    assert [column for column in columns if column in DESIGNED] == DESIGNED
    assert json.loads((comparison / "result.json").read_text())["schema"] == 4


@pytest.mark.process
def test_trials_come_in_blocks_of_all_variants_in_changing_order(result: Comparison) -> None:
    names = [trial.counts.variant for trial in result.trials]
    assert sorted(names[:8]) == sorted(names[8:]) == sorted(VARIANTS)
    assert names[:8] != names[8:]


@pytest.mark.process
def test_all_variants_of_a_block_have_the_same_schedule(result: Comparison) -> None:
    for block in (0, 1):
        schedules = [t.publishes.due_ns.tolist() for t in result.trials if t.counts.block == block]
        assert all(schedule == schedules[0] for schedule in schedules)


@pytest.mark.alone
def test_polling_waits_half_its_interval_and_no_longer_than_all_of_it(result: Comparison) -> None:
    latency_ms = result.latency_ms("polling")
    assert latency_ms.mean() == pytest.approx(100, rel=0.15)
    assert np.percentile(latency_ms, 95) < 200 * 1.15
    assert 100 < np.median(result.latency_ms("polling")) / np.median(result.latency_ms("websocket")) * 10


@pytest.mark.alone
def test_polling_asks_once_an_interval_and_long_polling_once_a_delivery(result: Comparison) -> None:
    for trial in (t for t in result.trials if t.counts.variant == "polling"):
        assert trial.counts.requests == pytest.approx(10 * trial.counts.wall_s / 0.2, rel=0.3)
    assert result.summary["long-polling"]["requests_per_delivery"] == pytest.approx(1, abs=0.4)
    assert result.summary["websocket"]["requests_per_delivery"] == 0


@pytest.mark.process
def test_layers_add_up_to_the_bytes_on_the_wire(result: Comparison) -> None:
    for row in result.summary:
        if row["wire_bytes_per_delivery"] is None:
            pytest.skip("this platform counts no bytes")
        layers = sum(row[f"{layer}_bytes_per_delivery"] for layer in ("payload", "framing", "ack", "tcp_ip"))
        assert layers == pytest.approx(row["wire_bytes_per_delivery"])
        assert row["framing_bytes_per_delivery"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's receive stamps are Linux's")
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.process
def test_a_delivery_is_due_then_sent_then_arrived_then_received(result: Comparison, name: str) -> None:
    for trial in result.trials_of(name):
        assert (trial.delivered_lag_ms >= 0).all()
        assert (trial.arrived_ms > trial.delivered_lag_ms).all()
        assert (trial.latency_ms > trial.arrived_ms).all()
        stages = trial.stages_ms
        assert stages is not None
        assert sum(stages[stage] for stage in STAGES) == pytest.approx(trial.latency_ms.mean())
        assert stages["publish_hop"] + stages["delivery_hop"] == pytest.approx(stages["network_server"])
    row = result.summary[name]
    assert row["network_server_p50_ms"] < row["arrived_p50_ms"] < row["latency_p50_ms"]
    assert (row["publish_ack_p50_ms"] is None) == (row["acked"] == 0)


@pytest.mark.process
def test_the_control_is_the_floor(result: Comparison) -> None:
    floor = result.summary["tcp"]
    assert all(
        floor["framing_bytes_per_delivery"] < result.summary[name]["framing_bytes_per_delivery"]
        for name in VARIANTS
        if name != "tcp"
    )
    assert floor["framing_bytes_per_delivery"] == pytest.approx(
        2 + 2 * floor["published"] / floor["delivered"], abs=0.01
    )


@pytest.mark.process
def test_a_higher_qos_costs_more_bytes(result: Comparison) -> None:
    rows = [result.summary[f"mqtt-qos{qos}"] for qos in (0, 1, 2)]
    values = [row["wire_bytes_per_delivery"] for row in rows]
    assert values == sorted(values)
    assert [rows[qos]["acked"] == rows[qos]["published"] for qos in (0, 1, 2)] == [False, True, True]


@pytest.mark.alone
def test_a_higher_qos_costs_more_server_time(result: Comparison) -> None:
    values = [result.summary[f"mqtt-qos{qos}"]["server_cpu_us_per_delivery"] for qos in (0, 1, 2)]
    assert values == sorted(values)


@pytest.mark.process
def test_a_websocket_delivery_costs_its_frame_and_no_more(result: Comparison) -> None:
    row = result.summary["websocket"]
    publishes, deliveries = row["published"], row["delivered"]
    # RFC 6455 section 5.2: two bytes from the server, six (masked) from the client, for payloads up to 125 bytes
    assert row["framing_bytes_per_delivery"] == pytest.approx(2 + 6 * publishes / deliveries, abs=0.01)


@pytest.mark.process
def test_every_end_of_every_connection_has_nagle_off(result: Comparison) -> None:
    assert all(trial.counts.nagle_sockets == 0 for trial in result.trials)


@pytest.mark.process
def test_a_saved_result_gives_the_same_report_and_tables_again(comparison: Path, result: Comparison) -> None:
    again = load_comparison(comparison / "result.json")
    assert again.report() == result.report()
    assert again.summary.to_csv() == (comparison / "summary.csv").read_text()
    assert again.trial_table.to_csv() == (comparison / "trials.csv").read_text()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("fan-out", 10 * 5 * 2), ("fan-in", 10 * 6), ("room", 10 * 4 * 4), ("pairs", 10 * 6)],
)
@pytest.mark.process
def test_patterns_deliver_to_whom_they_say(pattern: Any, expected: int) -> None:
    counts = {"fan-out": (2, 10), "fan-in": (6, 2), "room": (4, 4), "pairs": (6, 6)}[pattern]
    result = rtbench.run(
        transport="mqtt", qos=1, pattern=pattern, publishers=counts[0], subscribers=counts[1],
        rate=50, duration="200ms", warmup=0, trials=1, seed=3,
    )  # fmt: skip
    row = result.summary["mqtt-qos1"]
    assert row["delivered"] == row["expected"] == expected
    assert row["lost"] == row["unexpected"] == row["corrupt"] == 0


@pytest.mark.process
@pytest.mark.long
def test_poisson_arrivals_and_large_payloads_over_every_server_of_mqtt(capsys: pytest.CaptureFixture[str]) -> None:
    result = rtbench.compare(
        transport="mqtt", control=False, sparse=False, server=["embedded"], qos=[0, 2], arrivals="poisson", payload=20_000, rate=40,
        duration="300ms", warmup="50ms", trials=1, progress=True,
    )  # fmt: skip
    assert re.search(r"trial 1/2, 0:0\d left: mqtt-qos\d, measuring \d+ of \d+", capsys.readouterr().err)
    assert result.summary.column("variant") == ["mqtt-qos0", "mqtt-qos2"]
    assert result.summary.column("lost") == [0, 0]
    assert all(row["payload_share"] > 0.9 for row in result.summary)


@pytest.mark.process
@pytest.mark.long
def test_the_same_seed_gives_the_same_schedule_and_another_a_different_one() -> None:
    def due(seed: int) -> list[int]:
        result = rtbench.run(
            transport="sse", rate=50, arrivals="poisson", duration="200ms", warmup=0, trials=1, seed=seed
        )
        return [int(t) for t in result.trials[0].publishes.due_ns]

    first = due(7)
    assert due(7) == first
    assert due(8) != first


@pytest.mark.process
def test_a_result_says_what_it_was_measured_on_and_keeps_no_secret(comparison: Path) -> None:
    content = json.loads((comparison / "result.json").read_text())
    assert content["environment"]["kernel"]
    assert content["environment"]["libraries"]["aiohttp"]
    assert {v["server_software"].split()[0] for v in content["variants"]} == {
        "aiohttp",
        "websockets",
        "rtbench",
        "asyncio",
    }
