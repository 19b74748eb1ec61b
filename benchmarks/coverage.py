"""How often the intervals of a result cover the truth, by simulation: the table in docs/methodology.md.

    python benchmarks/coverage.py              prints the table
    python benchmarks/coverage.py --times 200  faster, less exact

The truth is the statistic of the population that the trials are drawn from. A trial has a level of its own, a message
differs from message to message within it, and the deliveries of one message share its fate:

    plain     levels and messages are lognormal, with a spread of 15 % and 40 %
    skewed    the level of a trial is 1 plus an exponential with a mean of 0.3
    outliers  as plain, and one trial of ten is twice as slow
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rtbench.analysis import statistics

Random = np.random.Generator
LEVELS: dict[str, Callable[[Random, int], NDArray[np.float64]]] = {
    "plain": lambda random, n: np.exp(0.15 * random.standard_normal(n)),
    "skewed": lambda random, n: 1 + random.exponential(0.3, n),
    "outliers": lambda random, n: np.exp(0.15 * random.standard_normal(n)) * np.where(random.random(n) < 0.1, 2.0, 1.0),
}
SUBSCRIBERS = 10
TRIALS = (3, 5, 10, 20)


def drawn(random: Random, shape: str, trials: int, messages: int) -> list[NDArray[np.float64]]:
    """Return the latencies of some trials, each of shape (messages * SUBSCRIBERS,)."""
    found = []
    for level in LEVELS[shape](random, trials):
        message = level * np.exp(0.4 * random.standard_normal(messages))
        found.append(np.repeat(message, SUBSCRIBERS) * (1 + 0.05 * random.random(messages * SUBSCRIBERS)))
    return found


def coverage(shape: str, trials: int, messages: int, percent: float | None, times: int = 500, seed: int = 1) -> float:
    """Return the share of simulated results whose interval covers the truth; `percent` None is the mean."""
    random = np.random.default_rng(seed)
    population = np.concatenate(drawn(random, shape, 20_000, 25))
    truth = float(population.mean() if percent is None else np.percentile(population, percent))
    covered = 0
    for number in range(times):
        sample = drawn(random, shape, trials, messages)
        if percent is None:
            estimate = statistics.mean(sample, seed=number)
        else:
            estimate = statistics.percentile(sample, percent, trials * messages, seed=number)
        assert estimate is not None
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= truth <= estimate.high
    return covered / times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="simulated coverage of 95 % intervals")
    parser.add_argument("--times", type=int, default=1000, help="simulated results for each figure")
    times = parser.parse_args().times
    print("| trials | shape | median | mean | p90 | p99 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for trials in TRIALS:
        for shape in LEVELS:
            figures = []
            for percent in (50, None, 90, 99):
                messages = max(25, int(np.ceil(1000 / trials)) if percent == 99 else 25, int(np.ceil(100 / trials)))
                figures.append(f"{100 * coverage(shape, trials, messages, percent, times):.0f} %")
            print(f"| {trials} | {shape} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
