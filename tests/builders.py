"""Records and results that a test makes up: every part has a usual value, and a test names only what matters to it.

publishes, deliveries, to_all     the record of a trial, message by message
trial                             a trial, measured: its record and its counts
variant, comparison, save         a result, in memory and on disk
simulated, simulated_trial        results whose truth is known, with the chance that trials have
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.episodes import Episode, GuaranteeCounts
from rtbench.analysis.guarantees import GuaranteeTrial
from rtbench.analysis.idle import IdleCounts, IdleTrial
from rtbench.analysis.measured import Measured
from rtbench.analysis.security import ProtectedTrial, ProtectionCounts
from rtbench.plan.faults import Evidence
from rtbench.plan.protection import PROTECTIONS
from rtbench.plan.reconnect import ROBUST
from rtbench.plan.records import ACKED, Deliveries, Publishes
from rtbench.plan.settings import Given, resolve, workload_of
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result import storage
from rtbench.result.comparison import Comparison
from rtbench.result.guarantees import GuaranteesResult
from rtbench.result.idle import IdleResult
from rtbench.result.result import COMPLETE, Result
from rtbench.result.security import SecurityResult
from rtbench.system.load import Load
from rtbench.transports import registry
from rtbench.wire.tcp import Direction, Wire

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
ENVIRONMENT = {
    "link": "loopback",
    "system": "Linux",
    "kernel": "6.1",
    "processor": "P",
    "cores": 4,
    "python": "CPython 3.11.7",
    "libraries": {"rtbench": "1"},
    "missing": [],
}
GAP_NS = 10_000_000  # between the due times of two messages
Record = TypeVar("Record", Publishes, Deliveries)


def _record(kind: type[Record], columns: Mapping[str, ArrayLike], shape: tuple[int, ...]) -> Record:
    made = {}
    for field in fields(kind):
        if field.name in columns:
            column = np.asarray(columns[field.name], dtype=bool if field.name == "intact" else np.int64)
            made[field.name] = np.broadcast_to(column, shape).copy()
    return kind(**made)


def publishes(due_ns: ArrayLike, **columns: ArrayLike) -> Publishes:
    """Messages of one publisher, each sent 1 us after it was due and acknowledged 4 us later."""
    due_ns = np.asarray(due_ns, dtype=np.int64)
    sent_ns = np.asarray(columns.get("sent_ns", due_ns + 1000), dtype=np.int64)
    usual: dict[str, ArrayLike] = {
        "publisher": 0,
        "sequence": np.arange(len(due_ns)),
        "due_ns": due_ns,
        "ready_ns": sent_ns,
        "sent_ns": sent_ns,
        "relayed_ns": 0,
        "done_ns": sent_ns + 4000,
        "status": ACKED,
    }
    return _record(Publishes, {**usual, **columns}, due_ns.shape)


def deliveries(due_ns: ArrayLike, **columns: ArrayLike) -> Deliveries:
    """Deliveries to one subscriber, each received 1 ms after its message was due, without the kernel's stamps."""
    due_ns = np.asarray(due_ns, dtype=np.int64)
    usual: dict[str, ArrayLike] = {
        "publisher": 0,
        "sequence": np.arange(len(due_ns)),
        "due_ns": due_ns,
        "subscriber": 0,
        "received_ns": due_ns + 1_000_000,
        "intact": True,
    }
    return _record(Deliveries, {**usual, **columns}, due_ns.shape)


