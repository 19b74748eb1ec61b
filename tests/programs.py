"""Programs beside Python that some tests run: which test needs which, and what installs those that are missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

PACKAGES = {  # program: the package of Debian that has it
    "bash": "bash",
    "chromium": "chromium",
    "curl": "curl",
    "ip": "iproute2",
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "nchan": "libnginx-mod-nchan",
    "nft": "nftables",
    "nginx": "nginx-light",
    "npm": "npm",
    "openssl": "openssl",
    "tcpdump": "tcpdump",
    "unshare": "util-linux",
}
# Debian installs some in directories that are not on the PATH of every user
_ALSO_IN = "/usr/sbin:/usr/local/sbin:/sbin:/opt/homebrew/sbin"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Mark a test that runs some programs; it is skipped where one of them is missing."""
    unknown = set(programs) - PACKAGES.keys()
    assert not unknown, f"tests/programs.py does not say what installs {unknown}"
    return pytest.mark.program(*programs)


def programs_of(server: str) -> list[str]:
    """Return the programs that a server of a transport is; none for one of ours."""
    if server == "nchan":
        return ["nginx", "nchan"]
    return [server] if server in PACKAGES else []


def path_of(program: str) -> str | None:
    """Return where a program is, or the module `nchan` of nginx; None where it is not installed."""
    if program == "nchan":
        return next((str(path) for path in Path("/usr/lib/nginx/modules").glob("*nchan*")), None)
    return shutil.which(program) or shutil.which(program, path=_ALSO_IN)


def missing(programs: Iterable[str]) -> list[str]:
    """Return those that are not installed, each once, sorted."""
    return sorted({program for program in programs if path_of(program) is None})


def not_tested(skipped: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the lines that say what was not tested and what to do about it; `skipped` has the programs of each test."""
    tests = list(skipped)
    names = sorted({name for programs in tests for name in programs})
    if not names:
        return []
    packages = sorted({PACKAGES[name] for name in names})
    number = f"{len(tests)} test was" if len(tests) == 1 else f"{len(tests)} tests were"
    return [
        f"{number} not run: not installed here: {', '.join(names)}",
        f"to run them too: sudo apt-get install {' '.join(packages)}",
    ]
