"""Settings: every option of a measurement: name, type, default and help, for the command line and for Python.

The options of a transport are settings too; its own module declares them (`rtbench.transports.options`). A value comes
from a flag, an `RTBENCH_*` variable, a configuration file, an argument (in Python) or the default; the result records
the source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtbench.errors import UsageError, did_you_mean
from rtbench.plan.faults import KINDS, Fault, in_order, parse_fault
from rtbench.plan.network import LOOPBACK, NETWORKS, network_of, network_text
from rtbench.plan.reconnect import OFFLINE, POLICIES, QUEUE, ROBUST, Reconnect
from rtbench.plan.values import (
    LIMITS,
    MOST_CONNECTIONS_ELSEWHERE,
    MOST_DELIVERIES,
    MOST_DELIVERIES_ELSEWHERE,
    MOST_TRIALS,
    PARSERS,
    parser,
)
from rtbench.plan.variant import TIERS
from rtbench.plan.workload import ARRIVALS, PATTERNS, Workload, participants


@dataclass(frozen=True)
class Setting:
    """One option. If `default` is None, the default depends on something else, which `help` names.

    `many`: the option can be given several times in a comparison. `compared`: only a comparison has the option.
    `schema` is the JSON Schema of its value in result.json.
    """

    name: str
    parse: Callable[[Any], Any]
    default: Any
    metavar: str
    help: str
    many: bool = False
    compared: bool = False
    always_many: bool = False  # in a run too
    shown_default: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def flag(self) -> str:
        """The flag of the command line, such as `--most-trials`."""
        return "--" + self.name.replace("_", "-")


def make_setting(
    name: str,
    kind: Any,
    default: Any,
    metavar: str,
    help: str,
    many: bool = False,
    compared: bool = False,
    shown_default: str = "",
    always_many: bool = False,
) -> Setting:
    """Return a setting.

    `kind` is a type, `name`, `time` (seconds, or a text with a unit) or `share` (0 to 1, or percent).
    """
    json_type = PARSERS[kind][1]
    value = {"type": [json_type, "null"] if default is None else json_type}
    shown = "" if default is None or kind is bool else _shown(default) + "s" * (kind == "time")
    return Setting(
        name,
        parser(name, kind),
        default,
        metavar,
        "; ".join(filter(None, [help, str(LIMITS.get(name, ""))])),
        many,
        compared,
        always_many,
        shown_default or shown,
        {"anyOf": [value, {"type": "array", "items": {"type": json_type}}]} if many else value,
    )


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return ", ".join(map(_shown, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _read_by(parse: Callable[[str], str], setting: Setting) -> Setting:
    """Return a setting whose text has a grammar of its own; `parse` returns the one way to write it."""
    return replace(setting, parse=lambda value: parse(setting.parse(value)))


LEAST_TRIALS_FOR_PRECISION = 5  # with fewer, an interval is little more than the range, and can be narrow by chance
USUAL_MOST_TRIALS = 30
LINKS = ("auto", "packet", "stream")
CORES = ("free", "split")
_LEAST_FOR_A_MEDIAN = 15  # messages of each publisher, in a trial over a network
_AFTER_FAULT_S = 2.0  # how long a trial goes on after its last fault, unless --duration says it
_LEAST_SPARSE = 2  # messages of each publisher: the age of information needs two

SETTINGS = {
    s.name: s
    for s in (
        make_setting("transport", "name", None, "NAME", "how a message gets from publisher to subscriber", many=True),
        make_setting(
            "server",
            "name",
            None,
            "NAME",
            "implementation that serves the transport",
            many=True,
            shown_default="embedded",
        ),
        make_setting(
            "tier",
            "name",
            None,
            "|".join(TIERS),
            "instead of --server: those of rtbench, or those that users run (nginx with nchan, mosquitto)",
            many=True,
        ),
        make_setting(
            "url",
            str,
            None,
            "[TRANSPORT=]URL",
            "a server that already runs, such as mqtt://127.0.0.1:1883; rtbench then starts none",
            many=True,
        ),
        make_setting(
            "allow_host", str, None, "HOST", "the host of --url once more, where it is another machine", many=True
        ),
        make_setting(
            "allow_load",
            bool,
            False,
            "",
            f"put more on another machine than {MOST_DELIVERIES_ELSEWHERE} deliveries a second and "
            f"{MOST_CONNECTIONS_ELSEWHERE} connections",
        ),
        make_setting("username", str, None, "NAME", "the user at --url; the password is that of --password-file"),
        make_setting("password_file", str, None, "FILE", "its first line is the password, or RTBENCH_PASSWORD is"),
        make_setting("ca", str, None, "FILE", "what signed the certificate of --url, PEM; or what the system trusts"),
        make_setting("client_cert", str, None, "FILE", "the certificate with which clients say who they are, PEM"),
        make_setting("client_key", str, None, "FILE", "its private key, PEM"),
        make_setting(
            "client",
            "name",
            "auto",
            "NAME",
            "implementation that speaks the transport: library, lean, or as the load needs it (docs/lean-clients.md)",
            many=True,
        ),
        make_setting(
            "option",
            str,
            None,
            "NAME=VALUE",
            "an option of the client; `rtbench transports` lists them",
            many=True,
            always_many=True,
        ),
        make_setting(
            "server_option",
            str,
            None,
            "NAME=VALUE",
            "an option of the server; listed there too",
            many=True,
            always_many=True,
        ),
        make_setting(
            "control", bool, True, "", "also measure bare TCP, the lowest latency of this machine", compared=True
        ),
        _read_by(
            network_text,
            make_setting(
                "network",
                str,
                LOOPBACK,
                "NETWORK",
                f"what lies between clients and server: {', '.join([LOOPBACK, *NETWORKS])}, or numbers such as "
                "rtt=100ms,jitter=10ms,loss=1%,down=1.6mbit,up=750kbit",
                many=True,
            ),
        ),
        make_setting(
            "link",
            str,
            "auto",
            "|".join(LINKS),
            "what emulates the network: packets delayed and dropped (Linux), or a relay of TCP connections",
        ),
        _read_by(
            lambda text: str(parse_fault(text)),
            make_setting(
                "fault",
                str,
                None,
                "FAULT",
                f"break something on purpose, such as 'cut@2s' or 'stall@2s for 1s': {', '.join(KINDS)}",
                many=True,
                always_many=True,
            ),
        ),
        make_setting(
            "reconnect",
            str,
            None,
            "|".join(POLICIES),
            "what clients do when a connection is lost: nothing, connect again, or resume where it was lost",
            many=True,
            shown_default="robust with --fault; else the trial fails",
        ),
        make_setting(
            "offline",
            str,
            QUEUE,
            "|".join(OFFLINE),
            "what a publisher does with messages while it has no connection",
        ),
        make_setting(
            "keep_alive",
            "time",
            None,
            "TIME",
            "after so long without a word a client asks whether its connection lives",
            shown_default="that of the library",
        ),
        make_setting("tls", bool, False, "", "measure over TLS 1.3, with a new certificate that clients verify"),
        make_setting("pattern", str, "fan-out", "|".join(PATTERNS), "which subscribers receive from which publishers"),
        make_setting("publishers", int, None, "N", "", shown_default="fan-out 1, fan-in 10, room 5, pairs 10"),
        make_setting("subscribers", int, None, "N", "", shown_default="fan-out 10, fan-in 1, room 5, pairs 10"),
        make_setting("workers", int, 1, "N", "processes that hold the subscribers"),
        make_setting("publisher_workers", int, 1, "N", "processes that hold the publishers"),
        make_setting(
            "cores",
            str,
            "free",
            "|".join(CORES),
            "which cores processes run on: as the scheduler decides, or the server and the clients apart",
        ),
        make_setting("filters", int, 0, "N", "topic filters that other clients hold and no message matches (MQTT)"),
        make_setting(
            "filter", str, "devices/{}/+/temperature", "PATTERN", "these filters; {} stands for the number of each"
        ),
        make_setting("rate", float, 50.0, "HZ", "messages per second of each publisher"),
        make_setting("arrivals", str, "constant", "|".join(ARRIVALS), "gaps between messages"),
        make_setting("payload", int, 100, "BYTES", "size of a message, its 39-byte header included"),
        make_setting("duration", "time", 0.5, "TIME", "measured part of a trial"),
        make_setting("warmup", "time", 0.3, "TIME", "first part of a trial, left out of latencies and counts"),
        make_setting(
            "drain",
            "time",
            None,
            "TIME",
            "time without a new delivery after which the missing ones count as lost",
            shown_default="2s, longer for polling",
        ),
        make_setting("trials", int, 5, "N", "trials of each variant, each in new processes"),
        make_setting(
            "precision",
            "share",
            None,
            "SHARE",
            "add trials until each median is known to this share, such as 5% or 0.05",
        ),
        make_setting(
            "most_trials",
            int,
            None,
            "N",
            "upper limit of trials of each variant for --precision",
            shown_default=str(USUAL_MOST_TRIALS),
        ),
        make_setting("repeat", bool, True, "", "run a trial again if other programs disturbed it"),
        make_setting(
            "sparse", bool, True, "", "also measure bytes and age at low rates, all variants at once", compared=True
        ),
        make_setting(
            "sparse_rate",
            float,
            [0.5],
            "HZ",
            "messages per second of each publisher in the sparse part",
            many=True,
            compared=True,
        ),
        make_setting("sparse_duration", "time", 8.0, "TIME", "length of the sparse part", compared=True),
        make_setting("seed", int, 1, "N", "determines the schedule and the order of the trials"),
    )
}


@dataclass(frozen=True)
class Given:
    """A value and its source: flag, environment, config, argument, result (of an earlier measurement) or default."""

    value: Any
    source: str


def listed(value: Any) -> list[Any]:
    """Return the values of a setting that may have several, one, or none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def resolve(given: Mapping[str, tuple[Any, str]], known: Mapping[str, Setting]) -> dict[str, Given]:
    """Parse settings given as {name: (value, source)}, and add the defaults; a value of None counts as not given.

    `known` are all settings: `SETTINGS`, and the options of the installed transports.

    Raises:
        UsageError: a name is unknown, or a value is not allowed.
    """
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"unknown option {name!r}; the options are {', '.join(known)}{hint}")
    resolved = {}
    for name, setting in known.items():
        value, source = given.get(name, (None, ""))
        if value is None:
            resolved[name] = Given(setting.default, "default")
        elif isinstance(value, tuple | list):
            resolved[name] = Given([setting.parse(v) for v in _several(setting, value)], source)
        else:
            resolved[name] = Given(setting.parse(value), source)
    if "precision" in resolved:
        _resolve_precision(resolved)
    if "network" in resolved:
        _resolve_network(resolved)
        _resolve_faults(resolved)
    return resolved


