"""Episodes: the same fault several times in one trial, with time between to recover. Pure.

A fault is written without its time here: `cut`, `kill-server for 0.3s`. One that lasts and says no time lasts 0.3 s.
"""

from __future__ import annotations

from dataclasses import replace

from rtbench.errors import UsageError
from rtbench.plan.faults import KINDS, Fault, parse_fault

NETWORK = "rtt=50ms"  # so that messages and acknowledgements are under way when a fault comes
FIRST_S = 1.0  # from the start of a trial to its first fault
AFTER_S = 2.0  # from the end of a fault to the next one, and to the end of the schedule
BEFORE_S = 0.5  # messages due so long before a fault belong to its episode: they may be under way, or not yet fetched
_USUAL = "0.3s"


def parse_episode(text: str) -> str:
    """Return the one way to write a fault without its time.

    Raises:
        UsageError: it describes none, or has a time.
    """
    return _without_time(_fault_at_zero(text))


def episodes(text: str, count: int) -> tuple[Fault, ...]:
    """Return a fault `count` times, each after the one before is over and recovered from."""
    fault = _fault_at_zero(text)
    every_s = fault.for_s + AFTER_S
    return tuple(replace(fault, at_s=FIRST_S + i * every_s) for i in range(count))


def schedule_s(text: str, count: int) -> float:
    """Return how long messages are sent in a trial with so many episodes."""
    return episodes(text, count)[-1].end_s + AFTER_S


def _fault_at_zero(text: str) -> Fault:
    if "@" in text:
        raise UsageError(f"--fault is repeated here: leave out its time, as in 'kill-server for 0.3s': got {text!r}")
    kind, _, rest = " ".join(text.split()).partition(" ")
    if kind in KINDS and KINDS[kind].lasts and not rest.startswith("for "):
        rest = f"for {_USUAL} {rest}"
    return parse_fault(f"{kind}@0s {rest}")


def _without_time(fault: Fault) -> str:
    return str(fault).replace("@0s", "")
