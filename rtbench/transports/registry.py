"""The installed transports: finds their modules behind the entry points, and loads them when they are asked for.

The bench knows no transport by name. See `rtbench.transports.contract` for what the modules define.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any
from zlib import crc32

from rtbench.errors import Error, UsageError, did_you_mean
from rtbench.plan.settings import SETTINGS, Setting
from rtbench.plan.variant import DEFAULT_CLIENT, DEFAULT_SERVER, EMBEDDED_TIER, EXTERNAL_SERVER, Variant, label
from rtbench.transports.contract import DRAIN_TIMEOUT_S, Client, Server
from rtbench.transports.options import SESSION, STATE, TLS, Option, options_of
from rtbench.wire.traffic import Steady

SLOTS = 10  # places in tables, and colours in charts
_FIRST_FREE_SLOT = 5
_GROUPS = {"server": ("rtbench.servers", DEFAULT_SERVER), "client": ("rtbench.clients", DEFAULT_CLIENT)}


@cache
def points(kind: str) -> dict[tuple[str, str], EntryPoint]:
    """Return the entry points of the installed servers ("server") or clients ("client") by transport and name."""
    group, default = _GROUPS[kind]
    found = {}
    for point in entry_points(group=group):
        transport, _, name = point.name.partition(".")
        found[transport, name or default] = point
    return found


def server_names() -> list[tuple[str, str]]:
    """Return (transport, server) of every installed server; nothing is imported."""
    return list(points("server"))


def client_names() -> list[tuple[str, str]]:
    """Return (transport, client) of every installed client; nothing is imported."""
    return list(points("client"))


def installed() -> list[str]:
    """Return the transports that have both a server and a client."""
    clients = {name for name, _ in client_names()}
    return [n for n in dict.fromkeys(name for name, _ in server_names()) if n in clients]


def _point(kind: str, transport: str, name: str) -> EntryPoint:
    known = points(kind)
    if point := known.get((transport, name)):
        return point
    transports = sorted({t for t, _ in known})
    if transport not in transports:
        hint = _meant_variant(transport) or did_you_mean(transport, transports)
        raise UsageError(f"unknown transport {transport!r}; installed: {', '.join(transports)}{hint}")
    names = sorted(n for t, n in known if t == transport)
    hint = did_you_mean(name, names)
    raise UsageError(f"{transport} has no {kind} {name!r}; installed: {', '.join(names)}{hint}")


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Run code of a transport: an error says in what, and what it prints does not mix with results."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{what}: {described(error)}") from error


def _named(module: Any, name: str, owner: str, default: Any) -> Any:
    """Return a function of a module, in whose errors it is named, or the default."""
    function = getattr(module, name, default)
    return None if function is None else _naming(f"`{name}` of {owner} fails")(function)


def _meant_variant(word: str) -> str:
    """Return the end of a sentence for a word that is the name of a variant: which flags ask for it."""
    for transport in installed():
        if not word.lower().startswith(f"{transport}-"):
            continue
        with suppress(UsageError):
            for options in client(transport).variants:
                if word.lower() == label(transport, options):
                    flags = "".join(f" --{key} {value}" for key, value in options.items())
                    return f"; did you mean --transport {transport}{flags}?"
    return ""


def read_points() -> None:
    """Read the entry points of all transports; what needs them later opens no file."""
    for kind in _GROUPS:
        points(kind)


def described(error: BaseException) -> str:
    """Return type and text of an error, the first of a group, on one line, with file and line in the transport.

    A connection that ends and an error of the bench say what happened, not that a module is wrong: they have no place.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, Error | ConnectionError):
        return text
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename).name}, line {error.lineno})"
    where = place(walk_tb(error.__traceback__))
    return f"{text} ({where})" if where else text


def place(frames: Iterable[tuple[FrameType, int]]) -> str:
    """Return file and line of the innermost of some frames that is of a transport; "" if none is."""
    own = [(frame, line) for frame, line in frames if _is_of_a_transport(frame)]
    return f"{Path(own[-1][0].f_code.co_filename).name}, line {own[-1][1]}" if own else ""


