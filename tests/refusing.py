"""What tests of wrong input share."""

from __future__ import annotations

import pytest

from rtbench.cli import run_program


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that refuses some arguments."""
    assert run_program(arguments) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert len(stderr) < 1000
    assert stderr.rstrip("\n").isprintable()
    return stderr
