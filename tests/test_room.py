"""Room for connections: open files and ports."""

from __future__ import annotations

import pytest

from rtbench.errors import UsageError
from rtbench.system.room import room_for


def test_the_limit_of_open_files_is_raised_and_put_back() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with room_for(400, "--connections 400"):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 400
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, hard)
        with room_for(10, "--connections 10"):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_connections_than_open_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1000))
    with (
        pytest.raises(UsageError, match=r"needs 1064 open files, .* at most 936 connections fit"),
        room_for(1000, "--connections 1000"),
    ):
        pass


def test_more_connections_than_ports_are_refused() -> None:
    with (
        pytest.raises(UsageError, match=r"--connections 70000: this machine has ports for \d+ connections"),
        room_for(70_000, "--connections 70000"),
    ):
        pass