def _is_of_a_transport(frame: FrameType) -> bool:
    """Whether code is in a module behind an entry point, or in the same package as one."""
    name = str(frame.f_globals.get("__name__"))
    modules = {point.module for kind in _GROUPS for point in points(kind).values()}
    return name in modules or name.rpartition(".")[0] in {m.rpartition(".")[0] for m in modules} - {""}


def _software(point: EntryPoint, module: Any) -> str:
    if hasattr(module, "software"):
        return str(module.software())
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _takes(function: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(function).parameters


@cache
def server(transport: str, name: str = DEFAULT_SERVER) -> Server:
    """Load a server.

    Raises:
        UsageError: no such transport, or no such server of it.
    """
    point, owner = _point("server", transport, name), f"the server {name!r} of {transport}"
    with _naming(f"{owner} cannot be loaded"):
        module = point.load()
        tls, state = _takes(module.serve, TLS), _takes(module.serve, STATE)
        options, software = options_of(module.serve), _software(point, module)
    by_hand = _named(module, "by_hand", owner, _nothing_by_hand)
    configured = _named(module, "configured", owner, _as_it_is)
    return Server(transport, name, module.serve, options, tls, state, software, by_hand, configured)


def tier(transport: str, name: str) -> str:
    """Return the tier of a server, also where its program is not installed."""
    return str(_declared(transport, name, "TIER", EMBEDDED_TIER))


def differs(transport: str, name: str, options: Mapping[str, Any] | None = None) -> Mapping[str, str]:
    """Return what a server with options does otherwise than the contract says: by the text of the case.

    It is known also where the server is not installed.
    """
    found = dict(_declared(transport, name, "DIFFERS", {}))
    for option, cases in _declared(transport, name, "DIFFERS_WITH", {}).items():
        found |= cases if (options or {}).get(option) else {}
    return found


def has_own_format(variant: Variant) -> bool:
    """Return whether a server writes other bytes than the client predicts; an external one only where its URL says so.

    The usual schemes of a client are the first two of its `SCHEMES`.
    """
    if variant.server == EXTERNAL_SERVER:
        return variant.url.partition(":")[0] not in client(variant.transport, variant.client).schemes[:2]
    options = _declared(variant.transport, variant.server, "OWN_FORMAT", ())
    return any(option == "*" or variant.server_options.get(option) for option in options)


def _declared(transport: str, name: str, what: str, default: Any) -> Any:
    with _naming(f"the server {name!r} of {transport} cannot be loaded"):
        return getattr(_point("server", transport, name).load(), what, default)


def _nothing_by_hand(_url: str) -> list[str]:
    return []


def _as_it_is(**_options: Any) -> dict[str, str]:
    return {}


def _pushed(_rate_hz: float, **_options: Any) -> Steady:
    return Steady()


def _usual_drain_timeout_s(**_options: Any) -> float:
    return DRAIN_TIMEOUT_S


@cache
def client(transport: str, name: str = DEFAULT_CLIENT) -> Client:
    """Load a client.

    Raises:
        UsageError: no such transport, or no such client of it, or its module is no client.
    """
    point, owner = _point("client", transport, name), f"the client {name!r} of {transport}"
    with _naming(f"{owner} cannot be loaded"):
        module = point.load()
        functions = {part: getattr(module, part, None) for part in ("connect", "publish", "subscribe", "hold")}
        entry = functions["connect"] or (functions["publish"] and functions["subscribe"])
        if entry is None:
            raise UsageError(f"{owner} ({point.value}) defines neither `connect` nor `publish` and `subscribe`")
        options, software = options_of(entry), _software(point, module)
        resumes = functions["connect"] is not None and _takes(entry, SESSION)
    return Client(
        transport,
        name,
        **functions,
        options=options,
        resumes=resumes,
        software=software,
        variants=tuple(getattr(module, "VARIANTS", ({},))),
        schemes=tuple(getattr(module, "SCHEMES", (transport, f"{transport}s"))),
        wildcards=bool(getattr(module, "WILDCARDS", False)),
        slot=getattr(module, "SLOT", None),
        control=bool(getattr(module, "CONTROL", False)),
        direct=bool(getattr(module, "DIRECT", False)),
        observation=_named(module, "observation", owner, None),
        predict=_named(module, "predict", owner, None),
        steady=_named(module, "steady", owner, _pushed),
        hold_filters=_named(module, "hold_filters", owner, None),
        forget=getattr(module, "forget", None),
        attempt=getattr(module, "attempt", None),
        drain_timeout_s=_named(module, "drain_timeout_s", owner, _usual_drain_timeout_s),
    )


def is_control(transport: str) -> bool:
    """Return whether a transport is a control; one that cannot be loaded is none."""
    try:
        return client(transport).control
    except UsageError:
        return False


def broken_servers() -> Iterator[tuple[str, str, str]]:
    """Yield transport, server and reason for each installed server that cannot be used here."""
    for transport, name in server_names():
        try:
            server(transport, name)
        except UsageError as error:
            yield transport, name, str(error)


def slot_of(transport: str) -> int:
    """Return the place of a transport in tables: the one that its client names, else one derived from its name."""
    slots = []
    for name, implementation in client_names():
        if name == transport:
            with suppress(UsageError):  # one that cannot be loaded has no place of its own
                slots.append(client(name, implementation).slot)
    chosen: list[int] = [slot for slot in slots if slot is not None]
    return chosen[0] if chosen else _FIRST_FREE_SLOT + crc32(transport.encode()) % (SLOTS - _FIRST_FREE_SLOT)


def in_order_of_tables(transports: Iterable[str]) -> list[str]:
    """Sort transports as tables and charts show them."""
    return sorted(transports, key=lambda name: (slot_of(name), name))


_OF_COMMANDS = ("out", "config", "chart", "json", "as_json", "quiet", "strict", "tls_cert", "tls_key", "host", "port")


def _options(kind: str) -> dict[str, tuple[Option, list[str]]]:
    """Return every option of the installed servers or clients with its transports, by the name users set it with."""
    names, load = (server_names(), server) if kind == "server" else (client_names(), client)
    found: dict[str, tuple[Option, list[str]]] = {}
    for transport, name in names:
        try:
            options = load(transport, name).options
        except UsageError:
            continue  # `rtbench transports` says why
        for option in options.values():
            first, owners = found.setdefault(option.setting, (option, []))
            if type(first.default) is not type(option.default) or first.name != option.name:
                found[option.setting] = (replace(first, default=None, name=option.setting, above=None), owners)
            if transport not in owners:
                owners.append(transport)
    return found


@cache
def client_settings() -> dict[str, Setting]:
    """Return the options of all installed clients as settings of a measurement, each with its transports in the help.

    Where an option has the name of a setting or of a flag of every measurement, that one wins; `--option` reaches the
    option. Where two transports have options of one name and different types, each transport reads the text by itself.
    """
    return {
        name: Setting(
            name,
            option.parse,
            None,
            option.metavar or "VALUE",
            f"{option.help or 'option'} ({', '.join(transports)})",
            many=True,
            shown_default=option.shown_default,
        )
        for name, (option, transports) in _options("client").items()
        if name not in SETTINGS and name not in _OF_COMMANDS and not option.secret
    }


@cache
def settings() -> dict[str, Setting]:
    """Return every setting of a measurement: those of every transport, and the options of the installed clients."""
    common = SETTINGS | {"transport": replace(SETTINGS["transport"], help=", ".join(in_order_of_tables(installed())))}
    place = list(common).index("option")
    items = list(common.items())
    return dict([*items[:place], *client_settings().items(), *items[place:]])


def client_settings_owners(setting: str) -> list[str]:
    """Return the transports whose clients have an option, by the name that users set it with."""
    return sorted(_options("client").get(setting, (None, []))[1])


@cache
def server_options() -> dict[str, tuple[Option, list[str]]]:
    """Return the options of all installed servers with the transports that have them."""
    return _options("server")
