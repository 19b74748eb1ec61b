"""Things that take long to make and that many tests look at: made once, also where several workers run the tests."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a directory that `make` has filled: once for all workers of pytest-xdist, whichever comes first.

    The other workers wait meanwhile. A worker that finds it half made, because `make` failed, makes it anew.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        directory = factory.mktemp(name)
        make(directory)
        return directory
    root = factory.getbasetemp().parent  # the same for all workers of one call of pytest
    directory, ready = root / f"once-{name}", root / f"once-{name}.ready"
    with (root / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            make(directory)
            ready.touch()
    return directory
