"""Variant: a transport with its server, its client and its options fixed. One column of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFAULT_SERVER = "embedded"
DEFAULT_CLIENT = "library"
EXTERNAL_SERVER = "external"  # a server that rtbench does not start: it answers at a URL that the user names


@dataclass(frozen=True)
class Variant:
    """One column of a comparison.

    `options` are those of the client, complete. `slot` fixes the colour and the place, `shade` the dash and the marker
    within the transport. `control` marks the floor that the other variants are compared with. `server_options` are
    those that the user set.
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
    server_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The label, then in brackets whatever is not the default of server and client; unique in a comparison."""
        defaults = ((self.server, DEFAULT_SERVER), (self.client, DEFAULT_CLIENT))
        unusual = [name for name, default in defaults if name != default]
        unusual += [f"{name}={value}" for name, value in self.server_options.items()]
        return f"{self.label} ({', '.join(unusual)})" if unusual else self.label


def in_order(variants: Sequence[Variant]) -> list[Variant]:
    """Sort variants as tables and charts show them."""
    return sorted(variants, key=lambda v: (v.slot, v.transport, v.server != DEFAULT_SERVER, v.server, v.shade))
