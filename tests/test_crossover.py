"""Where two curves meet is found where it is known, and nothing is said where they do not surely meet."""

from __future__ import annotations

import numpy as np
import pytest

from rtbench.analysis.crossover import crossover

LEVELS = [1.0, 3.0, 10.0, 30.0, 100.0]
NAMES = ("polling", "push")


def curve(power: float, at_one: float, noise: float = 0.0, trials: int = 5, seed: int = 1) -> dict[float, list[float]]:
    random = np.random.default_rng(seed)
    return {x: [at_one * x**power * float(np.exp(noise * random.normal())) for _ in range(trials)] for x in LEVELS}


def test_power_laws_meet_where_they_do() -> None:
    found = crossover("bytes", NAMES, curve(-1.0, 400.0), curve(0.0, 20.0))  # 400 / x = 20
    assert found is not None
    assert found.at == pytest.approx(20.0)
    assert (found.below, found.above) == ("push", "polling")


def test_curves_that_are_equal_at_a_level_meet_there() -> None:
    found = crossover("requests", NAMES, curve(-1.0, 10.0), curve(0.0, 1.0))  # equal at 10
    assert found is not None
    assert found.at == pytest.approx(10.0)


def test_the_interval_contains_the_place_and_grows_with_the_noise() -> None:
    widths = []
    for noise in (0.01, 0.1):
        found = crossover("bytes", NAMES, curve(-1.0, 400.0, noise, seed=2), curve(0.0, 20.0, noise, seed=3))
        assert found is not None
        assert found.low <= found.at <= found.high
        widths.append(found.high / found.low)
    assert 1 < widths[0] < widths[1]


@pytest.mark.parametrize(
    "other",
    [
        curve(0.0, 1000.0),
        curve(0.0, 20.0) | {3.0: [900.0] * 5},
        {},
        {1.0: [0.0] * 2, 3.0: [1.0] * 2},
        curve(0.0, 20.0, trials=1),
    ],
    ids=["apart", "more than once", "not measured", "nothing spent", "one trial"],
)
def test_without_one_meeting_there_is_no_crossover(other: dict[float, list[float]]) -> None:
    assert crossover("bytes", NAMES, curve(-1.0, 400.0), other) is None


def test_curves_that_only_seem_to_meet_do_not() -> None:
    same = [curve(0.0, 20.0, 0.3, trials=3, seed=seed) for seed in range(20)]
    found = [crossover("bytes", NAMES, a, b) for a, b in zip(same[::2], same[1::2], strict=True)]
    assert sum(place is not None for place in found) <= 1
