"""Settings: every option of a measurement, once: its name, type, default and help, for the command line and for Python.

A value comes from a flag, an `RTBENCH_*` variable, a configuration file, an argument (in Python) or the default, and
the result records which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rtbench.errors import UsageError
from rtbench.precision import LEAST_TRIALS, MOST_TRIALS
from rtbench.units import parse_seconds, parse_yes_or_no
from rtbench.workload import ARRIVALS, PATTERNS, Workload, participants


@dataclass(frozen=True)
class Setting:
    """One option. `default` None means: it depends, and `help` says on what."""

    name: str
    parse: Callable[[Any], Any]
    default: Any
    metavar: str
    help: str
    many: bool = False  # repeatable in a comparison
    unit: str = ""  # of the default, where it is a number
    compared: bool = False  # of a comparison only

    @property
    def flag(self) -> str:
        """As typed."""
        return "--" + self.name.replace("_", "-")


def _number(kind: type, flag: str) -> Callable[[Any], Any]:
    def parse(text: Any) -> Any:
        try:
            value = kind(text)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value) or (isinstance(text, float) and value != text):
            wanted = "a whole number" if kind is int else "a number"
            raise UsageError(f"{flag} must be {wanted}: got {text!r}")
        return value

    return parse


def _time(flag: str) -> Callable[[Any], float]:
    def parse(text: Any) -> float:
        try:
            return parse_seconds(text)
        except UsageError as error:
            raise UsageError(f"{flag}: {error}") from None

    return parse


def _share(flag: str) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            raise UsageError(f"{flag} must be above 0 and below 100 %, as 5% or 0.05: got {value!r}")
        return share

    return parse


def _yes_or_no(flag: str) -> Callable[[Any], bool]:
    def parse(value: Any) -> bool:
        try:
            return parse_yes_or_no(value)
        except ValueError as error:
            raise UsageError(f"{flag}: {error}") from None

    return parse


def _setting(
    name: str, kind: Any, default: Any, metavar: str, help: str, many: bool = False, compared: bool = False
) -> Setting:
    flag = "--" + name.replace("_", "-")
    parsers = {"time": _time, "share": _share, bool: _yes_or_no}
    parse = _number(kind, flag) if kind in (int, float) else parsers[kind](flag) if kind in parsers else str
    return Setting(name, parse, default, metavar, help, many, "s" if kind == "time" else "", compared)


SETTINGS = {
    s.name: s
    for s in (
        _setting(
            "transport",
            str,
            None,
            "NAME",
            "polling, long-polling, sse, websocket, mqtt, or an installed one",
            True,
        ),
        _setting("qos", int, None, "0|1|2", "quality of service, for mqtt [0; a comparison: all three]", True),
        _setting("server", str, None, "NAME", "implementation that serves the transport [embedded]", True),
        _setting("client", str, "library", "library|lean", "implementation that speaks the transport"),
        _setting(
            "option",
            str,
            None,
            "NAME=VALUE",
            "an option of the transport's own, as `rtbench transports` lists it",
            True,
        ),
        _setting(
            "control", bool, True, "", "measure bare TCP beside the others, as the floor of this machine", compared=True
        ),
        _setting("tls", bool, False, "", "over TLS 1.3, with a certificate made for it and verified"),
        _setting("pattern", str, "fan-out", "|".join(PATTERNS), "who hears whom"),
        _setting("publishers", int, None, "N", "[fan-out 1, fan-in 10, room 5, pairs 10]"),
        _setting("subscribers", int, None, "N", "[fan-out 10, fan-in 1, room 5, pairs 10]"),
        _setting("rate", float, 50.0, "HZ", "messages a second and publisher"),
        _setting("arrivals", str, "constant", "|".join(ARRIVALS), "gaps between messages"),
        _setting("payload", int, 100, "BYTES", "size of a message, its 39-byte header included"),
        _setting("interval", "time", None, "TIME", "from one poll to the next, for polling [500ms]"),
        _setting("duration", "time", 1.5, "TIME", "measured part of a trial"),
        _setting("warmup", "time", 0.3, "TIME", "part of a trial before it, left out of the figures"),
        _setting("trials", int, 3, "N", "trials of each variant, each with fresh processes; with --precision from 5"),
        _setting("precision", "share", None, "SHARE", "add trials until each median is known to this, as 5% or 0.05"),
        _setting("most_trials", int, None, "N", "trials of each variant that --precision may come to [30]"),
        _setting("seed", int, 1, "N", "fixes the schedule and the order of the trials"),
    )
}

USUAL_MOST_TRIALS = 30

# settings that are options of a transport's client: the name there, times with their unit
CLIENT_OPTIONS = {"qos": "qos", "interval": "interval_s"}


@dataclass(frozen=True)
class Given:
    """A value and where it came from: flag, environment, config, argument, result (of a rerun) or default."""

    value: Any
    source: str


def resolve(given: Mapping[str, tuple[Any, str]]) -> dict[str, Given]:
    """Parse and complete what was given as {name: (value, source)}; a value of None was not given.

    Raises:
        UsageError: an unknown name, or a value that cannot be.
    """
    for name in given:
        if name not in SETTINGS:
            raise UsageError(f"unknown option {name!r}; the options are {', '.join(SETTINGS)}")
    resolved = {}
    for name, setting in SETTINGS.items():
        value, source = given.get(name, (None, ""))
        if value is None or (isinstance(value, tuple | list) and not value):
            resolved[name] = Given(setting.default, "default")
        elif isinstance(value, tuple | list):
            resolved[name] = Given([setting.parse(v) for v in value], source)
        else:
            resolved[name] = Given(setting.parse(value), source)
    if not 1 <= resolved["trials"].value <= MOST_TRIALS:
        raise UsageError(f"--trials must be 1 to {MOST_TRIALS}: got {resolved['trials'].value}")
    _resolve_precision(resolved)
    interval_s = resolved["interval"].value
    if interval_s is not None and not interval_s > 0:
        raise UsageError(f"--interval must be above 0: got {interval_s:g}s")
    if resolved["seed"].value < 0:
        raise UsageError(f"--seed must be 0 or more: got {resolved['seed'].value}")
    return resolved


def _resolve_precision(resolved: dict[str, Given]) -> None:
    """Complete the numbers of trials where a precision is asked for."""
    trials, most = resolved["trials"], resolved["most_trials"]
    if resolved["precision"].value is None:
        if most.value is not None:
            raise UsageError("--most-trials is for --precision, which is missing; --trials says how many to run")
        return
    if trials.source == "default":
        trials = resolved["trials"] = Given(LEAST_TRIALS, "default")
    if most.value is None:
        most = resolved["most_trials"] = Given(max(USUAL_MOST_TRIALS, trials.value), "default")
    least = max(trials.value, LEAST_TRIALS)
    if not least <= most.value <= MOST_TRIALS:
        why = f"--trials {least}" if least == trials.value else f"an interval needs {least}"
        raise UsageError(f"--most-trials must be {least} to {MOST_TRIALS} ({why}): got {most.value}")


def workload_of(settings: Mapping[str, Given]) -> Workload:
    """Return the workload that the settings describe.

    Raises:
        UsageError: it cannot be measured.
    """
    value = {name: given.value for name, given in settings.items()}
    publishers, subscribers = participants(value["pattern"], value["publishers"], value["subscribers"])
    return Workload(
        pattern=value["pattern"],
        publishers=publishers,
        subscribers=subscribers,
        rate_hz=value["rate"],
        arrivals=value["arrivals"],
        payload_bytes=value["payload"],
        duration_s=value["duration"],
        warmup_s=value["warmup"],
    )
