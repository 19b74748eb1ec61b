"""Options are offered only where they exist, and their limits stand in the help."""

from __future__ import annotations

import ast
import re

import click
import pytest

from rtbench.cli import group, run_program
from rtbench.plan.values import LIMITS
from tests.builders import REFERENCE

ROOT = REFERENCE.parents[1]
OF_OTHER_PROGRAMS = {  # options in documents and messages
    *("--data", "--data-binary", "--head", "--header", "--include", "--no-buffer", "--raw", "--silent"),  # curl
    *("--editable", "--no-deps", "--extra", "--enable-optimizations"),  # pip, uv, Python's configure
    *("--rm", "--volumes"),  # docker compose
    *("--will-topic", "--will-payload"),  # mosquitto_sub
    "--ack",  # of the transport that docs/adding-a-transport.md builds
}


def flags() -> set[str]:
    """Return every option of every command."""
    context, found = click.Context(group), {"--help", "--version"}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found |= {flag for option in command.get_params(context) for flag in (*option.opts, *option.secondary_opts)}
    return found


def mentioned(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b(?!-)", text))


@pytest.mark.process
def test_every_option_in_documents_and_messages_exists() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
    for folder in ("rtbench", "servers", "clients"):
        for path in (ROOT / folder).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            strings = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            texts[path] = "\n".join(strings)
    known = flags() | OF_OTHER_PROGRAMS
    unknown = {str(path): mentioned(text) - known for path, text in texts.items()}
    assert {path: options for path, options in unknown.items() if options} == {}
    assert len({option for text in texts.values() for option in mentioned(text)} & flags()) > 40


@pytest.mark.parametrize("name", ["rate", "payload", "publishers", "duration", "trials", "seed", "sparse_rate"])
def test_the_help_states_the_limits(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["compare", "--help"]) == 0
    assert str(LIMITS[name]) in " ".join(capsys.readouterr().out.split())
