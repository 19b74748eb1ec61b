"""Environment: a description of the machine and the software of a measurement, for every result.

The JSON Schema of result.json says what each entry means. None means that this platform does not provide the value.
The description has no user name, no host name, no path and no secret, only numbers and names that many machines share.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import ssl
import sys
import sysconfig
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import psutil

from rtbench.system.tls import VERSION

# rtbench, and all libraries that it imports
LIBRARIES = (
    "rtbench",
    "aiohttp",
    "websockets",
    "aiomqtt",
    "paho-mqtt",
    "numpy",
    "click",
    "jsonschema",
    "matplotlib",
    "psutil",
    "segno",
    "trustme",
    "yarl",
)
_MACHINES = (
    "kvm",
    "qemu",
    "vmware",
    "virtualbox",
    "xen",
    "hyper-v",
    "virtual machine",
    "bochs",
    "amazon ec2",
    "google",
)
_CONTAINERS = ("docker", "kubepods", "containerd", "podman", "lxc")
_NO_LIMIT = 2**60  # cgroups write "no limit" as a number near 2**63


def describe(tls: bool = False) -> dict[str, Any]:
    """Return a description of this machine, its software and the measured link, as values for JSON."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "kernel_build": platform.version(),
        "machine": platform.machine(),
        "processor": _processor(),
        **_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_limit_bytes": _memory_limit(),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual_machine": _virtual_machine(),
        "container": _container(),
        "clock": _clock(),
        "limits": _limits(),
        "network": _network(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_build": _python_build(),
        "openssl": ssl.OPENSSL_VERSION,
        "libraries": {name: _version(name) for name in LIBRARIES},
        "packages_sha256": packages_sha256(_installed()),
        "link": link(tls),
        "missing": missing_columns(),
    }


def link(tls: bool) -> str:
    """Return the name of the link between client and server, with the TLS version if TLS is used."""
    return f"loopback, {VERSION}" if tls else "loopback"


def missing_columns() -> list[str]:
    """Return the columns that this platform cannot fill."""
    return [] if sys.platform == "linux" else ["wire_bytes_per_delivery", "payload_share"]


def packages_sha256(installed: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of the sorted lines `name==version`, with names normalized as in PEP 503."""
    lines = {f"{re.sub(r'[-_.]+', '-', name).lower()}=={number}" for name, number in installed}
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


def _installed() -> list[tuple[str, str]]:
    return [(found.metadata["Name"], found.version) for found in distributions() if "Name" in found.metadata]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor()


def _cpuinfo(key: str) -> str | None:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return None


def _cores() -> dict[str, Any]:
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    quota = (_first_line("/sys/fs/cgroup/cpu.max") or "max").split()
    return {
        "cores": len(allowed) if allowed is not None else os.cpu_count(),
        "cores_online": os.cpu_count(),
        "affinity": ranges(allowed) if allowed is not None else None,
        "cpu_quota_cores": int(quota[0]) / int(quota[1]) if len(quota) == 2 and quota[0] != "max" else None,
    }


def ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers in the format of taskset: `0-3,8`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def _memory_limit() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _number(path)
        if limit is not None:
            return limit if limit < _NO_LIMIT else None
    return None


def _virtual_machine() -> str | None:
    """Return the name of the hypervisor, or `unnamed` if only its presence is known; None if none was found.

    None does not prove that there is no hypervisor.
    """
    if "microsoft" in platform.release().lower():
        return "wsl"
    names = [_first_line(f"/sys/class/dmi/id/{name}") or "" for name in ("sys_vendor", "product_name")]
    names.append(_first_line("/sys/hypervisor/type") or "")
    for name in _MACHINES:
        if any(name in text.lower() for text in names):
            return name
    return "unnamed" if "hypervisor" in (_cpuinfo("flags") or "").split() else None


def _container() -> str | None:
    """Return the kind of container, None if none was found; None does not prove that there is none."""
    if Path("/.dockerenv").exists():
        return "docker"
    if Path("/run/.containerenv").exists():
        return "podman"
    with suppress(OSError):
        groups = Path("/proc/1/cgroup").read_text()
        return next((name for name in _CONTAINERS if name in groups), None)
    return None


def _clock() -> dict[str, Any]:
    info = time.get_clock_info("monotonic")
    return {
        "source": _first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "function": info.implementation,
        "resolution_ns": info.resolution * 1e9,
    }


def _limits() -> dict[str, Any]:
    soft = hard = None
    with suppress(ImportError):
        import resource

        soft, hard = (None if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    return {"open_files": soft, "open_files_hard": hard, "somaxconn": _number("/proc/sys/net/core/somaxconn")}


def _network() -> dict[str, Any]:
    return {
        "tcp_rmem_bytes": _three("/proc/sys/net/ipv4/tcp_rmem"),
        "tcp_wmem_bytes": _three("/proc/sys/net/ipv4/tcp_wmem"),
        "congestion_control": _first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
        "tcp_timestamps": _number("/proc/sys/net/ipv4/tcp_timestamps"),
        "loopback_mtu_bytes": _number("/sys/class/net/lo/mtu"),
    }


def _python_build() -> dict[str, Any]:
    return {
        "date": " ".join(platform.python_build()[1].split()),
        "compiler": platform.python_compiler(),
        "optimized": "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS") or ""),
        "debug": hasattr(sys, "gettotalrefcount"),
    }


def _first_line(path: str) -> str | None:
    with suppress(OSError, IndexError):
        return Path(path).read_text().splitlines()[0].strip()
    return None


def _number(path: str) -> int | None:
    with suppress(ValueError):
        return int(_first_line(path) or "")
    return None


def _three(path: str) -> list[int] | None:
    line = _first_line(path)
    return [int(word) for word in line.split()] if line else None
