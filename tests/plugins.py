"""A package with a transport `other`, as somebody else would install it."""

from __future__ import annotations

import os
from pathlib import Path


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