def _several(setting: Setting, values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a setting that takes several.

    Raises:
        UsageError: it takes one, or there is none.
    """
    if not values:
        raise UsageError(f"{setting.flag} is an empty list; give a value, or leave it out")
    if not setting.many:
        raise UsageError(f"{setting.flag} takes one value: got {', '.join(map(str, values))}")
    return values


def _resolve_precision(resolved: dict[str, Given]) -> None:
    """Set the numbers of trials if `--precision` is given."""
    trials, most = resolved["trials"], resolved["most_trials"]
    if resolved["precision"].value is None:
        if most.value is not None:
            raise UsageError("--most-trials needs --precision; --trials sets a fixed number of trials")
        return
    if most.value is None:
        most = resolved["most_trials"] = Given(max(USUAL_MOST_TRIALS, trials.value), "default")
    least = max(trials.value, LEAST_TRIALS_FOR_PRECISION)
    if not least <= most.value <= MOST_TRIALS:
        why = f"--trials {least}" if least == trials.value else f"an interval needs {least}"
        raise UsageError(f"--most-trials must be {least} to {MOST_TRIALS} ({why}): got {most.value}")


def _resolve_network(resolved: dict[str, Given]) -> None:
    """Set the defaults of rate, warm-up and duration for the slowest network.

    A client that publishes by HTTP has one request under way, and a round trip is the least that it takes: the rate is
    half of that. The warm-up covers the first round trips; the duration gives enough messages for a median.
    """
    asked = resolved["network"].value
    networks = [network_of(text) for text in (asked if isinstance(asked, list) else [asked])]
    rtt_s = max((network.rtt_s for network in networks if network is not None), default=0.0)
    if not rtt_s:
        return
    usual = {name: resolved[name] for name in ("rate", "warmup", "duration")}
    if usual["rate"].source == "default":
        resolved["rate"] = Given(min(usual["rate"].value, float(f"{0.5 / rtt_s:.2g}")), "default")
    if usual["warmup"].source == "default":
        resolved["warmup"] = Given(max(usual["warmup"].value, round(4 * rtt_s, 1)), "default")
    if usual["duration"].source == "default":
        enough_s = math.ceil(_LEAST_FOR_A_MEDIAN / resolved["rate"].value)
        resolved["duration"] = Given(max(usual["duration"].value, float(enough_s)), "default")


def _resolve_faults(resolved: dict[str, Given]) -> None:
    """Make a trial long enough for its faults, unless the user says how long it is; leave out sparse part and control.

    Raises:
        UsageError: a fault comes when the trial is over, or two overlap.
    """
    faults = faults_of(resolved)
    if not faults:
        return
    end_s = max(fault.end_s for fault in faults)
    schedule_s = resolved["warmup"].value + resolved["duration"].value
    if resolved["duration"].source == "default":
        longer_s = end_s + _AFTER_FAULT_S - resolved["warmup"].value
        resolved["duration"] = Given(max(longer_s, resolved["duration"].value), "default")
    elif end_s >= schedule_s:
        raise UsageError(
            f"--fault '{faults[-1]}' ends after {end_s:g}s, but the trial takes {schedule_s:g}s (--warmup and "
            "--duration): make --duration longer"
        )
    for name in ("sparse", "control"):  # neither has to do with what is broken
        if name in resolved and resolved[name].source == "default":
            resolved[name] = Given(False, "default")


def faults_of(settings: Mapping[str, Given]) -> list[Fault]:
    """Return the faults that the settings name, by their time.

    Raises:
        UsageError: two of them overlap.
    """
    texts = settings["fault"].value if "fault" in settings else None
    return in_order([parse_fault(text) for text in ([texts] if isinstance(texts, str) else texts or [])])


def policies_of(settings: Mapping[str, Given]) -> list[str]:
    """Return what clients do when a connection is lost, one policy a variant; `` where that is an error of the trial.

    Raises:
        UsageError: an option has no effect, or is not known.
    """
    given = settings["reconnect"].value if "reconnect" in settings else None
    policies = given if isinstance(given, list) else [given or (ROBUST if faults_of(settings) else "")]
    for name in ("offline", "keep_alive"):
        if policies == [""] and name in settings and settings[name].source in ("flag", "argument"):
            raise UsageError(f"{SETTINGS[name].flag} is for clients that connect again: give --reconnect")
    for policy in filter(None, policies):
        reconnect_of(policy, settings)
    return policies


def reconnect_of(policy: str, settings: Mapping[str, Given]) -> Reconnect | None:
    """Return a policy with the options that belong to it; None without one.

    Raises:
        UsageError: there is no such policy, or no such option.
    """
    return Reconnect(policy, settings["offline"].value, settings["keep_alive"].value) if policy else None


def sparse_workloads(settings: Mapping[str, Given]) -> list[Workload]:
    """Return the workloads of the sparse part of a comparison, highest rate first; none if it has no sparse part.

    Raises:
        UsageError: one of them cannot be measured.
    """
    if "sparse" not in settings or not settings["sparse"].value:
        _refuse_in_vain(settings)
        return []
    duration_s, usual = settings["sparse_duration"].value, workload_of(settings)
    rates = settings["sparse_rate"].value
    rates = rates if isinstance(rates, list) else [rates]
    for rate_hz in rates:
        asked = f"--sparse-rate {rate_hz:g} in --sparse-duration {duration_s:g}s"
        if rate_hz * duration_s < _LEAST_SPARSE:
            raise UsageError(
                f"{asked} sends fewer than {_LEAST_SPARSE} messages; make either larger, or leave the part out with "
                "--no-sparse"
            )
        if usual.deliveries_of(rate_hz * duration_s) > MOST_DELIVERIES:
            raise UsageError(f"{asked} gives more than {MOST_DELIVERIES} deliveries; make either smaller")
    return [
        replace(usual, rate_hz=rate_hz, duration_s=duration_s, warmup_s=0.0)
        for rate_hz in sorted(set(rates), reverse=True)
    ]


def _refuse_in_vain(settings: Mapping[str, Given]) -> None:
    for name in ("sparse_rate", "sparse_duration"):
        if name in settings and settings[name].source in ("flag", "argument"):
            raise UsageError(f"{SETTINGS[name].flag} is for the sparse part, which --no-sparse leaves out; give one")


def workload_of(settings: Mapping[str, Given]) -> Workload:
    """Return the workload that the settings describe.

    Raises:
        UsageError: the workload cannot be measured.
    """
    value = {name: given.value for name, given in settings.items()}
    publishers, subscribers = participants(value["pattern"], value["publishers"], value["subscribers"])
    workload = Workload(
        pattern=value["pattern"],
        publishers=publishers,
        subscribers=subscribers,
        rate_hz=value["rate"],
        arrivals=value["arrivals"],
        payload_bytes=value["payload"],
        duration_s=value["duration"],
        warmup_s=value["warmup"],
    )
    _check_memory(workload)
    return workload


def _check_memory(workload: Workload) -> None:
    """Refuse more deliveries than the client processes can hold; what a server holds is bounded by the server."""
    messages = workload.rate_hz * (workload.warmup_s + workload.duration_s)
    deliveries = workload.deliveries_of(messages)
    if deliveries > MOST_DELIVERIES:
        raise UsageError(
            f"--rate {workload.rate_hz:g} in --warmup and --duration, from {workload.publishers} --publishers to "
            f"{workload.subscribers} --subscribers, gives {deliveries:.3g} deliveries a trial; "
            f"at most {MOST_DELIVERIES} fit into memory"
        )
