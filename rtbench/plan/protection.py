"""Protection: what stands between a server and its clients, and how somebody may try to get past it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rtbench.errors import UsageError, did_you_mean

USER, OTHER, WITNESS = "A", "B", "witness"  # the witness may use every topic, to see what gets through
OWN_TOPIC, FORBIDDEN_TOPIC = "devices/a/1", "devices/b/1"
ACCESS_LIST = f"""\
user {USER}
topic readwrite devices/a/#
user {OTHER}
topic readwrite devices/b/#
user {WITNESS}
topic readwrite devices/#
"""
FOREIGN_ORIGIN = "https://foreign.example"


@dataclass(frozen=True)
class Protection:
    """One way to protect a server: its title, and what is on."""

    title: str
    tls: bool = False
    resumed: bool = False  # each connection continues the TLS session of an earlier one
    users: bool = False  # the server asks for a name and a password
    rights: bool = False  # and keeps an access list by topic


PLAIN = "plain"
PROTECTIONS = {
    PLAIN: Protection("plain"),
    "tls": Protection("TLS", tls=True),
    "tls-resumed": Protection("TLS resumed", tls=True, resumed=True),
    "password": Protection("password", users=True),
    "access-list": Protection("access list", users=True, rights=True),
}


@dataclass(frozen=True)
class Entrance:
    """One way to try to get in: its title, and whether the server should let it in (the controls)."""

    title: str
    lets_in: bool = False
    to_publish: bool = True
    topic: str = OWN_TOPIC
    password: str = "right"  # or "wrong", or "none"
    origin: str | None = None
    tls: str = ""  # "1.3", "1.1" or "expired": on a server with TLS


ENTRANCES = {
    "publish-own-topic": Entrance("right password, own topic: publish", lets_in=True),
    "subscribe-own-topic": Entrance("right password, own topic: subscribe", lets_in=True, to_publish=False),
    "no-password": Entrance("no password", password="none"),
    "wrong-password": Entrance("wrong password", password="wrong"),
    "publish-forbidden-topic": Entrance("forbidden topic: publish", topic=FORBIDDEN_TOPIC),
    "subscribe-forbidden-topic": Entrance("forbidden topic: subscribe", topic=FORBIDDEN_TOPIC, to_publish=False),
    "foreign-origin": Entrance("page of a foreign Origin", origin=FOREIGN_ORIGIN),
    "tls-1.3": Entrance("TLS 1.3, valid certificate", lets_in=True, tls="1.3"),
    "expired-certificate": Entrance("server with an expired certificate", tls="expired"),
    "tls-1.1": Entrance("TLS 1.1", tls="1.1"),
}


def parse_protection(name: str) -> str:
    """Return the name of a protection.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in PROTECTIONS:
        hint = did_you_mean(name, list(PROTECTIONS))
        raise UsageError(f"--protection must be one of {', '.join(PROTECTIONS)}: got {name!r}{hint}")
    return name
