"""The options of `rtbench.run`, `compare`, `idle` and `guarantees` as typed keywords."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from rtbench.experiments.capacity import CAPACITY
from rtbench.experiments.compare import COMPARISON
from rtbench.experiments.guarantees import GUARANTEES
from rtbench.experiments.idle import IDLE
from rtbench.experiments.laws import ALL_LAWS
from rtbench.experiments.security import SECURITY
from rtbench.experiments.sweep import SWEEP
from rtbench.keywords import (
    CapacityKeywords,
    CompareKeywords,
    GuaranteesKeywords,
    IdleKeywords,
    LawsKeywords,
    RunKeywords,
    SecurityKeywords,
    SweepKeywords,
)
from tests.builders import REFERENCE


@pytest.mark.process
@pytest.mark.parametrize(
    ("experiment", "first", "keywords"),
    [
        (COMPARISON, "transport", CompareKeywords),
        (IDLE, "transport", IdleKeywords),
        (SECURITY, "transport", SecurityKeywords),
        (SWEEP, "vary", SweepKeywords),
        (CAPACITY, "transport", CapacityKeywords),
        (GUARANTEES, "transport", GuaranteesKeywords),
        (ALL_LAWS, "law", LawsKeywords),
    ],
    ids=["compare", "idle", "security", "sweep", "capacity", "guarantees", "laws"],
)
def test_every_option_is_a_typed_keyword(experiment: Any, first: str, keywords: type) -> None:
    assert {first, *get_type_hints(keywords)} == set(experiment.settings())
    compared = {name for name, setting in COMPARISON.settings().items() if setting.compared}
    assert set(get_type_hints(RunKeywords)) == set(get_type_hints(CompareKeywords)) - compared


@pytest.mark.process
@pytest.mark.long
def test_a_type_checker_finds_a_wrong_keyword(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text('import rtbench\n\nrtbench.run("mqtt", qos=2, duration="5s").report()\n')
    (tmp_path / "wrong.py").write_text(
        'import rtbench\n\nrtbench.run("mqtt", trails=2)\nrtbench.run("mqtt", rate="x")\n'
    )
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--cache-dir", str(tmp_path / "cache")]
    environment = {**os.environ, "MYPYPATH": str(REFERENCE.parents[1])}
    done = subprocess.run(
        [*command, "right.py", "wrong.py", "--follow-imports", "silent"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "right.py" not in done.stdout, done.stdout
    assert 'wrong.py:3: error: Unexpected keyword argument "trails"' in done.stdout, done.stdout + done.stderr
    assert "wrong.py:4" in done.stdout
