"""Who may use a server that speaks HTTP, or WebSocket, which begins with HTTP.

A page of a foreign site can send requests from the browser of somebody who can reach the server. So a server answers
only to its own names (`Host`, RFC 9110 section 7.2: a page cannot choose it, so DNS rebinding fails) and to no page of
another origin (`Origin`, RFC 6454 section 7) unless it is named. Basic (RFC 7617) asks for a user and a password.
"""

from __future__ import annotations

import base64
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from http import HTTPStatus
from typing import Annotated

from rtbench.errors import UsageError
from rtbench.transports.options import Option

Username = Annotated[str | None, Option("the only user who may connect", metavar="NAME")]
Password = Annotated[str | None, Option("that user's password", secret=True)]
AllowOrigin = Annotated[
    str | None, Option("pages of these origins may use the server, besides its own; * for all", metavar="URL,URL")
]
AllowHost = Annotated[
    str | None, Option("names of the server in Host, besides its address and localhost; * for all", metavar="NAME,NAME")
]


def check_credentials(username: str | None, password: str | None) -> None:
    """Refuse one without the other.

    Raises:
        UsageError: one of them is missing.
    """
    if (username is None) != (password is None):
        raise UsageError("--username and a password (--password-file or RTBENCH_PASSWORD) go together; one is missing")


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that is not allowed."""

    status: HTTPStatus
    text: str
    headers: Mapping[str, str]


class Access:
    """What a server allows; `listener` is the socket that it listens on.

    Raises:
        UsageError: a user without a password, or the other way round; an origin that is none.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        username: str | None = None,
        password: str | None = None,
        allow_origin: str | None = None,
        allow_host: str | None = None,
    ) -> None:
        check_credentials(username, password)
        self._address = ipaddress.ip_address(listener.getsockname()[0])
        self._credentials = None if username is None else f"{username}:{password}".encode()
        self._origins = {_origin(text) for text in _listed(allow_origin)}
        self._names = {"localhost", socket.gethostname().lower(), *_listed(allow_host)}

    def refusal(self, headers: Mapping[str, str], *, preflight: bool = False) -> Refusal | None:
        """Return the answer to a request with these headers, if it is not allowed; a preflight has no credentials."""
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if not self._is_own(_name(host)):
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, f"this server is not {host!r} (--allow-host)\n", {})
        if origin is not None and not self.is_allowed(origin, host):
            return Refusal(HTTPStatus.FORBIDDEN, f"pages of {origin} may not use this server (--allow-origin)\n", {})
        if self._credentials is not None and not preflight and not self._knows(headers.get("Authorization", "")):
            challenge = {"WWW-Authenticate": 'Basic realm="rtbench", charset="UTF-8"'}
            return Refusal(HTTPStatus.UNAUTHORIZED, "this server wants a user name and a password\n", challenge)
        return None

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

    def _knows(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True)
        except ValueError:
            return False
        return scheme.lower() == "basic" and compare_digest(given, self._credentials or b"")


def _listed(text: str | None) -> list[str]:
    return [part.strip().lower() for part in (text or "").split(",") if part.strip()]


def _origin(text: str) -> str:
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
