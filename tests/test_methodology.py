"""Each claim of docs/methodology.md names a test that guards it, or says why there is none; each such test exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CASES = TESTS.parent / "rtbench" / "conformance"  # of the contract, which the package has
TEXT = (TESTS.parent / "docs" / "methodology.md").read_text(encoding="utf-8")
REFERENCE = re.compile(r"`(\w+\.py)::(\w+)`")
UNCLAIMED = "## What is not measured"


def claims() -> list[str]:
    """Every bullet and every row of a table of verdicts, up to the section on what is not claimed."""
    found = re.findall(r"^(?:- .*\n(?:(?:  .*)?\n)*|\| (?:invalid|suspect) \|.*\n)", TEXT.partition(UNCLAIMED)[0], re.M)
    return [claim.strip() for claim in found]


@cache
def functions_of(file: str) -> set[str]:
    path = (TESTS if file.startswith("test_") else CASES) / file
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim[:50])
def test_every_claim_names_its_test(claim: str) -> None:
    assert REFERENCE.search(claim) or "→ no test: " in claim


@pytest.mark.parametrize(("file", "name"), sorted(set(REFERENCE.findall(TEXT))))
def test_the_tests_that_are_named_exist(file: str, name: str) -> None:
    assert name in functions_of(file)


def test_there_are_as_many_claims_as_it_looks() -> None:
    assert len(claims()) > 50
    assert UNCLAIMED in TEXT
