"""The data dictionary: every column of every CSV is in it, in order, and the documents have it as the code has it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rtbench.analysis import guarantees, idle, security
from rtbench.analysis.metric import Column
from rtbench.analysis.metrics import summary_columns, trial_columns
from rtbench.analysis.security import AttemptCounts
from rtbench.experiments.compare import load_comparison
from rtbench.result.comparison import Comparison
from rtbench.result.dictionary import tables, written
from rtbench.result.exports import DELIVERY_COLUMNS, delivery_lines
from tests.builders import REFERENCE, guarantees_result, idle_result, security_result

DOCS = Path(__file__).parents[1] / "docs"
TYPES: dict[str, Any] = {"text": str, "integer": int, "number": (int, float), "boolean": bool}
COLUMNS: dict[str, Callable[[], Sequence[Column]]] = {
    "summary.csv": summary_columns,
    "trials.csv": trial_columns,
    "deliveries": lambda: DELIVERY_COLUMNS,
    "summary.csv of idle connections": idle.columns,
    "summary.csv of guarantees": guarantees.columns,
    "summary.csv of security": security.columns,
    "attempts.csv": security.attempt_columns,
}


@pytest.fixture(scope="module")
def reference() -> Comparison:
    return load_comparison(REFERENCE)


def rows_of(result: Comparison, csv_file: str) -> Iterator[Mapping[str, Any]]:
    if csv_file == "deliveries":
        for row in csv.DictReader(list(delivery_lines(result))[:200]):
            yield {name: value if name == "variant" else int(value) for name, value in row.items()}
        return
    protected = security_result()
    protected.attempts.append(AttemptCounts("sse", "no-password", 9, 0, {"401": 9}, None))
    found = {
        "summary.csv": result.summary,
        "trials.csv": result.trial_table,
        "summary.csv of idle connections": idle_result().summary,
        "summary.csv of guarantees": guarantees_result().summary,
        "summary.csv of security": protected.summary,
        "attempts.csv": protected.attempt_table,
    }
    yield from found[csv_file]


@pytest.mark.parametrize("csv_file", COLUMNS)
def test_the_dictionary_has_every_column_in_order_and_nothing_else(reference: Comparison, csv_file: str) -> None:
    described = [column.name for column in COLUMNS[csv_file]()]
    assert list(next(iter(rows_of(reference, csv_file)))) == described
    assert len(described) == len(set(described))


@pytest.mark.parametrize("csv_file", COLUMNS)
def test_every_value_has_the_type_that_the_dictionary_says(reference: Comparison, csv_file: str) -> None:
    types = {column.name: TYPES[column.kind] for column in COLUMNS[csv_file]()}
    for row in rows_of(reference, csv_file):
        wrong = [n for n, value in row.items() if value is not None and not isinstance(value, types[n])]
        assert wrong == []


@pytest.mark.parametrize("csv_file", COLUMNS)
def test_everything_has_a_meaning(csv_file: str) -> None:
    assert [column.name for column in COLUMNS[csv_file]() if len(column.meaning) < 5] == []


@pytest.mark.parametrize("document", tables())
def test_the_documents_have_it_as_the_code_has_it(document: str) -> None:
    text = (DOCS / document).read_text(encoding="utf-8")
    assert text == written(text, tables()[document]), "run `make dictionary`"


def test_a_document_without_a_place_for_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one place for the columns of trials\.csv: it has 0"):
        written("# Results\n", {"trials.csv": "| column |\n"})


@pytest.mark.long
@pytest.mark.process
def test_the_columns_in_the_files_of_a_fresh_result_are_the_same(comparison: Path) -> None:
    for name in ("summary.csv", "trials.csv"):
        with (comparison / name).open(encoding="utf-8") as file:
            assert next(csv.reader(file)) == [column.name for column in COLUMNS[name]()]
