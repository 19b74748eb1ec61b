"""A package with a transport `other`, as somebody else would install it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtbench.transports import registry

CACHED = (
    registry.points,
    registry.server,
    registry.client,
    registry.client_settings,
    registry.settings,
    registry.server_options,
)


def install(directory: Path, server: str, client: str) -> None:
    """Put a distribution with a transport `other` where Python finds it."""
    info = directory / "other-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    points = "[rtbench.servers]\nother = other_server\n[rtbench.clients]\nother = other_client\n"
    (info / "entry_points.txt").write_text(points)
    (directory / "other_server.py").write_text(server)
    (directory / "other_client.py").write_text(client)


def path_with(directory: Path) -> str:
    """Return a PYTHONPATH on which the directory is."""
    return os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def installed(directory: Path, server: str, client: str) -> Iterator[None]:
    """Have the transport `other` in this process and in those that it starts."""
    install(directory, server, client)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(directory)
        patch.setenv("PYTHONPATH", path_with(directory))
        for cached in CACHED:
            cached.cache_clear()
        yield
        for name in ("other_server", "other_client"):
            sys.modules.pop(name, None)
    for cached in CACHED:
        cached.cache_clear()
