"""Variants are ranked by network and server; what the client library adds is said, and no more than that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rtbench.analysis import ranking
from rtbench.analysis.measured import Measured
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result.comparison import Comparison
from rtbench.result.report import overview
from rtbench.wire.tcp import Direction, Wire
from tests import builders
from tests.builders import variant

MS = 1_000_000
Stages = tuple[float, float, float]  # publish hop, delivery hop, client library; milliseconds


def compared(stages: dict[str, Stages], stamped: bool = True, spread: float = 0.02, **counts: Any) -> Comparison:
    """Three trials of each variant, whose stages take that long, times a chance of each trial."""

    def made(workload: Workload, of: Variant, block: int) -> Measured:
        luck = np.random.default_rng([of.slot, block]).lognormal(0, spread)
        into, out, client = (luck * ms * MS for ms in stages[of.name])
        trial = builders.trial(workload, 60, into + out + client, relayed_after_ns=into, **counts)
        if stamped:
            arrived_ns = trial.deliveries.due_ns + round(into + out)
            trial = replace(trial, deliveries=replace(trial.deliveries, arrived_ns=arrived_ns))
        return trial

    return builders.comparison([variant(name, slot=slot) for slot, name in enumerate(stages)], made, trials=5)


def said(result: Comparison) -> str:
    return " ".join(ranking.sentences(result))


def test_the_order_is_that_of_network_and_server_and_the_sign_says_whether_a_difference_was_shown() -> None:
    result = compared({"slow": (1.0, 1.0, 0.1), "fast": (0.2, 0.3, 0.1), "as fast": (0.2, 0.301, 0.1)})
    order = said(result)
    assert "fast 0.50 ≈ as fast 0.50 < slow 2.0" in order or "as fast 0.50 ≈ fast 0.50 < slow 2.0" in order
    assert overview(result).column("variant")[-1] == "slow"
    assert "another order" not in said(result)


def test_an_application_that_saw_another_order_is_named() -> None:
    result = compared({"light": (0.2, 0.2, 2.0), "heavy": (0.4, 0.4, 0.1)})
    assert [row["variant"] for row in overview(result)] == ["light", "heavy"]
    assert "The application saw another order: heavy before light (" in said(result)


def test_a_difference_that_the_client_library_makes_is_said_to_be_its() -> None:
    result = compared({"mqtt-qos0": (0.2, 0.3, 0.5), "mqtt-qos1": (0.2, 0.31, 1.5)})
    assert "the client stage (library and event loop) makes up 99% of mqtt-qos1 − mqtt-qos0 (1.0 ms)" in said(result)


def test_a_difference_that_the_way_in_makes_is_said_to_be_its() -> None:
    result = compared({"websocket": (0.1, 0.3, 0.2), "sse": (0.9, 0.35, 0.22)})
    assert "the way from the publisher to the server makes up" in said(result)
    assert "client stage" not in said(result)


def test_a_difference_of_the_delivery_itself_needs_no_sentence() -> None:
    result = compared({"websocket": (0.1, 0.3, 0.2), "polling": (0.12, 250.0, 0.22)})
    assert "makes up" not in said(result)


def test_without_receive_stamps_the_order_is_that_of_the_application_and_says_so() -> None:
    result = compared({"a": (0.2, 0.2, 2.0), "b": (0.4, 0.4, 0.1)}, stamped=False)
    assert [row["variant"] for row in overview(result)] == ["b", "a"]
    assert "By latency" in said(result)
    assert "not known for all" in said(result)


def test_one_variant_is_in_no_order() -> None:
    assert ranking.sentences(compared({"a": (0.2, 0.2, 2.0)})) == []


def test_bytes_are_ranked_at_the_busy_and_at_the_sparse_rate() -> None:
    result = compared({"polling": (0.1, 0.1, 0.1), "websocket": (0.1, 0.1, 0.1)})
    (workload,) = result.sparse_workloads
    taken = {"polling": 1800, "websocket": 300}
    made = {
        name: builders.trial(workload, 4, subscriber_run_wire=Wire(down=Direction(4 * 5 * data_bytes)))
        for name, data_bytes in taken.items()
    }
    result = builders.with_sparse_part(result, made)
    sentences = ranking.bytes_sentences(result)
    assert sentences[-1] == "Bytes for each delivery, sparse (0.5 messages/s): websocket 300, polling 1,800."
    assert "busy (100 messages/s)" in sentences[0]
    assert {row["variant"]: row["at 0.5/s"] for row in overview(result)} == taken
