"""A client of `tcp` that runs whole processes and knows no asyncio, under the name `tcp.blocking` once it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

MODULE = "rtbench_blocking"


def install(directory: Path) -> None:
    """Make the client importable from a directory, with its entry point."""
    shutil.copy(Path(__file__).with_name("client.py"), directory / f"{MODULE}.py")
    info = directory / f"{MODULE}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[rtbench.clients]\ntcp.blocking = {MODULE}\n", encoding="utf-8")
