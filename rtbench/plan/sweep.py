"""What a sweep varies: one or two parameters, each over some values. Pure.

subscribers=1,10,100,1000      these values
subscribers=1..1000*10         from 1 to 1000, each ten times the one before
rate=10..50+10                 from 10 to 50, each 10 more than the one before
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtbench.errors import UsageError, did_you_mean
from rtbench.plan.network import LOOPBACK, NETWORKS
from rtbench.plan.settings import Given
from rtbench.units import parse_number, plain

if TYPE_CHECKING:
    from rtbench.plan.settings import Setting

MOST_LEVELS = 200
_RANGE = re.compile(r"(.+)\.\.(.+)([*+])(.+)")
_RTT = "network.rtt"
_COLUMNS = {"rate": "rate_hz", "payload": "payload_bytes", "interval": "interval_s", _RTT: "network_rtt_s"}
_USUAL = ("subscribers", "publishers", "rate", "payload", "interval", "filters", _RTT)


@dataclass(frozen=True)
class Axis:
    """One parameter and its values, as texts that its setting reads. `name` is how the user calls it."""

    name: str
    values: tuple[str, ...]

    @property
    def column(self) -> str:
        """The column of its values in summary.csv."""
        return _COLUMNS.get(self.name, self.name)


@dataclass(frozen=True)
class Level:
    """One value of each parameter: by the name of the parameter, its text and its number (seconds for times)."""

    texts: Mapping[str, str]
    numbers: Mapping[str, float]

    @property
    def name(self) -> str:
        """The name in tables, and of the directory: `subscribers=10,rate=5`."""
        return ",".join(f"{name}={text}" for name, text in self.texts.items())


def parse_axis(text: str) -> Axis:
    """Return what `NAME=VALUES` says.

    Raises:
        UsageError: it is neither a list nor a range.
    """
    name, separator, values = text.partition("=")
    if not separator or not values:
        raise UsageError(f"--vary must be NAME=VALUES, such as subscribers=1,10,100 or rate=10..50+10: got {text!r}")
    name = name.strip().replace("-", "_")
    found = list(_range(text, values)) if ".." in values else [value.strip() for value in values.split(",")]
    if len(found) < 2 or len(set(found)) < len(found) or not all(found):
        raise UsageError(f"--vary {name} needs two different values or more: got {values!r}")
    return Axis(name, tuple(found))


def _range(text: str, values: str) -> Iterator[str]:
    match = _RANGE.fullmatch(values)
    try:
        low, high, step = (parse_number(match[place]) for place in (1, 2, 4)) if match else (0.0, 0.0, 0.0)
    except ValueError:
        match = None
    grows = match is not None and low <= high and (step > 1 and low > 0 if match[3] == "*" else step > 0)
    if match is None or not grows:
        raise UsageError(f"--vary: a range is LOW..HIGH*FACTOR or LOW..HIGH+STEP, such as 1..1000*10: got {text!r}")
    value = low
    for _ in range(MOST_LEVELS + 1):
        if value > high * (1 + 1e-9):
            return
        yield plain(value, 6)
        value = value * step if match[3] == "*" else value + step


def levels(axes: Sequence[Axis], known: Mapping[str, Setting]) -> list[Level]:
    """Return every combination of the values, in the order in which they are measured.

    Raises:
        UsageError: a parameter or a value that cannot be varied, or too many of them.
    """
    if len({axis.name for axis in axes}) < len(axes) or len(axes) not in (1, 2):
        raise UsageError("--vary takes one parameter, or two different ones; give it once or twice")
    numbers = [{text: _number(axis.name, text, known) for text in axis.values} for axis in axes]
    found = []
    for texts in itertools.product(*(axis.values for axis in axes)):
        named = {axis.name: text for axis, text in zip(axes, texts, strict=True)}
        found.append(Level(named, {n: each[t] for (n, t), each in zip(named.items(), numbers, strict=True)}))
    if len(found) > MOST_LEVELS:
        raise UsageError(f"--vary asks for {len(found)} levels; at most {MOST_LEVELS} are measured")
    return found


def _number(name: str, text: str, known: Mapping[str, Setting]) -> float:
    if name == _RTT:
        from rtbench.units import parse_seconds

        return parse_seconds(text)
    if name not in known:
        raise UsageError(f"--vary {name}: no such parameter; such are {', '.join(_USUAL)}{did_you_mean(name, known)}")
    value = known[name].parse(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"--vary {name}: its values are no numbers; vary one of {', '.join(_USUAL)}")
    return float(value)


def settings_at(level: Level, settings: Mapping[str, Given], known: Mapping[str, Setting]) -> dict[str, Given]:
    """Return the settings of a level: those of the sweep, with its values.

    Raises:
        UsageError: a value is not allowed, or does not go with the others.
    """
    found = {name: given for name, given in settings.items() if name in known}
    for name, text in level.texts.items():
        value: Any = [known[name].parse(text)] if name != _RTT and known[name].many else None
        if name == _RTT:
            value = [known["network"].parse(_with_rtt(settings["network"].value, text))]
            name = "network"
        found[name] = Given(known[name].parse(text) if value is None else value, "sweep")
    return found


def _with_rtt(networks: Any, text: str) -> str:
    """Return the network that the user gave, with another round-trip time."""
    given = [networks] if isinstance(networks, str) else list(networks or [])
    if len(given) > 1:
        raise UsageError("--vary network.rtt goes with one --network; give one, or none")
    before = str(NETWORKS.get(given[0], given[0])) if given and given[0] != LOOPBACK else ""
    others = [part for part in before.split(",") if part and not part.startswith("rtt=")]
    return ",".join([f"rtt={text}", *others])
