"""The .hgrm export, read back by a parser written from the format's description."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtbench.cli import run_program
from rtbench.experiments.compare import load_comparison
from rtbench.result.hgrm import lines, percentiles
from tests.builders import REFERENCE

HEADER = ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]


class Row(NamedTuple):
    value: float
    percentile: float
    total: int
    inverse: float | None


class Hgrm(NamedTuple):
    rows: list[Row]
    footer: dict[str, float]


def parse(text: str) -> Hgrm:
    """Read the format: a header, an empty line, lines of four columns (the last of three), a footer of #[k = v, k = v]."""
    header, empty, *rest = text.splitlines()
    assert header.split() == HEADER
    assert empty == ""
    rows, footer = [], {}
    for line in rest:
        if line.startswith("#["):
            assert line.endswith("]")
            for part in line[2:-1].split(","):
                name, _, value = part.partition("=")
                footer[name.strip()] = float(value)
            continue
        assert not footer, "a line after the footer"
        value, percentile, count, *inverse = line.split()
        rows.append(Row(float(value), float(percentile), int(count), float(inverse[0]) if inverse else None))
    return Hgrm(rows, footer)


def written(values: NDArray[np.float64]) -> Hgrm:
    return parse("".join(lines(values)))


def expected_at(values: NDArray[np.float64], percentile: float) -> float:
    return float(np.percentile(values, 100 * percentile, method="inverted_cdf"))


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1000, 12_345])
def test_every_line_is_exact(count: int) -> None:
    values = np.random.default_rng(count).lognormal(0, 1, count).round(6)
    rows, footer = written(values)
    for row in rows:
        assert row.total == int((values <= row.value + 1e-9).sum())
        assert row.total / count >= row.percentile - 1e-12
        assert row.value == pytest.approx(expected_at(values, row.percentile), abs=1e-6) or row.percentile == 0
    assert rows[0].value == pytest.approx(values.min())
    assert rows[-1].value == pytest.approx(values.max())
    assert rows[-1][1:] == (1.0, count, None)
    assert footer["Mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert footer["StdDeviation"] == pytest.approx(values.std(), abs=1e-6)
    assert footer["Max"] == pytest.approx(values.max())
    assert footer["Total count"] == count


def test_percentiles_come_in_five_ticks_for_each_halving() -> None:
    first = [float(p) for p in islice(percentiles(), 16)]
    assert first == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.775, 0.8, 0.825, 0.85, 0.875]
    assert list(islice(percentiles(), 5, 200, 5)) == [1 - Fraction(1, 2**k) for k in range(1, 40)]


@given(st.lists(st.integers(min_value=1, max_value=10**9), min_size=1, max_size=300))
def test_lines_rise_and_end_where_everything_is_counted(nanoseconds: list[int]) -> None:
    values = np.array(nanoseconds) / 1e6
    rows = written(values).rows
    for earlier, later in pairwise(rows):
        assert earlier.percentile < later.percentile
        assert earlier.value <= later.value
        assert earlier.total <= later.total
    assert [row.total for row in rows].count(len(values)) <= 2  # the first percentile that has all, and 1
    for row in rows[:-1]:
        assert row.inverse == pytest.approx(1 / (1 - row.percentile), abs=0.006, rel=1e-6)


def test_equal_values_are_counted_together() -> None:
    assert written(np.full(7, 2.5)).rows == [(2.5, 0.0, 7, 1.0), (2.5, 1.0, 7, None)]


def test_large_and_small_values_keep_the_columns_apart() -> None:
    rows = written(np.array([0.000001, 123_456_789.123456])).rows
    assert (rows[0].value, rows[-1].value) == (0.000001, 123_456_789.123456)


def test_plotters_read_it() -> None:
    """HdrHistogram's takes lines of four words, split at blanks; hdr-plot takes those that start with a blank."""
    values = np.array([0.5, 999_999.5])
    body = [line for line in "".join(lines(values)).split("\n")[2:] if not line.startswith("#") and line]
    assert all(len(line.strip().split(" ")) >= 3 for line in body)
    pattern = re.compile(r"\s+([0-9.]+)\s+([0-9.]+)\s+([0-9.]+)\s+([0-9.]+)")
    assert sum(bool(pattern.match(line)) for line in body) == len(body) - 1


def test_the_command_exports_a_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["export", str(REFERENCE), "--hgrm", "mqtt-qos1"]) == 0
    printed = capsys.readouterr().out
    values = load_comparison(REFERENCE).latency_ms("mqtt-qos1")
    rows, footer = parse(printed)
    assert footer["Total count"] == len(values)
    assert footer["StdDeviation"] == pytest.approx(values.std(), abs=1e-6)
    assert next(row.value for row in rows if row.percentile == 0.9) == pytest.approx(expected_at(values, 0.9), abs=1e-6)
    assert run_program(["export", str(REFERENCE), "--hgrm", "mqtt-qos1", "--out", str(tmp_path / "a.hgrm")]) == 0
    assert (tmp_path / "a.hgrm").read_text() == printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--hgrm", "pigeon"], "no variant 'pigeon'"), (["--hgrm", "sse", "--trials"], "ask for one at a time")],
)
def test_what_cannot_be_exported_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["export", str(REFERENCE), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
