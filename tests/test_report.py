"""The report: as wide as the terminal, printed again from a saved result, and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import rtbench as package
from rtbench.cli import run_program
from rtbench.result.result import Result
from rtbench.table import LEAST_WIDTH, Table
from tests import builders
from tests.builders import REFERENCE, idle_result, variant


def wide() -> Iterator[tuple[str, Result[Any]]]:
    yield "reference", package.load(REFERENCE)
    yield "idle", idle_result(variant("websocket"), variant("a-transport-with-a-long-name"))
    yield "long names", builders.comparison([variant("a-transport-with-quite-a-long-name-of-its-own", slot=5)])


@pytest.mark.parametrize("columns", [60, 72, 80, 100])
def test_the_report_fits_the_terminal(columns: int) -> None:
    for name, result in wide():
        text = result.report(columns)
        assert max(map(len, text.splitlines())) <= columns, name
        assert "verdict" in text or name == "idle"


def test_what_is_left_out_of_a_narrow_table_is_said() -> None:
    result = package.load(REFERENCE)
    narrow, whole = (" ".join(result.report(columns).split()) for columns in (LEAST_WIDTH, 100))
    assert "Left out, because the terminal is narrow: CPU us" in narrow
    assert "Left out" not in whole


def test_a_saved_result_is_printed_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["show", str(REFERENCE)]) == 0
    assert capsys.readouterr().out.rstrip("\n") == package.load(REFERENCE).report()
    assert run_program(["show", str(REFERENCE), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "comparison"
    assert run_program(["show", "nowhere"]) == 2


def test_the_table_is_had_for_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["export", str(REFERENCE), "--markdown"]) == 0
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("| variant | net+srv |")
    assert set(rule) == set("| -:")
    assert len(rows) == len(package.load(REFERENCE).variants)
    assert all(row.count("|") == head.count("|") for row in rows)
    assert "a\\|b" in Table([{"x": "a|b"}]).to_markdown()
