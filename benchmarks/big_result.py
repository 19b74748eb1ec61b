"""How long, and how much memory, do the report and the charts of a sweep of ten million deliveries take?

    python benchmarks/big_result.py

A synthetic sweep: five levels of five variants, five trials of each, 80,000 deliveries a trial. It is saved, and then
read, printed and drawn by `rtbench show` and `rtbench chart`, each a process of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from analysis import synthetic_trial

from rtbench.experiments.sweep import SWEEP
from rtbench.plan.settings import resolve

TRANSPORTS, LEVELS, TRIALS = ["polling", "long-polling", "sse", "websocket", "tcp"], [50, 100, 250, 500, 1000], 5
DELIVERIES = 80_000


def save(directory: Path) -> int:
    """Save the result; return how many deliveries it has."""
    given = {
        "vary": ([f"subscribers={','.join(map(str, LEVELS))}"], "argument"),
        "transport": (TRANSPORTS, "argument"),
        "trials": (TRIALS, "argument"),
    }
    result, random, deliveries = SWEEP.start(resolve(given, SWEEP.settings())), np.random.default_rng(1), 0
    result.save_in(directory)
    for level, subscribers in zip(result.comparisons, LEVELS, strict=True):
        for index in range(level.planned_trials):
            variant = level.variants[index % len(level.variants)]
            trial = synthetic_trial(index, variant.name, level.workload, random, DELIVERIES // subscribers)
            level.add(trial)
            deliveries += trial.counts.deliveries
        level.finish()
    result.finish()
    return deliveries


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


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(parent, "sweep")
        pid = os.fork()  # that what this process holds is not in the figures of the next
        if not pid:
            print(f"{save(directory):,} deliveries", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        for words in (["show"], ["chart"]):
            seconds, peak_mb = measured(*words, str(directory))
            print(f"rtbench {words[0]}: {seconds:.1f} s, peak memory {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