def to_all(sent: Publishes, subscribers: int, latency_ns: ArrayLike = 1_000_000, stamped: bool = False) -> Deliveries:
    """Every message delivered to every subscriber.

    `latency_ns` is that of all deliveries, or of each: shape (messages * subscribers,). `stamped`: the kernel had each
    after two thirds of its latency.
    """
    message = np.repeat(np.arange(len(sent.due_ns)), subscribers)
    due_ns, latency_ns = sent.due_ns[message], np.asarray(latency_ns, dtype=np.int64)
    return deliveries(
        due_ns,
        publisher=sent.publisher[message],
        sequence=sent.sequence[message],
        subscriber=np.tile(np.arange(subscribers), len(sent.due_ns)),
        received_ns=due_ns + latency_ns,
        **({"arrived_ns": due_ns + latency_ns * 2 // 3} if stamped else {}),
    )


def trial(
    workload: Workload,
    messages: int = 60,
    latency_ns: ArrayLike = 1_000_000,
    lag_ns: ArrayLike = 1000,
    stamped: bool = False,
    relayed_after_ns: ArrayLike | None = None,
    **counts: Any,
) -> Measured:
    """A trial of one publisher, after the warm-up, whose every message reaches every subscriber.

    Nothing is unusual about its counts but those that are named. `latency_ns` as for `to_all`; `lag_ns` is that of all
    messages, or of each: shape (messages,). `relayed_after_ns` is when the server relayed them, after they were due;
    None: the server does not tell.
    """
    due_ns = round(workload.warmup_s * 1e9) + np.arange(messages) * GAP_NS
    relayed_ns = 0 if relayed_after_ns is None else due_ns + np.asarray(relayed_after_ns, dtype=np.int64)
    sent = publishes(due_ns, sent_ns=due_ns + np.asarray(lag_ns, dtype=np.int64), relayed_ns=relayed_ns)
    got = to_all(sent, workload.subscribers, latency_ns, stamped)
    usual: dict[str, Any] = {
        **{field.name: 0 for field in fields(TrialCounts) if field.default is MISSING},
        "clock_bound_ns": 0,
        **{field.name: Wire() for field in fields(TrialCounts) if field.name.endswith("_wire")},
        "variant": "sse",
        "server_url": "",
        "error": None,
        "offered": messages,
        "published_in_all": messages,
        "deliveries": len(got.due_ns),
        "pace": 1.0,
        "wall_s": 1.0,
        "client_cpu": 0.1,
        "client_cpu_ns": 10**8,
        "server_cpu_ns": 10**8,
        "server_rss_bytes": 30_000_000,
        "predicted": None,
    }
    return Measured(TrialCounts(**{**usual, **counts}), workload, sent, got)


def changed(trial: Measured, **counts: Any) -> Measured:
    """The same trial with other counts."""
    return replace(trial, counts=replace(trial.counts, **counts))


def change(result: Comparison, which: Callable[[Measured], bool] | str | int, **counts: Any) -> None:
    """Give trials of a result other counts: one trial by its place, those of a variant, or those that are chosen."""
    for place, each in enumerate(result.trials):
        if place == which or each.counts.variant == which or (callable(which) and which(each)):
            result.trials[place] = changed(each, **counts)
    result.forget_tables()


def variant(label: str, transport: str = "", **others: Any) -> Variant:
    """A variant, on the usual server and client unless others are named."""
    usual = {"server": "embedded", "client": "library", "server_software": "S 1", "client_software": "C 1"}
    return Variant(label, transport or label, **{**usual, **others})


def settings(**flags: Any) -> dict[str, Given]:
    """Settings of a measurement, those that are named as flags."""
    return resolve({name: (value, "flag") for name, value in flags.items()}, registry.settings())


def comparison(
    variants: Sequence[Variant],
    made: Callable[[Workload, Variant, int], Measured] | None = None,
    trials: int = 3,
    environment: Mapping[str, Any] | None = None,
    created: str = "2024-01-01T00:00:00+00:00",
    **flags: Any,
) -> Comparison:
    """A complete comparison: in each of `trials` blocks, a trial of each variant from `made(workload, variant, block)`.

    Without `made` the trials are all alike. Five subscribers and 0.6 s of 100 messages a second, after 0.3 s, unless
    flags say otherwise.
    """
    given = settings(**{"subscribers": 5, "rate": 100, "duration": 0.6, "trials": trials, **flags})
    workload = workload_of(given)
    result = Comparison(
        kind="comparison",
        settings=given,
        workload=workload,
        variants=list(variants),
        environment={**ENVIRONMENT, **(environment or {})},
        created=created,
        status=COMPLETE,
        planned_trials=trials * len(variants),
    )
    for block in range(trials):
        for each in variants:
            measured = made(workload, each, block) if made is not None else trial(workload)
            place = {"index": len(result.trials), "block": block, "variant": each.name}
            result.trials.append(changed(measured, **place))
    return result


def idle_result(*variants: Variant, connections: int = 10, **counts: Any) -> IdleResult:
    """A complete result of idle connections, a trial for each variant, `sse` if none is named."""
    load = Load(0, 0, 30_000_000, 10, 1, 0, 31_000_000, 29_000_000, 28_000_000)
    after = replace(load, at_ns=10**9, cpu_ns=10**6, rss_bytes=31_000_000, private_bytes=29_000_000)
    usual: dict[str, Any] = {
        "error": None,
        "server_url": "http://127.0.0.1:1",
        "observed_s": 1.0,
        "load_without": load,
        "load_half": replace(load, private_bytes=28_500_000),
        "load_before": replace(after, at_ns=1, cpu_ns=0),
        "load_after": after,
        "opening_wire": Wire(connections),
        "idle_wire": Wire(0, Direction(4000, 40, 20, 2080, 1040), Direction(2000, 40, 20, 2080, 1040)),
        "requests": 0,
        "requests_waiting": 0,
        "active_connections": 0,
        "client_cpu_s": 0.01,
    }
    result = IdleResult(
        kind="idle",
        settings={"connections": Given(connections, "flag"), "duration": Given(1.0, "flag")},
        variants=list(variants) or [variant("sse")],
        environment=ENVIRONMENT,
        created="2024-01-01T00:00:00+00:00",
        status=COMPLETE,
        planned_trials=max(len(variants), 1),
    )
    for index, each in enumerate(result.variants):
        counted = IdleCounts(**{**usual, "index": index, "variant": each.name, **counts})
        result.trials.append(IdleTrial(counted, each, connections, "loopback"))
    return result


def security_result(
    *variants: Variant,
    connect_ms: Mapping[str, float] | None = None,
    deliveries: int = 100,
    cpu_us: float = 1000.0,
    error: str | None = None,
) -> SecurityResult:
    """A complete result of protected servers: two trials of ten connections for each protection in `connect_ms`."""
    connect_ms = connect_ms or {name: 1.0 + at for at, name in enumerate(PROTECTIONS)}
    load = Load(0, 0, 30_000_000)
    value = {"trials": 2, "connections": 10, "messages": 10, "payload": 100, "duration": 1.0, "attempts": 1000}
    result = SecurityResult(
        kind="security",
        settings={name: Given(each, "flag") for name, each in value.items()},
        variants=list(variants) or [variant("sse")],
        environment=ENVIRONMENT,
        created="2024-01-01T00:00:00+00:00",
        status=COMPLETE,
        planned_trials=2 * len(connect_ms) * max(len(variants), 1),
    )
    for block in range(2):
        for each in result.variants:
            for protection, each_ms in connect_ms.items():
                counts = ProtectionCounts(
                    index=len(result.trials),
                    block=block,
                    variant=each.name,
                    protection=protection,
                    error=error,
                    server_url="http://127.0.0.1:1",
                    opening_ns=(round(each_ms * 1e6),) * 10,
                    opening_wire=Wire(10),
                    load_before=load,
                    load_opened=replace(load, cpu_ns=round(cpu_us * 1e3)),
                    load_heard=replace(load, cpu_ns=round(cpu_us * 2e3)),
                    deliveries=deliveries,
                    delivery_wire=Wire(0, Direction(4000, 40, 20, 2080, 1040), Direction(2000, 40, 20, 2080, 1040)),
                    handshakes=10 * PROTECTIONS[protection].resumed,
                    resumed=10 * PROTECTIONS[protection].resumed,
                )
                result.trials.append(ProtectedTrial(counts, each))
    return result


def episode(**counts: Any) -> Episode:
    """An episode of 50 messages, all acknowledged, of which no delivery is lost or duplicated."""
    usual: dict[str, Any] = {
        **dict.fromkeys(("lost", "lost_acked", "lost_relayed", "duplicated"), 0),
        "published": 50,
        "acked": 50,
        "noticed": 10,
        "resumed": 10,
        "recover_ms": (200.0, 300.0),
    }
    return Episode(**{**usual, **counts})


def guarantees_result(
    variants: Sequence[Variant] = (),
    faults: Sequence[str] = ("cut",),
    of_cell: Callable[[Variant, str], Episode] = lambda *_: episode(),
    **counts: Any,
) -> GuaranteesResult:
    """A complete result: two like episodes for each variant and fault; `sse` with clients that resume if none is named."""
    variants = list(variants) or [variant("sse", reconnect=ROBUST)]
    given = {"fault": list(faults), "episodes": 2, "publishers": 5, "subscribers": 10, "rate": 10.0, "at_once": 8}
    result = GuaranteesResult(
        kind="guarantees",
        settings={name: Given(value, "default") for name, value in given.items()},
        variants=variants,
        environment=ENVIRONMENT,
        created="2024-01-01T00:00:00+00:00",
        status=COMPLETE,
        planned_trials=len(variants) * len(faults),
    )
    seen = tuple(Evidence(faults[0], at_ns, at_ns, at_ns + 1, "seen") for at_ns in (10**9, 3 * 10**9))
    for cell in result.cells:
        usual: dict[str, Any] = {
            "index": len(result.trials),
            "variant": cell.variant.name,
            "fault": cell.fault,
            "error": None,
            "server_url": "",
            "missed_told": 0,
            "faults": seen,
            "episodes": (of_cell(cell.variant, cell.fault),) * 2,
        }
        result.trials.append(GuaranteeTrial(GuaranteeCounts(**{**usual, **counts}), cell.variant))
    result.forget_tables()
    return result


def with_sparse_part(result: Comparison, trials: Mapping[str, Measured]) -> Comparison:
    """Give a comparison a sparse part with a trial of each variant, and finish it anew."""
    for index, (name, each) in enumerate(trials.items()):
        result.sparse.append(changed(each, index=index, variant=name))
    result.forget_tables()
    return result


def save(result: Result[Any], path: Path) -> Path:
    """Save a result whole, as a run does trial by trial; what its environment lacks comes from the reference."""
    path.mkdir(parents=True)
    for name, each in result.sample_files():
        storage.write_samples(path / name, result.samples_of(each))
    content = result.description()
    known = json.loads((REFERENCE / "result.json").read_text(encoding="utf-8"))["environment"]
    storage.write_description(path, {**content, "environment": _filled(content["environment"], known)})
    return path


def _filled(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    both = {name: _filled(values[name], others[name]) for name in values if isinstance(others.get(name), dict)}
    return {**others, **values, **both}


def saved_trials(path: Path) -> int:
    """How many trials of a result are on disk; there may be none of it yet."""
    return len(list(path.glob("samples/*.npz")))


def simulated_trial(workload: Workload, scale: float, spread: float, seed: int, **counts: Any) -> Measured:
    """A trial with a chance of its own, of that spread; its latencies and its cost are `scale` times the usual ones."""
    block = counts.get("block", 0)
    random = np.random.default_rng([seed, block])
    luck, count = random.lognormal(0, spread), 60 * workload.subscribers
    usual = {
        "server_cpu_ns": round(50_000 * scale * luck * count),
        "subscriber_run_wire": Wire(down=Direction(200 * count, header_bytes=52 * count + block)),
    }
    return trial(
        workload,
        latency_ns=np.round(1e6 * scale * luck * random.lognormal(0, 0.3, count)),
        stamped=True,
        **{**usual, **counts},
    )


def simulated(
    scales: Mapping[str, float], trials: int = 6, seed: int = 0, spread: float = 0.1, **environment: Any
) -> Comparison:
    """A comparison with a variant for each scale, of simulated trials."""
    return comparison(
        [variant(name, slot=slot) for slot, name in enumerate(scales)],
        lambda workload, v, block: simulated_trial(workload, scales[v.name], spread, seed, block=block),
        trials,
        environment,
        created=f"2024-01-0{seed % 9 + 1}T00:00:00+00:00",
    )


# spread of what the latencies of a trial share, of each message in it, and messages a trial
BETWEEN, WITHIN, SIZE = 0.15, 0.5, 40


def latencies(random: np.random.Generator, trials: int) -> list[NDArray[np.float64]]:
    """Latencies with a median of 1, shape (SIZE,) for each trial: messages of one trial share its chance."""
    return [np.exp(random.normal(0, BETWEEN) + random.normal(0, WITHIN, SIZE)) for _ in range(trials)]
