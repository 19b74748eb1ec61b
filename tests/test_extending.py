"""What a newcomer adds, and how many files that takes: a metric, an option of a transport, an experiment.

Each is added to a copy of the package, which is then used as the program is.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PROGRAM = "import sys; from rtbench.cli import main; sys.argv[0] = 'rtbench'; main()"

METRIC = """
COSTS = (
    *COSTS,
    Metric(
        "answers_with_news_share",
        "number",
        "share of subscribers' requests that brought messages, 0 to 1",
        lambda g: None if _empty_request_share(g) is None else 1 - _empty_request_share(g),
    ),
)
"""
EXPERIMENT = '''"""Burst: a comparison with a name of its own."""

from rtbench.experiments.compare import Compare

BURST = Compare("burst")
EXPERIMENTS = (BURST,)
'''
COMMAND = '''"""`rtbench burst`."""

from rtbench.cli.measuring import experiment_command


def _experiment():
    from rtbench.experiments.burst import BURST

    return BURST


command = experiment_command("burst", _experiment, "Measure a burst.", "Measure a burst.")
'''


class Copy:
    """The package as it is installed, in a folder of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.package = directory / "rtbench"
        shutil.copytree(REPOSITORY / "rtbench", self.package, ignore=shutil.ignore_patterns("__pycache__"))
        for folder in ("servers", "clients"):
            shutil.copytree(REPOSITORY / folder, self.package / folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(REPOSITORY / "docs", directory / "docs")

    def runs(self, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.directory)}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rtbench(self, *arguments: str) -> str:
        return self.runs("-c", PROGRAM, *arguments)

    def edit(self, file: str, change: Callable[[str], str]) -> None:
        path = self.package / file
        text = path.read_text(encoding="utf-8")
        changed = change(text)
        assert changed != text
        path.write_text(changed, encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


@pytest.mark.process
def test_a_metric_is_added_in_one_file_and_the_dictionary_is_written(copy: Copy) -> None:
    copy.edit("analysis/costs.py", lambda text: text + METRIC)
    copy.runs("-m", "rtbench.result.dictionary", "docs")
    reference = str(REPOSITORY / "results" / "reference")
    for option in ("--summary", "--trials"):
        rows = list(csv.DictReader(io.StringIO(copy.rtbench("export", reference, option))))
        shares = [row["answers_with_news_share"] for row in rows if row["variant"] == "polling"]
        assert shares
        assert all(0 < float(share) <= 1 for share in shares)
    assert "| `answers_with_news_share` | number |" in (copy.directory / "docs" / "results.md").read_text("utf-8")


@pytest.mark.process
@pytest.mark.long
def test_an_option_of_a_client_is_added_in_its_own_module(copy: Copy) -> None:
    copy.edit(
        "clients/long_polling.py",
        lambda text: text.replace(
            "meter: Meter, *, close:",
            "meter: Meter, *, haste_s: Annotated[float, Option('pause after an answer', above=0)] = 0.1, close:",
        ).replace(
            "from rtbench.transports import ", "from typing import Annotated\nfrom rtbench.transports import Option, "
        ),
    )
    assert "pause after an answer (long-polling) [100ms]" in " ".join(copy.rtbench("run", "--help").split())
    size = ("--trials", "1", "--duration", "300ms", "--warmup", "100ms", "--quiet")
    copy.rtbench("run", "--transport", "long-polling", "--haste", "20ms", *size, "--out", "out")
    assert '"haste_s": 0.02' in (copy.directory / "out" / "result.json").read_text(encoding="utf-8")


@pytest.mark.process
@pytest.mark.long
def test_an_option_of_a_server_is_added_in_its_own_module(copy: Copy) -> None:
    copy.edit(
        "servers/websocket.py",
        lambda text: text.replace("    *,\n    capacity", "    *,\n    greeting: str = 'hello',\n    capacity", 1),
    )
    assert "--greeting" in copy.rtbench("serve", "--help")
    size = ("--trials", "1", "--duration", "300ms", "--warmup", "100ms", "--quiet")
    copy.rtbench("run", "--transport", "websocket", "--server-option", "greeting=good day", *size, "--out", "out")
    assert '"greeting": "good day"' in (copy.directory / "out" / "result.json").read_text(encoding="utf-8")


@pytest.mark.process
@pytest.mark.long
def test_an_experiment_is_added_in_two_files(copy: Copy) -> None:
    (copy.package / "experiments" / "burst.py").write_text(EXPERIMENT, encoding="utf-8")
    (copy.package / "cli" / "burst.py").write_text(COMMAND, encoding="utf-8")
    assert "Measure a burst." in copy.rtbench("--help")
    size = ("--trials", "1", "--duration", "300ms", "--warmup", "100ms", "--quiet", "--transport", "tcp")
    said = copy.rtbench("burst", *size, "--out", "out")
    assert "tcp" in said
    assert copy.rtbench("export", "out").startswith("variant,")
    assert '"burst"' in copy.rtbench("export", "--schema")


@pytest.mark.process
@pytest.mark.long
def test_a_client_that_cannot_be_loaded_spoils_no_other_transport(copy: Copy) -> None:
    info = copy.directory / "half-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half\nVersion: 1\n", encoding="utf-8")
    points = "[rtbench.servers]\nhalf = no_such_module\n[rtbench.clients]\nhalf = no_such_module\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    assert "half" in copy.rtbench("run", "--help")
    assert "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'" in copy.rtbench("transports")
    size = ("--trials", "1", "--duration", "300ms", "--warmup", "100ms", "--quiet")
    assert "tcp" in copy.rtbench("run", "--transport", "tcp", *size, "--out", "out")


@pytest.mark.process
@pytest.mark.long
def test_several_values_of_an_option_are_several_variants(copy: Copy) -> None:
    size = ("--trials", "1", "--duration", "300ms", "--warmup", "100ms", "--quiet", "--no-control")
    intervals = ("--interval", "50ms", "--interval", "100ms")
    copy.rtbench("compare", "--no-sparse", "--transport", "polling", *intervals, *size, "--out", "out")
    rows = list(csv.DictReader(io.StringIO(copy.rtbench("export", "out"))))
    assert [row["variant"] for row in rows] == ["polling-interval50ms", "polling-interval100ms"]
