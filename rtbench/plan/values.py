"""Values of options: how each kind is read from what a user gave, and the limits that it must keep.

The limits stand here once: the help shows them, and a value beyond them is refused before anything starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rtbench.errors import UsageError
from rtbench.plan.payload import HEADER_BYTES
from rtbench.units import parse_number, parse_seconds, parse_yes_or_no, plain

_WEEK_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class Limits:
    """The least and the most that a value may be; with `above`, it must be more than the least."""

    least: float
    most: float
    unit: str = ""
    above: bool = False

    def __str__(self) -> str:
        """Return them as the help shows them: `1 to 99999`, `above 0s, up to 168h`."""
        between = ", up to" if self.above else " to"
        text = f"{'above ' * self.above}{self._shown(self.least)}{between} {self._shown(self.most)}"
        return f"{text} bytes" if self.unit == "bytes" else text

    def _shown(self, value: float) -> str:
        if self.unit == "s":
            return f"{plain(value / 3600, 6)}h" if value >= 3600 else f"{plain(value, 6)}s"
        if self.unit == "%":
            return f"{plain(100 * value, 6)}%"
        return str(value) if isinstance(value, int) else plain(value, 12)

    def check(self, flag: str, value: float) -> None:
        """Refuse a value beyond the limits.

        Raises:
            UsageError: it is.
        """
        if not (self.least < value if self.above else self.least <= value) or not value <= self.most:
            raise UsageError(f"{flag} must be {self}: got {self._shown(value)}")


MOST_TRIALS = 10_000
MOST_PAYLOAD_BYTES = 2**24 - 1024  # servers and brokers take 16 MiB, with topic and headers
MOST_DELIVERIES = 20_000_000  # of a trial: their samples are held in memory
MOST_DELIVERIES_ELSEWHERE, MOST_CONNECTIONS_ELSEWHERE = 1000, 100  # a second, and at once: at another machine

MOST_WORKERS = 256
_PARTICIPANTS = Limits(1, 99_999)  # the header of a payload has five digits for a publisher
_RATE = Limits(0, 1e6, above=True)
_DURATION = Limits(0, _WEEK_S, "s", above=True)
LIMITS = {
    "publishers": _PARTICIPANTS,
    "subscribers": _PARTICIPANTS,
    "connections": _PARTICIPANTS,
    "messages": Limits(1, 100_000),
    "attempts": Limits(0, 1_000_000),
    "workers": Limits(1, MOST_WORKERS),
    "publisher_workers": Limits(1, MOST_WORKERS),
    "filters": Limits(0, 1_000_000),
    "rate": _RATE,
    "sparse_rate": _RATE,
    "payload": Limits(HEADER_BYTES, MOST_PAYLOAD_BYTES, "bytes"),
    "duration": _DURATION,
    "sparse_duration": _DURATION,
    "rtt": Limits(0.04, 2.0, "s"),
    "keep_alive": Limits(0, 3600.0, "s", above=True),
    "warmup": Limits(0, _WEEK_S, "s"),
    "drain": Limits(0.5, _WEEK_S, "s"),  # subscribers tell four times a second how much they have
    "trials": Limits(1, MOST_TRIALS),
    "most_trials": Limits(1, MOST_TRIALS),
    "episodes": Limits(1, 1000),
    "at_once": Limits(1, 64),
    "precision": Limits(0.001, 0.99, "%"),
    "seed": Limits(0, 2**53 - 1),  # every reader of JSON has it exactly
}

Parser = Callable[[str, Any], Any]


def _text(flag: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{flag} must be a text: got {value!r}")
    return value


def _name(flag: str, value: Any) -> str:
    name = _text(flag, value)
    if not name or re.search(r"[\s,]", name):
        raise UsageError(f"{flag} must be a single name (for several, repeat the flag): got {name!r}")
    return name


def _whole(flag: str, value: Any) -> int:
    try:
        number = parse_number(value)
        if isinstance(value, str):
            return int(value)  # it is no text that only a float can be read from, such as 1e3
        if number == int(number):
            return int(value)
    except ValueError:
        pass
    raise UsageError(f"{flag} must be a whole number: got {value!r}")


def _number(flag: str, value: Any) -> float:
    try:
        return parse_number(value)
    except ValueError:
        raise UsageError(f"{flag} must be a number: got {value!r}") from None


def _time(flag: str, value: Any) -> float:
    try:
        return parse_seconds(value)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None


def _share(flag: str, value: Any) -> float:
    text = str(value).strip()
    try:
        share = parse_number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        LIMITS["precision"].check(flag, share)
    except (ValueError, UsageError):
        raise UsageError(f"{flag} must be {LIMITS['precision']}, such as 5% or 0.05: got {value!r}") from None
    return share


def _yes_or_no(flag: str, value: Any) -> bool:
    try:
        return parse_yes_or_no(value)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from None


PARSERS: dict[Any, tuple[Parser, str]] = {  # kind of a setting: how it is read, and its type in JSON
    str: (_text, "string"),
    "name": (_name, "string"),
    int: (_whole, "integer"),
    float: (_number, "number"),
    bool: (_yes_or_no, "boolean"),
    "time": (_time, "number"),
    "share": (_share, "number"),
}


def parser(name: str, kind: Any) -> Callable[[Any], Any]:
    """Return the function that reads the setting `name`; it raises a UsageError for what cannot be.

    Raises:
        KeyError: there is no such kind.
    """
    flag, (read, _), limits = "--" + name.replace("_", "-"), PARSERS[kind], LIMITS.get(name)

    def parse(value: Any) -> Any:
        found = read(flag, value)
        if limits is not None:
            limits.check(flag, found)
        return found

    return parse
