"""Sabotage: servers that have one thing wrong, each under the name `TRANSPORT.SABOTAGE` once it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

MODULE = "rtbench_sabotage"
SERVERS = (
    *("mqtt.nagle", "tcp.nagle", "tcp.disk", "mqtt.disk", "websocket.deaf", "websocket.starved"),
    *(f"{transport}.{hop}" for transport in ("mqtt", "tcp", "websocket") for hop in ("inbound", "outbound")),
)


def install(directory: Path) -> None:
    """Make the servers importable from a directory, with their entry points."""
    shutil.copy(Path(__file__).with_name("servers.py"), directory / f"{MODULE}.py")
    info = directory / f"{MODULE}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n", encoding="utf-8")
    points = [f"{name} = {MODULE}:{name.replace('-', '_').replace('.', '_')}" for name in SERVERS]
    (info / "entry_points.txt").write_text("\n".join(["[rtbench.servers]", *points, ""]), encoding="utf-8")
