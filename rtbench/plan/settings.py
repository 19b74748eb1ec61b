"""Settings: every option of a measurement in one place: name, type, default and help, for command line and Python.

The options of a transport are settings too; they are declared in its own module (`rtbench.transports.options`). A value
comes from a flag, an `RTBENCH_*` variable, a configuration file, an argument (in Python) or the default; the result
records which.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtbench.errors import UsageError
from rtbench.plan.workload import ARRIVALS, PATTERNS, Workload, participants
from rtbench.units import parse_seconds, parse_yes_or_no


@dataclass(frozen=True)
class Setting:
    """One option. A `default` of None depends on something else; `help` says on what.

    `many`: it can be given several times in a comparison. `compared`: only a comparison has it. `schema` is the JSON
    Schema of a value as result.json has it.
    """

    name: str
    parse: Callable[[Any], Any]
    default: Any
    metavar: str
    help: str
    many: bool = False
    compared: bool = False
    shown_default: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)

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


_PARSERS: dict[Any, tuple[Callable[[str], Callable[[Any], Any]], str]] = {  # kind: parser of a flag, type in JSON
    str: (lambda _flag: str, "string"),
    int: (lambda flag: _number(int, flag), "integer"),
    float: (lambda flag: _number(float, flag), "number"),
    bool: (lambda flag: _yes_or_no(flag), "boolean"),
    "time": (lambda flag: _time(flag), "number"),
    "share": (lambda flag: _share(flag), "number"),
}


def make_setting(
    name: str, kind: Any, default: Any, metavar: str, help: str, many: bool = False, compared: bool = False
) -> Setting:
    """Return a setting; `kind` is a type, `time` (seconds, written with a unit) or `share` (0 to 1, or in percent)."""
    parser, json_type = _PARSERS[kind]
    value = {"type": [json_type, "null"] if default is None else json_type}
    schema = {"anyOf": [value, {"type": "array", "items": {"type": json_type}}]} if many else value
    shown = "" if default is None or kind is bool else f"{default:g}" if isinstance(default, float) else str(default)
    parse = parser("--" + name.replace("_", "-"))
    return Setting(name, parse, default, metavar, help, many, compared, shown + "s" * (kind == "time"), schema)


MOST_TRIALS = 10_000
LEAST_TRIALS_FOR_PRECISION = 5  # the interval of fewer is little more than a range, and narrow by chance
USUAL_MOST_TRIALS = 30

SETTINGS = {
    s.name: s
    for s in (
        make_setting("transport", str, None, "NAME", "how a message gets to its subscribers", many=True),
        make_setting("server", str, None, "NAME", "implementation that serves the transport [embedded]", many=True),
        make_setting("url", str, None, "URL", "a server that already runs on this machine, in place of a started one"),
        make_setting("client", str, "library", "NAME", "implementation that speaks the transport"),
        make_setting(
            "option", str, None, "NAME=VALUE", "an option of the client, as `rtbench transports` lists it", many=True
        ),
        make_setting("server_option", str, None, "NAME=VALUE", "an option of the server, listed there too", many=True),
        make_setting(
            "control", bool, True, "", "measure bare TCP beside the others, as the floor of this machine", compared=True
        ),
        make_setting("tls", bool, False, "", "over TLS 1.3, with a certificate made for it and verified"),
        make_setting("pattern", str, "fan-out", "|".join(PATTERNS), "who hears whom"),
        make_setting("publishers", int, None, "N", "[fan-out 1, fan-in 10, room 5, pairs 10]"),
        make_setting("subscribers", int, None, "N", "[fan-out 10, fan-in 1, room 5, pairs 10]"),
        make_setting("rate", float, 50.0, "HZ", "messages a second and publisher"),
        make_setting("arrivals", str, "constant", "|".join(ARRIVALS), "gaps between messages"),
        make_setting("payload", int, 100, "BYTES", "size of a message, its 39-byte header included"),
        make_setting("duration", "time", 1.5, "TIME", "measured part of a trial"),
        make_setting("warmup", "time", 0.3, "TIME", "part of a trial before it, left out of the figures"),
        make_setting(
            "trials", int, 3, "N", "trials of each variant, each with fresh processes; with --precision from 5"
        ),
        make_setting(
            "precision", "share", None, "SHARE", "add trials until each median is known to this, as 5% or 0.05"
        ),
        make_setting("most_trials", int, None, "N", "trials of each variant that --precision may come to [30]"),
        make_setting("seed", int, 1, "N", "fixes the schedule and the order of the trials"),
    )
}


@dataclass(frozen=True)
class Given:
    """A value and where it came from: flag, environment, config, argument, result (of an earlier one) or default."""

    value: Any
    source: str


def resolve(given: Mapping[str, tuple[Any, str]], known: Mapping[str, Setting]) -> dict[str, Given]:
    """Parse and complete what was given as {name: (value, source)}; a value of None was not given.

    `known` are the settings there are: `SETTINGS`, and the options of the installed transports.

    Raises:
        UsageError: an unknown name, or a value that is not possible.
    """
    for name in given:
        if name not in known:
            raise UsageError(f"unknown option {name!r}; the options are {', '.join(known)}")
    resolved = {}
    for name, setting in known.items():
        value, source = given.get(name, (None, ""))
        if value is None or (isinstance(value, tuple | list) and not value):
            resolved[name] = Given(setting.default, "default")
        elif isinstance(value, tuple | list):
            resolved[name] = Given([setting.parse(v) for v in value], source)
        else:
            resolved[name] = Given(setting.parse(value), source)
    if "trials" in resolved:
        _check_trials(resolved)
    return resolved


def _check_trials(resolved: dict[str, Given]) -> None:
    if not 1 <= resolved["trials"].value <= MOST_TRIALS:
        raise UsageError(f"--trials must be 1 to {MOST_TRIALS}: got {resolved['trials'].value}")
    _resolve_precision(resolved)
    if resolved["seed"].value < 0:
        raise UsageError(f"--seed must be 0 or more: got {resolved['seed'].value}")


def _resolve_precision(resolved: dict[str, Given]) -> None:
    """Complete the numbers of trials where a precision is asked for."""
    trials, most = resolved["trials"], resolved["most_trials"]
    if resolved["precision"].value is None:
        if most.value is not None:
            raise UsageError("--most-trials is for --precision, which is missing; --trials says how many to run")
        return
    if trials.source == "default":
        trials = resolved["trials"] = Given(LEAST_TRIALS_FOR_PRECISION, "default")
    if most.value is None:
        most = resolved["most_trials"] = Given(max(USUAL_MOST_TRIALS, trials.value), "default")
    least = max(trials.value, LEAST_TRIALS_FOR_PRECISION)
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
