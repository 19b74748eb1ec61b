"""Variant: a transport with its server, its client and its options fixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from rtbench import transport
from rtbench.errors import UsageError
from rtbench.units import parse_seconds, parse_yes_or_no

SLOTS = 10  # places in tables, and colours in charts
_FIRST_FREE_SLOT = 5


@dataclass(frozen=True)
class Variant:
    """One column of a comparison.

    `options` are those of the client, complete. `slot` fixes its colour and place, `shade` its dash and marker within
    the transport. `control` is the floor that others are held against.
    """

    label: str
    transport: str
    server: str
    client: str
    options: Mapping[str, Any] = field(default_factory=dict)
    slot: int = 0
    shade: int = 0
    server_software: str = ""
    client_software: str = ""
    control: bool = False

    @property
    def name(self) -> str:
        """The label, with the server and the client where they are not the usual ones; unique in a comparison."""
        unusual = [
            name
            for name, usual in (
                (self.server, transport.DEFAULT_SERVER),
                (self.client, transport.DEFAULT_CLIENT),
            )
            if name != usual
        ]
        return f"{self.label} ({', '.join(unusual)})" if unusual else self.label

    @property
    def patience_s(self) -> float:
        """How long without any delivery means that no more will come: well above every time among the options."""
        times = [float(value) for name, value in self.options.items() if name.endswith("_s")]
        return 2.0 + 2.0 * max(times, default=0.0)


def variants_of(
    name: str, server: str, client: str, options: Mapping[str, Any], all_of_them: bool = True
) -> list[Variant]:
    """Return the variants of one transport: those that its client names, narrowed by `options`; else the first one.

    Raises:
        UsageError: no such transport, server or client; an option that the transport does not have, or a value of it.
    """
    spoken = transport.client(name, client)
    served = transport.server(name, server)
    for key in options:
        if key not in spoken.options:
            raise UsageError(_no_such_option(name, key))
    given = {key: _like(spoken.options[key], key, value) for key, value in options.items()}
    found = []
    for shade, choice in enumerate(spoken.variants):
        if all(given.get(key, value) == value for key, value in choice.items()):
            label = name + "".join(f"-{key}{value}" for key, value in choice.items())
            found.append(
                Variant(
                    label,
                    name,
                    server,
                    client,
                    {**spoken.options, **choice, **given},
                    slot_of(name),
                    shade,
                    served.software,
                    spoken.software,
                    spoken.control,
                )
            )
    if not found:
        raise UsageError(_no_such_value(name, given, spoken.variants))
    return found if all_of_them else found[:1]


def _like(default: Any, key: str, value: Any) -> Any:
    """Return an option given as text in the type of its default."""
    if not isinstance(value, str) or isinstance(default, str) or default is None:
        return value
    try:
        if isinstance(default, bool):
            return parse_yes_or_no(value)
        return parse_seconds(value) if key.endswith("_s") else type(default)(value)
    except ValueError:
        raise UsageError(f"{key} must be like {default!r}: got {value!r}") from None


def _no_such_option(name: str, key: str) -> str:
    flag = "--" + key.removesuffix("_s").replace("_", "-")
    owners = [t for t, c in transport.client_names() if key in transport.client(t, c).options]
    having = f"; {', '.join(sorted(set(owners)))} has it" if owners else ""
    return f"{name} has no {flag}{having}"


def _no_such_value(name: str, given: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> str:
    for key, value in given.items():
        choices = list(dict.fromkeys(choice[key] for choice in variants if key in choice))
        if choices and value not in choices:
            return f"{name} has no --{key} {value}; it has {', '.join(map(str, choices))}"
    return f"{name} has no variant with {dict(given)}"


def slot_of(name: str) -> int:
    """Return the place of a transport: its own, or one of the free ones by its name."""
    clients = [transport.client(t, c) for t, c in transport.client_names() if t == name]
    chosen = [client.slot for client in clients if client.slot is not None]
    return chosen[0] if chosen else _FIRST_FREE_SLOT + crc32(name.encode()) % (SLOTS - _FIRST_FREE_SLOT)


def in_order_of_tables(names: Iterable[str]) -> list[str]:
    """Sort transports as tables and charts show them."""
    return sorted(names, key=lambda name: (slot_of(name), name))


def in_order(variants: Sequence[Variant]) -> list[Variant]:
    """Sort variants as tables and charts show them."""
    return sorted(
        variants, key=lambda v: (v.slot, v.transport, v.server != transport.DEFAULT_SERVER, v.server, v.shade)
    )
