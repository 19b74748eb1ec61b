"""The data dictionary of docs/results.md: every column of every CSV stands in it, and nothing else does."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import rtbench
from rtbench.result.comparison import Comparison
from rtbench.result.exports import delivery_lines

REPOSITORY = Path(__file__).parents[1]
TEXT = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
SECTIONS = {"summary.csv": "summary", "trials.csv": "trials", "export --deliveries": "deliveries"}
TYPES: dict[str, Any] = {"text": str, "integer": int, "number": (int, float), "boolean": bool}


def dictionary(section: str) -> list[tuple[str, str, str]]:
    """The (column, type, meaning) of the table in a section, whose heading starts with its name."""
    (body,) = re.findall(rf"^## {re.escape(section)}:.*?\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    found = []
    for line in body.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            assert len(cells) == 3, line
            found += [(name, cells[1], cells[2]) for name in re.findall(r"`([^`]+)`", cells[0])]
    return found


@pytest.fixture(scope="module")
def result() -> Comparison:
    return rtbench.load(REPOSITORY / "results" / "reference")


def rows_of(result: Comparison, kind: str) -> Iterator[Mapping[str, Any]]:
    if kind == "deliveries":
        for row in csv.DictReader(list(delivery_lines(result))[:200]):
            yield {name: value if name == "variant" else int(value) for name, value in row.items()}
        return
    yield from result.summary if kind == "summary" else result.trial_table


@pytest.mark.parametrize(("section", "kind"), SECTIONS.items())
def test_the_dictionary_has_every_column_once_and_nothing_else(result: Comparison, section: str, kind: str) -> None:
    columns = list(next(iter(rows_of(result, kind))))
    described = [name for name, _, _ in dictionary(section)]
    assert set(columns) - set(described) == set(), "not in docs/results.md"
    assert set(described) - set(columns) == set(), "no such column"
    assert len(described) == len(set(described))


@pytest.mark.parametrize(("section", "kind"), SECTIONS.items())
def test_every_value_has_the_type_that_the_dictionary_says(result: Comparison, section: str, kind: str) -> None:
    types = {name: TYPES[kind] for name, kind, _ in dictionary(section)}
    for row in rows_of(result, kind):
        wrong = [n for n, value in row.items() if value is not None and not isinstance(value, types[n])]
        assert wrong == []


@pytest.mark.parametrize("section", SECTIONS)
def test_everything_has_a_meaning(section: str) -> None:
    assert [name for name, _, meaning in dictionary(section) if len(meaning) < 5] == []


def test_the_columns_in_the_files_of_a_fresh_result_are_the_same(comparison: Path) -> None:
    for section, kind in list(SECTIONS.items())[:2]:
        with (comparison / f"{kind}.csv").open(encoding="utf-8") as file:
            assert set(next(csv.reader(file))) == {name for name, _, _ in dictionary(section)}
