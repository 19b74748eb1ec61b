"""Who may use a server that speaks HTTP, or WebSocket, which begins with HTTP.

A page of a foreign site can send requests from the browser of somebody who can reach the server. So a server answers
only to its own names (`Host`, RFC 9110 section 7.2: a page cannot choose it, so DNS rebinding fails) and to no page of
another origin (`Origin`, RFC 6454 section 7) unless it is named. Basic (RFC 7617) asks for a user and a password;
then an access list may say on which topics this user may publish and subscribe.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from rtbench.errors import UsageError
from rtbench.transports.options import Option
from rtbench.transports.permissions import EVERYTHING, Permissions

Username = Annotated[str | None, Option("the only user who may connect", metavar="NAME")]
Password = Annotated[str | None, Option("that user's password", secret=True)]
AllowOrigin = Annotated[
    str | None, Option("pages of these origins may use the server, besides its own; * for all", metavar="URL,URL")
]
AllowHost = Annotated[
    str | None, Option("names of the server in Host, besides its address and localhost; * for all", metavar="NAME,NAME")
]


@dataclass(frozen=True)
class Wanted:
    """What a request is for: to publish on a topic, or to subscribe to it."""

    topic: str
    to_publish: bool


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that is not allowed."""

    status: HTTPStatus
    text: str
    headers: Mapping[str, str]


class Access:
    """What a server allows; `listener` is the socket that it listens on.

    Raises:
        UsageError: an origin that is none.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        permissions: Permissions = EVERYTHING,
        allow_origin: str | None = None,
        allow_host: str | None = None,
    ) -> None:
        self._permissions = permissions
        self._address = ipaddress.ip_address(listener.getsockname()[0])
        self._origins = {check_origin(text) for text in listed(allow_origin)}
        self._names = {"localhost", socket.gethostname().lower(), *listed(allow_host)}

    def refusal(
        self, headers: Mapping[str, str], wanted: Wanted | None = None, *, preflight: bool = False
    ) -> Refusal | None:
        """Return the answer to a request with these headers, if it is not allowed; a preflight has no credentials.

        `wanted` is None for a request that concerns no topic.
        """
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if not self._is_own(_name(host)):
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, f"this server is not {host!r} (--allow-host)\n", {})
        if origin is not None and not self.is_allowed(origin, host):
            return Refusal(HTTPStatus.FORBIDDEN, f"pages of {origin} may not use this server (--allow-origin)\n", {})
        if not self._permissions.asks or preflight:
            return None
        user = self.user(headers)
        if user is None:
            challenge = {"WWW-Authenticate": 'Basic realm="rtbench", charset="UTF-8"'}
            return Refusal(HTTPStatus.UNAUTHORIZED, "this server wants a user name and a password\n", challenge)
        if wanted is not None and not self._may(user, wanted):
            what = "publish on" if wanted.to_publish else "subscribe to"
            return Refusal(HTTPStatus.FORBIDDEN, f"{user} may not {what} {wanted.topic}\n", {})
        return None

    def may_publish(self, headers: Mapping[str, str], topic: str) -> bool:
        """Return whether the user of a request, which was not refused, may publish on a topic."""
        return self._permissions.may_publish(self.user(headers), topic)

    def _may(self, user: str, wanted: Wanted) -> bool:
        allowed = self._permissions.may_publish if wanted.to_publish else self._permissions.may_subscribe
        return allowed(user, wanted.topic)

    def is_allowed(self, origin: str, host: str) -> bool:
        """Return whether pages of an origin may use the server: its own, which is known by `host`, and those named."""
        return "*" in self._origins or origin.lower() in self._origins or origin.partition("://")[2] == host

    def _is_own(self, name: str) -> bool:
        if name in self._names or "*" in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        listens_everywhere = self._address.is_unspecified
        return listens_everywhere or address == self._address or (address.is_loopback and self._address.is_loopback)

    def user(self, headers: Mapping[str, str]) -> str | None:
        """Return the user that a request names with the right password; None without (RFC 7617 section 2)."""
        scheme, _, encoded = headers.get("Authorization", "").partition(" ")
        try:
            name, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
            username = name.decode()
        except ValueError:
            return None
        return username if scheme.lower() == "basic" and self._permissions.knows(username, password) else None


def listed(text: str | None) -> list[str]:
    """Return the parts of an option that may have several, in lower case."""
    return [part.strip().lower() for part in (text or "").split(",") if part.strip()]


def check_origin(text: str) -> str:
    """Return an origin.

    Raises:
        UsageError: the text is none.
    """
    scheme, separator, rest = text.partition("://")
    if text != "*" and (scheme not in ("http", "https") or not separator or not rest or "/" in rest):
        raise UsageError(
            f"--allow-origin {text} is no origin; write it like https://example.org or http://localhost:8000"
        )
    return text


def _name(host: str) -> str:
    """Return the name in a `Host` header, without port and brackets."""
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if ":" in name else name
