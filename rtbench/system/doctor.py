"""Doctor: find conditions of this machine that disturb a measurement or leave a column empty. It changes nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rtbench.system.room import CONNECTION_BYTES, free_memory_bytes, free_ports

FINE, NOTE, TROUBLE = "fine", "note", "trouble"
_BUSY = 0.10  # share of the cores that other processes use while rtbench measures nothing
_FILES = 4096


@dataclass(frozen=True)
class Symptom:
    """The result of one check: its state, what was checked, and a text that says what to do."""

    state: str
    about: str
    text: str


def examine() -> Iterator[Symptom]:
    """Yield the result of each check; a check runs when its result is asked for."""
    yield _platform()
    yield _cores()
    yield _others()
    yield _governor()
    yield _files()
    yield _ports()
    yield _memory()
    yield _backlog()
    yield _timer()


def _platform() -> Symptom:
    if sys.platform == "linux":
        return Symptom(FINE, "platform", "Linux: every column can be filled")
    return Symptom(NOTE, "platform", f"{sys.platform}: bytes on the wire stay empty, CPU time is coarse")


def _cores() -> Symptom:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores >= 3:
        return Symptom(FINE, "cores", f"{cores}: one each for server, publishers and subscribers")
    return Symptom(NOTE, "cores", f"{cores}: server, publishers and subscribers share them; keep --rate low")


def _others() -> Symptom:
    used = psutil.cpu_percent(interval=0.5) / 100
    if used < _BUSY:
        return Symptom(FINE, "other work", f"{used:.0%} of the CPU is in use")
    return Symptom(TROUBLE, "other work", f"other processes use {used:.0%} of the CPU; stop them, or wait")


def _governor() -> Symptom:
    with suppress(OSError):
        name = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
        if name != "performance":
            return Symptom(
                NOTE, "governor", f"{name}: the clock rate changes with the load; `performance` keeps it constant"
            )
        return Symptom(FINE, "governor", name)
    return Symptom(FINE, "governor", "not known (a virtual machine, or not Linux)")


def _files() -> Symptom:
    try:
        import resource
    except ImportError:
        return Symptom(FINE, "open files", "the limit is not known")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard in (resource.RLIM_INFINITY, -1):
        return Symptom(FINE, "open files", "as many as there are connections")
    if hard >= _FILES:
        return Symptom(FINE, "open files", f"{hard} at most in a process, one for each connection (ulimit -Hn)")
    return Symptom(
        NOTE, "open files", f"{hard} at most, one for each connection; as root, `ulimit -n {_FILES}` allows more"
    )


def _ports() -> Symptom:
    ports = free_ports()
    text = f"{ports} connections from one address to one server (net.ipv4.ip_local_port_range)"
    return Symptom(FINE if ports >= _FILES else NOTE, "ports", text)


def _memory() -> Symptom:
    free = free_memory_bytes()
    text = f"{free / 1e9:.1f} GB are free: room for about {free // CONNECTION_BYTES} connections"
    return Symptom(FINE if free >= _FILES * CONNECTION_BYTES else NOTE, "memory", text)


def _backlog() -> Symptom:
    with suppress(OSError):
        limit = int(Path("/proc/sys/net/core/somaxconn").read_text())
        state = FINE if limit >= 1024 else NOTE
        return Symptom(state, "listen backlog", f"{limit} connections (net.core.somaxconn)")
    return Symptom(FINE, "listen backlog", "not known")


def _timer() -> Symptom:
    late_ns = []
    for _ in range(50):
        due_ns = time.monotonic_ns() + 1_000_000
        time.sleep(0.001)
        late_ns.append(time.monotonic_ns() - due_ns)
    median_us = sorted(late_ns)[len(late_ns) // 2] / 1000
    if median_us < 500:
        return Symptom(FINE, "timer", f"{median_us:.0f} us late at the median")
    return Symptom(TROUBLE, "timer", f"{median_us:.0f} us late at the median: lower latencies measure the timer")
