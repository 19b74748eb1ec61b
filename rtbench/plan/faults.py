"""Faults: what is broken on purpose, and when. Pure.

A fault is written as `KIND@TIME`, with ` for TIME` where it lasts and ` of SHARE` where it concerns some subscribers:
`cut@2s`, `stall@2s for 1s`, `offline@2s for 3s of 50%`. Its time counts from the start of the trial, warm-up included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rtbench.errors import UsageError, did_you_mean
from rtbench.units import parse_number, parse_seconds, plain

LINK, SERVER, SUBSCRIBERS = "link", "server", "subscribers"


@dataclass(frozen=True)
class Kind:
    """A kind of fault: what it breaks, whether it lasts (`for`), and whether it takes a share (`of`)."""

    breaks: str
    lasts: bool
    meaning: str
    shared: bool = False


KINDS = {
    "cut": Kind(LINK, False, "every connection is reset"),
    "stall": Kind(LINK, True, "nothing passes for a time; then all that waited comes"),
    "blackhole": Kind(LINK, True, "every packet is dropped for a time; TCP sends it again (packet link)"),
    "discard": Kind(
        LINK,
        True,
        "what is sent is acknowledged and thrown away for a time; then the connections are reset (stream link)",
    ),
    "restart-server": Kind(SERVER, False, "the server is asked to end (SIGTERM), and started again at once"),
    "kill-server": Kind(SERVER, True, "the server is killed (SIGKILL), and started again after a time"),
    "freeze-server": Kind(SERVER, True, "the server is stopped (SIGSTOP) for a time, and goes on"),
    "offline": Kind(SUBSCRIBERS, True, "a share of the subscribers closes its connections, and comes back", True),
}

RESTARTS = ("restart-server", "kill-server")  # a new server process is started


@dataclass(frozen=True)
class Fault:
    """One fault: `for_s` is 0 for a kind that does not last."""

    kind: str
    at_s: float
    for_s: float = 0.0
    share: float = 1.0

    @property
    def breaks(self) -> str:
        """What it breaks: `link`, `server` or `subscribers`."""
        return KINDS[self.kind].breaks

    @property
    def at_ns(self) -> int:
        """When it begins, nanoseconds after the start of the trial."""
        return round(1e9 * self.at_s)

    @property
    def for_ns(self) -> int:
        """How long it lasts."""
        return round(1e9 * self.for_s)

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.at_s + self.for_s

    def __str__(self) -> str:
        """Return it as a user writes it."""
        lasts = f" for {_shown(self.for_s)}" if KINDS[self.kind].lasts else ""
        share = f" of {plain(100 * self.share, 6)}%" if KINDS[self.kind].shared else ""
        return f"{self.kind}@{_shown(self.at_s)}{lasts}{share}"


MOST_LATE_NS = 20_000_000  # a fault that is seen to begin later or earlier than this is not the one that was planned


@dataclass(frozen=True)
class Evidence:
    """What was seen of a fault, by others than those that did it: times in nanoseconds after the start of the trial.

    `began_ns` is None for a fault that nobody saw. `seen` says by what it was seen.
    """

    fault: str
    planned_ns: int
    began_ns: int | None
    ended_ns: int | None
    seen: str

    @property
    def wrong(self) -> str:
        """Why it does not prove the fault, in words; empty if it does."""
        if self.began_ns is None:
            return f"'{self.fault}' was not seen: {self.seen}"
        late_ms = (self.began_ns - self.planned_ns) / 1e6
        if abs(late_ms) > MOST_LATE_NS / 1e6:
            return f"'{self.fault}' was seen {abs(late_ms):.0f} ms {'late' if late_ms > 0 else 'early'}: {self.seen}"
        return ""


_FAULT = re.compile(r"\s*([\w-]+)\s*@\s*(\S+?)(?:\s+for\s+(\S+))?(?:\s+of\s+(\S+))?\s*")


def parse_fault(text: str) -> Fault:
    """Return the fault that a text describes.

    Raises:
        UsageError: it describes none.
    """
    found = _FAULT.fullmatch(text)
    if found is None:
        raise UsageError(
            f"--fault must be like 'cut@2s', 'stall@2s for 1s' or 'offline@2s for 3s of 50%': got {text!r}"
        )
    name, at, lasts, share = found.groups()
    if name not in KINDS:
        raise UsageError(f"--fault {name} is not known; the faults are {', '.join(KINDS)}{did_you_mean(name, KINDS)}")
    kind = KINDS[name]
    if kind.lasts and lasts is None:
        raise UsageError(f"--fault {name} lasts: write '{name}@{at} for 1s'")
    if lasts is not None and not kind.lasts:
        raise UsageError(f"--fault {name} does not last: write '{name}@{at}'")
    if share is not None and not kind.shared:
        raise UsageError(f"--fault {name} takes no share: leave out 'of {share}'")
    return Fault(name, _time(at), _time(lasts) if lasts else 0.0, _share(share) if share else 1.0)


def in_order(faults: Sequence[Fault]) -> list[Fault]:
    """Return faults by their time.

    Raises:
        UsageError: two of them overlap; then it would not be known which one did what.
    """
    ordered = sorted(faults, key=lambda fault: fault.at_s)
    for before, after in pairwise(ordered):
        if after.at_s <= before.end_s:
            raise UsageError(f"--fault '{after}' begins before '{before}' is over; give it a later time")
    return ordered


def _time(text: str) -> float:
    try:
        return parse_seconds(text)
    except UsageError as error:
        raise UsageError(f"--fault: {error}") from None


def _share(text: str) -> float:
    try:
        share = parse_number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(
            f"--fault: the share of the subscribers must be above 0, up to 100%, such as 50%: got {text!r}"
        )
    return share


def _shown(seconds: float) -> str:
    return f"{plain(seconds, 6)}s" if seconds >= 1 or not seconds else f"{plain(1e3 * seconds, 6)}ms"
