from __future__ import annotations

import re
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

REPOSITORY = Path(__file__).parents[1]
LESSON = REPOSITORY / "notebooks" / "01-first-lesson.ipynb"
TUNNEL = REPOSITORY / "notebooks" / "02-the-tunnel.ipynb"
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
CHARTS = ("latency_ecdf", "latency_percentiles", "bytes_per_delivery", "server_cpu", "latency_against_bytes")

COURSES = ("latency_through_fault", "messages_through_fault")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@cache
def run(path: Path) -> Any:
    """Run a notebook from its own folder, on the interpreter that runs the tests."""
    with warnings.catch_warnings():
        # Jupyter's own affair: the notebook runs in another process, where a warning of ours shows on stderr
        warnings.simplefilter("ignore", DeprecationWarning)
        from jupyter_client.kernelspec import get_kernel_spec
        from nbclient import NotebookClient

        # Jupyter starts a kernel that names no path on the interpreter that asks for it
        assert get_kernel_spec("python3").argv[0] in ("python", "python3", sys.executable)
        client = NotebookClient(
            read(path),
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(path.parent)}},
        )
        return client.execute()


def shown(cell: Any) -> dict[str, Any]:
    """What a cell shows beside text: MIME type to content."""
    found: dict[str, Any] = {}
    for output in cell.outputs:
        if output.output_type in ("execute_result", "display_data"):
            found |= output.data
    return found


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@every_notebook
def test_it_is_stored_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None


@every_notebook
@pytest.mark.process
@pytest.mark.long
def test_it_runs(path: Path) -> None:
    notebook = run(path)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert not [o for o in cell.outputs if o.output_type == "error" or o.get("name") == "stderr"], cell.source
        last = cell.source.splitlines()[-1]
        if last == "result":
            assert "<table>" in shown(cell)["text/html"]
        if any(last == f"result.{chart}()" for chart in CHARTS + COURSES):
            assert "<img alt=" in shown(cell)["text/html"], f"{last} shows no picture"


@pytest.mark.process
@pytest.mark.long
def test_the_first_lesson_explains_the_columns_of_the_table_that_it_shows() -> None:
    lesson = run(LESSON)
    [text] = [cell.source for cell in lesson.cells if cell.id == "reading"]
    explained = re.findall(r"^\| (.+?) \|", text.partition("| --- |")[2], re.M)
    assert explained == re.findall("<th>(.*?)</th>", shown(code_cells(lesson)[0])["text/html"])


def test_the_first_lesson_shows_every_chart() -> None:
    source = "\n".join(cell.source for cell in code_cells(read(LESSON)))
    assert [chart for chart in CHARTS if f"\nresult.{chart}()" not in f"\n{source}"] == []


@pytest.mark.process
@pytest.mark.long
def test_in_the_second_lesson_only_those_lose_messages_that_it_says() -> None:
    printed = "".join(
        output.text for cell in code_cells(run(TUNNEL)) for output in cell.outputs if output.output_type == "stream"
    )
    lost = dict(re.findall(r"^(\S+ \(\w+\)) .*?(\d+) lost", printed.replace("\r", "\n"), re.M))
    assert lost.keys() >= {"websocket (naive)", "websocket (robust)", *(f"mqtt-qos{qos} (robust)" for qos in (0, 1, 2))}
    assert {name for name, count in lost.items() if count != "0"} == {"websocket (naive)", "mqtt-qos0 (robust)"}
