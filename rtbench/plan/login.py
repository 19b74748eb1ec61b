"""Login: with what a client enters a server that runs already. Pure; nothing of it stands in a result."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Login:
    """A user and a password, and what TLS needs: `authority` (PEM text) signed the server's certificate.

    Without an authority the certificates of the system are trusted. `certificate` and `key` are files (PEM) with which
    the client says who it is.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    authority: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def fields(self) -> dict[str, str]:
        """The header fields of a request over HTTP (RFC 7617 section 2)."""
        if self.username is None:
            return {}
        pair = f"{self.username}:{self.password or ''}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    @property
    def password_bytes(self) -> bytes | None:
        """The password as CONNECT of MQTT has it."""
        return None if self.password is None else self.password.encode()
