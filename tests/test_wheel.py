"""The wheel: what a stranger installs holds everything, nothing but `rtbench`, and works from any directory."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _call(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode in (0, 4), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build through the source distribution, as a release is."""
    out = tmp_path_factory.mktemp("dist")
    _call(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    return next(out.glob("*.whl"))


def test_the_wheel_puts_nothing_but_rtbench_into_site_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in names} == {"rtbench"}
    for folder in ("servers", "clients"):
        installed = {name.rpartition("/")[2] for name in names if name.startswith(f"rtbench/{folder}/")}
        assert installed == {path.name for path in (ROOT / folder).glob("*.py")}
    for folder in ("", "cli/", "wire/", "charts/"):
        missing = {path.name for path in (ROOT / "rtbench" / folder).glob("*.py")} - {
            name.removeprefix(f"rtbench/{folder}") for name in names
        }
        assert missing == set()
    assert "rtbench/py.typed" in names


def test_the_installed_wheel_measures_and_passes_the_contract(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    _call(*pip, "--target", str(site), str(wheel), cwd=tmp_path)
    elsewhere = {"PYTHONPATH": str(site)}
    where = _call(sys.executable, "-c", "import rtbench; print(rtbench.__file__)", cwd=tmp_path, **elsewhere)
    assert where.startswith(str(site))
    main = "from rtbench.cli import main; main()"
    quick = ("--trials", "1", "--duration", "200ms", "--warmup", "0", "--out", "out")
    _call(sys.executable, "-c", main, "run", "--transport", "mqtt", *quick, cwd=tmp_path, **elsewhere)
    with (tmp_path / "out" / "summary.csv").open() as file:
        assert [row["delivered"] for row in csv.DictReader(file)] == ["100"]
    contract = (
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-c",
        str(ROOT / "pyproject.toml"),
        "--rootdir",
        str(tmp_path),
    )
    _call(sys.executable, *contract, str(ROOT / "tests" / "test_contract.py"), cwd=tmp_path, **elsewhere)
