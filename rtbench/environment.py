"""Environment: what a measurement was made on, as it stands in every result. No user name, no host name, no secret."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = ("rtbench", "aiohttp", "websockets", "aiomqtt", "paho-mqtt", "numpy")


def describe() -> dict[str, Any]:
    """Return a description of this machine and its software, fit for JSON."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": {name: version(name) for name in LIBRARIES},
        "link": "loopback",
        "missing": missing_columns(),
    }


def missing_columns() -> list[str]:
    """Return the columns that this platform cannot fill."""
    return [] if sys.platform == "linux" else ["wire_bytes_per_delivery", "payload_share"]


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _first_line(path: str) -> str | None:
    with suppress(OSError):
        return Path(path).read_text().splitlines()[0]
    return None
