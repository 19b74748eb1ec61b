"""The documents: links lead somewhere, commands are possible, and the course guide keeps the numbers of its claims."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import click
import nbformat
import pytest

from rtbench.cli import group, run_program
from rtbench.links import choice
from rtbench.result.result import Result
from tests.builders import REFERENCE
from tests.programs import needs, programs_of

REPOSITORY = Path(__file__).parents[1]
GUIDE = REPOSITORY / "docs" / "course-guide.md"
ANSWERS = REPOSITORY / "docs" / "model-answers.md"
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "results/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "notebooks").glob("*.ipynb")),
]
LINK = re.compile(r"(?<!!)\[(?P<text>[^][]+)\]\((?P<target>[^)\s]+)\)")
CLAIM = re.compile(r'^<a id="(?P<id>[\w-]+)"></a>\*\*(?P<number>[^:*]+): (?P<sentence>[^*]+)\*\*', re.M)
COMMAND = re.compile(r"^\$ (?:\w+=\w+ )*(rtbench (?!.*\|).*)$", re.M)


@cache
def text_of(path: Path) -> str:
    """A document; of a notebook, its cells of text."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in cells_of(path))


def cells_of(path: Path) -> list[Any]:
    """The cells of text of a notebook."""
    notebook: Any = nbformat.read(path, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def prose_of(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text_of(path), flags=re.M | re.S)


@cache
def anchors_of(path: Path) -> set[str]:
    """The anchors of a Markdown file: those written down, and those that GitHub makes of headings."""
    prose = prose_of(path)
    headings = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in re.findall(r"^#+ (.*)$", prose, re.M)]
    return set(re.findall(r'<a id="([^"]+)">', prose)) | {heading.strip().replace(" ", "-") for heading in headings}


def links() -> list[tuple[Path, str, str]]:
    """Every relative link: the document, its text on one line, and where it leads."""
    found = [(path, link["text"], link["target"]) for path in DOCUMENTS for link in LINK.finditer(prose_of(path))]
    return [(path, " ".join(text.split()), target) for path, text, target in found if "://" not in target]


def test_every_link_leads_to_a_file_and_an_anchor_that_exist() -> None:
    broken = []
    for path, _, target in links():
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            broken.append(f"{path.name}: {target}")
    assert broken == []
    assert len(links()) > 90


def claims() -> dict[str, str]:
    return {claim["id"]: " ".join(claim["sentence"].split()) for claim in CLAIM.finditer(text_of(GUIDE))}


def test_every_claim_of_the_guide_has_an_anchor_of_its_own_that_is_its_number() -> None:
    found = list(CLAIM.finditer(text_of(GUIDE)))
    assert len(found) == text_of(GUIDE).count("<a id=") > 50
    assert [name for name, times in Counter(claim["id"] for claim in found).items() if times > 1] == []
    for claim in found:
        assert claim["id"] == " ".join(claim["number"].split()).lower().replace(" ", "-")


def test_what_a_document_quotes_from_the_guide_stands_there() -> None:
    to_guide = [(text, target.partition("#")[2]) for _, text, target in links() if "course-guide.md#" in target]
    quoted = [(text, anchor) for text, anchor in to_guide if text.lower().replace(" ", "-") != anchor]
    assert [(text, anchor) for text, anchor in quoted if text != claims()[anchor]] == []


def commands() -> list[str]:
    return sorted({command.strip() for path in DOCUMENTS for command in COMMAND.findall(text_of(path))})


def questions() -> dict[str, int]:
    """How many numbered questions each cell of a lesson has that asks something; by the anchor of its answers."""
    cells = [(path.stem[:2], cell) for path in DOCUMENTS if path.suffix == ".ipynb" for cell in cells_of(path)]
    asking = [(lesson, cell) for lesson, cell in cells if re.search(r"^\*\*(Think|Try):", cell.source, re.M)]
    return {f"{lesson}-{cell.id}": len(re.findall(r"^\d\. ", cell.source, re.M)) for lesson, cell in asking}


def test_every_question_of_a_lesson_has_its_model_answer() -> None:
    parts = re.split(r'^<a id="([\w-]+)"></a>', text_of(ANSWERS), flags=re.M)
    answers = {name: re.findall(r"^\d\. |^- ", text, re.M) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    assert list(answers) == list(questions())
    assert all(answers.values())
    assert {name: len([line for line in lines if line != "- "]) for name, lines in answers.items()} == questions()


def test_the_model_answers_are_on_the_reference_result_as_it_is() -> None:
    created = json.loads((REFERENCE / "result.json").read_text(encoding="utf-8"))["created"]
    assert f"`results/reference` (created {created})" in " ".join(text_of(ANSWERS).split())


def with_its_programs(command: str) -> Any:
    """Return a parameter, with the programs that the command names as servers."""
    programs = [program for server in re.findall(r"--server (\S+)", command) for program in programs_of(server)]
    return pytest.param(command, marks=needs(*programs) if programs else (), id=command)


class Planned(Exception):
    """All is known that is needed to measure."""


def planned(*_: object, **__: object) -> None:
    raise Planned


@pytest.mark.process
@pytest.mark.parametrize("command", [with_its_programs(command) for command in commands()])
def test_every_command_is_possible(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command that measures is followed until it would measure; of any other, the line is read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Result, "start", planned)
    monkeypatch.setattr(choice, "packet_link_missing", lambda: None)
    name, *arguments = shlex.split(command, comments=True)[1:]
    if name in ("run", "compare", "idle", "security", "guarantees", "laws"):
        with pytest.raises(Planned):
            run_program([name, *arguments])
    else:
        known = group.get_command(click.Context(group), name)
        assert known is not None
        known.make_context(name, arguments)
