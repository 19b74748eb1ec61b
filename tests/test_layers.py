"""The structure: packages as layers, pure ones without I/O, and every file named where a reader looks for it."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
RTBENCH = REPOSITORY / "rtbench"
PACKAGES = sorted(path.parent.name for path in RTBENCH.glob("*/__init__.py"))
PURE = ("rtbench.plan", "rtbench.wire", "rtbench.analysis", "rtbench.errors", "rtbench.units", "rtbench.table")
IMPURE = ("asyncio", "socket", "ssl", "ctypes", "subprocess", "rtbench.servers", "rtbench.clients")
LINTER = Path(sys.executable).with_name("lint-imports")

LOADED = """
import importlib, json, pkgutil, sys
import numpy  # which loads ctypes by itself
before = set(sys.modules)
package = importlib.import_module(sys.argv[1])
for module in pkgutil.iter_modules(getattr(package, "__path__", []), sys.argv[1] + "."):
    importlib.import_module(module.name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def modules_of(package: str) -> list[str]:
    return sorted(path.name for path in (RTBENCH / package).glob("*.py") if path.name != "__init__.py")


def test_beside_the_packages_there_are_at_most_four_modules() -> None:
    assert len(modules_of(".")) <= 4


@pytest.mark.process
@pytest.mark.parametrize("name", PURE)
def test_what_is_pure_loads_no_module_that_does_input_or_output(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, name], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert [module for module in loaded if module in IMPURE or module.split(".")[0] in ("servers", "clients")] == []
    assert name in loaded


@pytest.mark.parametrize("package", PACKAGES)
def test_the_first_lines_of_a_package_name_every_file_in_it(package: str) -> None:
    text = ast.get_docstring(ast.parse((RTBENCH / package / "__init__.py").read_text(encoding="utf-8"))) or ""
    if package == "cli":
        return  # its files are the commands, and `rtbench --help` lists them
    assert [name for name in modules_of(package) if name not in text] == []


def test_the_map_names_every_package() -> None:
    text = ast.get_docstring(ast.parse((RTBENCH / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert [name for name in PACKAGES if f"{name}/" not in text] == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with the contracts, to break."""
    shutil.copytree(RTBENCH, tmp_path / "rtbench", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("servers", "clients"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    # the interpreter finds the copy first, and not the package that is installed
    run = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-c", run, "--no-cache"], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.mark.process
def test_the_layers_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.process
@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("plan/workload.py", "from rtbench.trial import trial"),
        ("wire/sse.py", "import socket"),
        (
            "analysis/age.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rtbench.result import result",
        ),
        ("result/report.py", "import matplotlib"),
        ("plan/payload.py", "from rtbench.plan import schedule as _"),
        ("stray/thing.py", "x = 1"),
        ("trial/trial.py", "import servers.sse"),
        ("../servers/sse.py", "import clients.sse"),
        ("../servers/mqtt_broker.py", "from servers import mqtt_connection"),
    ],
    ids=[
        "upwards",
        "a socket",
        "upwards for types only",
        "matplotlib",
        "a cycle",
        "a package without a layer",
        "a transport in the bench",
        "a client in a server",
        "a cycle in a server",
    ],
)
def test_a_broken_layer_is_found(copy: Path, file: str, line: str) -> None:
    broken = copy / "rtbench" / file
    if not broken.exists():
        broken.parent.mkdir()
        (broken.parent / "__init__.py").touch()
        broken.touch()
    if "schedule" in line:  # schedule imports workload, which is made to import it back
        broken = copy / "rtbench" / "plan" / "workload.py"
    broken.write_text(broken.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    done = lint(copy)
    assert done.returncode != 0, done.stdout


@pytest.mark.process
@pytest.mark.parametrize("role", ["publisher", "subscriber", "idle_client"])
def test_a_client_process_starts_without_what_only_the_analysis_needs(role: str) -> None:
    code = f"import sys, rtbench.trial.{role}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"numpy", "matplotlib", "psutil", "click"} & set(done.stdout.split()) == set()


def test_import_linter_is_a_part_of_make_lint() -> None:
    assert "lint-imports" in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert importlib.util.find_spec("importlinter") is not None
