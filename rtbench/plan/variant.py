"""Variant: a transport with its server, its client and its options; one row of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtbench.plan.network import LOOPBACK

DEFAULT_SERVER = "embedded"
DEFAULT_CLIENT = "library"
LEAN_CLIENT = "lean"
BROWSER_CLIENT = "browser"  # the page of the lab; all lanes of a session have it, so no name says it
EXTERNAL_SERVER = "external"  # a server that rtbench does not start; the user gives its URL


EMBEDDED_TIER, NATIVE_TIER = TIERS = ("embedded", "native")  # servers of rtbench, and programs that users run


@dataclass(frozen=True)
class Variant:
    """One row of a comparison.

    `options` are all options of the client, defaults included; `server_options` are only those that the user set.
    `server_settings` are those of a program that users run which are not its own defaults, by its own names. `slot`
    determines colour and position, `shade` the dash and marker within the transport. `control` is true for bare TCP,
    the lowest latency of the machine, which the other variants are compared with. `network` is what lies between client
    and server, as the user writes it, and `link` the kind of link that emulates it. `reconnect` is what the clients do
    when a connection is lost; an empty text where that is an error of the trial. `url` is that of an external server.
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
    server_settings: Mapping[str, str] = field(default_factory=dict)
    network: str = LOOPBACK
    link: str = LOOPBACK
    reconnect: str = ""
    url: str = ""

    @property
    def name(self) -> str:
        """The label, and in brackets what is not as usual, such as server, network and server options; unique."""
        defaults = (
            (self.server, DEFAULT_SERVER),
            (self.client, BROWSER_CLIENT if self.client == BROWSER_CLIENT else DEFAULT_CLIENT),
            (self.network, LOOPBACK),
            (self.reconnect, ""),
        )
        unusual = [name for name, default in defaults if name != default]
        words = {True: "yes", False: "no"}
        unusual += [
            f"{name}={words[value] if isinstance(value, bool) else value}"
            for name, value in self.server_options.items()
        ]
        return f"{self.label} ({', '.join(unusual)})" if unusual else self.label


def of_transport(urls: Sequence[str], transport: str, schemes: Sequence[str]) -> list[str]:
    """Return those of some `--url` that are of a transport: `URL` with one of its schemes, or `TRANSPORT=URL`."""
    found = []
    for text in urls:
        name, url = split_url(text)
        if name == transport or (name == "" and url.partition(":")[0] in schemes):
            found.append(url)
    return found


def split_url(text: str) -> tuple[str, str]:
    """Return the transport that `TRANSPORT=URL` names, "" for `URL`, and the URL."""
    name, separator, url = text.partition("=")
    return (name, url) if separator and "://" not in name else ("", text)


def label(transport: str, options: Mapping[str, Any]) -> str:
    """Return a transport with options as users read it: `mqtt-qos1`."""
    return transport + "".join(f"-{name}{value}" for name, value in options.items())


def in_order(variants: Sequence[Variant]) -> list[Variant]:
    """Sort variants as tables and charts show them."""
    return sorted(variants, key=lambda v: (v.slot, v.transport, v.server != DEFAULT_SERVER, v.server, v.shade))
