"""How long, and how much memory, do ledger, statistics and table take for a million deliveries?

    python benchmarks/analysis.py            a comparison in memory
    python benchmarks/analysis.py --sweep    a sweep of ten million deliveries on disk, printed and drawn

A synthetic comparison: five variants, five trials of 40,000 deliveries each. Wall time from samples in memory to the
printed report, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import numpy as np

from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.measured import Measured
from rtbench.experiments.sweep import SWEEP
from rtbench.plan.records import ACKED, Deliveries, Publishes
from rtbench.plan.settings import resolve
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result.comparison import Comparison
from rtbench.transports import registry

VARIANTS, TRIALS, SUBSCRIBERS, MESSAGES = 5, 5, 100, 400
_TRANSPORTS, _LEVELS = ["polling", "long-polling", "sse", "websocket", "tcp"], [50, 100, 250, 500, 1000]
_DELIVERIES = 80_000  # a trial of the sweep


def _nothing(field: Field[Any]) -> Any:
    return None if "None" in str(field.type) else () if "tuple" in str(field.type) else 0


def synthetic_trial(
    index: int, variant: str, workload: Workload, random: np.random.Generator, messages: int = MESSAGES
) -> Measured:
    """Return a trial in which every message reached every subscriber after an exponential time."""
    sequence = np.arange(messages)
    due_ns = sequence * 10_000_000
    zeros = np.zeros(messages, dtype=np.int64)
    publishes = Publishes(zeros, sequence, due_ns, due_ns + 1, due_ns + 1, zeros, due_ns + 2, zeros + ACKED)
    message = np.repeat(sequence, workload.subscribers)
    latency_ns = random.exponential(1e6, len(message)).astype(np.int64)
    deliveries = Deliveries(
        np.zeros(len(message), dtype=np.int64),
        message,
        due_ns[message],
        np.tile(np.arange(workload.subscribers), messages),
        due_ns[message] + latency_ns,
        np.ones(len(message), dtype=bool),
        due_ns[message] + latency_ns // 2,
    )
    counts: dict[str, Any] = {
        **{field.name: _nothing(field) for field in fields(TrialCounts)},
        "index": index,
        "variant": variant,
        "server_url": "",
        "offered": messages,
        "pace": 1.0,
        "published_in_all": messages,
        "deliveries": len(message),
        "wall_s": 4.0,
        "server_cpu_ns": 10**8,
        "connect_ns": (10**6,) * workload.subscribers,
    }
    return Measured(TrialCounts(**counts), workload, publishes, deliveries)


def save(directory: Path) -> None:
    """Save the result; print how many deliveries it has."""
    given = {
        "vary": ([f"subscribers={','.join(map(str, _LEVELS))}"], "argument"),
        "transport": (_TRANSPORTS, "argument"),
        "trials": (TRIALS, "argument"),
    }
    result, random, deliveries = SWEEP.start(resolve(given, SWEEP.settings())), np.random.default_rng(1), 0
    result.save_in(directory)
    for level, subscribers in zip(result.comparisons, _LEVELS, strict=True):
        for index in range(level.planned_trials):
            variant = level.variants[index % len(level.variants)]
            trial = synthetic_trial(index, variant.name, level.workload, random, _DELIVERIES // subscribers)
            level.add(trial)
            deliveries += trial.counts.deliveries
        level.finish()
    result.finish()
    print(f"{deliveries:,} deliveries", flush=True)


def measured(*words: str) -> tuple[float, float]:
    """Run `rtbench`; return its wall time, seconds, and its peak memory, MB."""
    began = time.perf_counter()
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-c", "from rtbench.cli import main; main()", *words], os.environ
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"rtbench {' '.join(words)} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def comparison() -> None:
    """Measure the analysis of a comparison in memory, and print."""
    workload = Workload(subscribers=SUBSCRIBERS, rate_hz=100, duration_s=4, warmup_s=0)
    variants = [Variant(f"v{i}", "sse", "embedded", "library", slot=i) for i in range(VARIANTS)]
    settings = resolve({"trials": (TRIALS, "argument")}, registry.settings())
    result = Comparison.start("comparison", settings, variants, TRIALS * VARIANTS, workload=workload)
    random = np.random.default_rng(1)
    for index in range(VARIANTS * TRIALS):
        result.trials.append(synthetic_trial(index, variants[index % VARIANTS].name, workload, random))
    deliveries = sum(trial.counts.deliveries for trial in result.trials)
    began = time.perf_counter()
    text = result.report()
    result.trial_table.to_csv()
    seconds = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(text)
    print(f"\n{deliveries} deliveries: {seconds:.2f} s, peak memory {peak_mb:.0f} MB")


def sweep() -> None:
    """Measure what reads, prints and draws a sweep, each in a process of its own, and print."""
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(parent, "sweep")
        saving = multiprocessing.Process(target=save, args=[directory])  # what it holds is not in the figures
        saving.start()
        saving.join()
        for words in (["show"], ["chart"]):
            seconds, peak_mb = measured(*words, str(directory))
            print(f"rtbench {words[0]}: {seconds:.1f} s, peak memory {peak_mb:.0f} MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", action="store_true", help="a sweep on disk instead of a comparison in memory")
    sweep() if parser.parse_args().sweep else comparison()


if __name__ == "__main__":
    main()
