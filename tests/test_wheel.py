"""The wheel: what a stranger installs holds everything, nothing but `rtbench`, and works from any directory."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.lab_page import page_libraries
from tests.programs import needs
from tests.sharing import made_once

ROOT = Path(__file__).parent.parent


def _call(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build through the source distribution, as a release is."""

    def make(directory: Path) -> None:
        _call(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT), cwd=directory)

    return next(made_once(tmp_path_factory, "dist", make).glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the wheel is installed in, and nothing else."""
    directory = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    _call(*pip, "--target", str(directory), str(wheel), cwd=directory)
    return directory


@pytest.mark.process
def test_the_wheel_puts_nothing_but_rtbench_into_site_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in names} == {"rtbench"}
    for folder in ("servers", "clients"):
        installed = {name.rpartition("/")[2] for name in names if name.startswith(f"rtbench/{folder}/")}
        assert installed == {path.name for path in (ROOT / folder).rglob("*.py")}
    for folder in ("", "cli/", "wire/", "charts/"):
        missing = {path.name for path in (ROOT / "rtbench" / folder).glob("*.py")} - {
            name.removeprefix(f"rtbench/{folder}") for name in names
        }
        assert missing == set()
    assert "rtbench/py.typed" in names


@pytest.mark.process
def test_the_installed_wheel_measures(site: Path, tmp_path: Path) -> None:
    elsewhere = {"PYTHONPATH": str(site)}
    where = _call(sys.executable, "-c", "import rtbench; print(rtbench.__file__)", cwd=tmp_path, **elsewhere)
    assert where.startswith(str(site))
    main = "from rtbench.cli import main; main()"
    quick = ("--trials", "1", "--duration", "200ms", "--warmup", "0", "--out", "out")
    _call(sys.executable, "-c", main, "run", "--transport", "mqtt", *quick, cwd=tmp_path, **elsewhere)
    with (tmp_path / "out" / "summary.csv").open() as file:
        assert [row["delivered"] for row in csv.DictReader(file)] == ["100"]


@pytest.mark.process
def test_the_installed_wheel_tests_the_contract_without_pytest(site: Path, tmp_path: Path) -> None:
    (tmp_path / "pytest.py").write_text("raise ImportError('no pytest here')\n")
    path = os.pathsep.join([str(tmp_path), str(site)])
    main = "from rtbench.cli import main; main()"
    said = _call(sys.executable, "-c", main, "contract", "tcp", cwd=tmp_path, PYTHONPATH=path)
    assert re.search(r"^\d+ passed, 0 failed", said, re.MULTILINE)


@pytest.mark.long
@needs("npm")
def test_a_wheel_that_is_built_with_the_libraries_of_the_page_serves_the_lab(tmp_path: Path) -> None:
    page_libraries()
    _call(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT), cwd=tmp_path)
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    _call(*pip, "--target", str(site), str(next(tmp_path.glob("*.whl"))), cwd=tmp_path)
    assert not list(site.rglob("node_modules")), "what the page does not load stays out"
    command = [sys.executable, "-c", "from rtbench.cli import main; main()", "lab", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, stdout=subprocess.PIPE, text=True
    ) as lab:
        assert lab.stdout is not None
        address = lab.stdout.readline().strip()
        for name in (
            "",
            "main.js",
            "lanes/mqtt.js",
            "vendor/mqtt.esm.js",
            "vendor/uPlot.esm.js",
            "vendor/uPlot.min.css",
        ):
            with urllib.request.urlopen(address + name) as answer:
                assert answer.status == 200
        lab.terminate()
    assert lab.returncode == 0
