"""A class: who is let in, and the figures of everyone.

One token stands in the address that the lecturer shows. Whoever opens it gets a cookie, and the address of the machine
may then use the lanes. The token is made when the lab starts, and ends with it. Who comes from this machine is the
lecturer, and needs none.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import Any

DEFAULT_MOST_CLIENTS = 40


@dataclass
class Room:
    """The people of a class. `most_clients` pages may be open at once, beside those of the lecturer."""

    most_clients: int = DEFAULT_MOST_CLIENTS
    token: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    addresses: set[str] = field(default_factory=set)  # of machines that showed the token
    figures: dict[int, dict[str, Any]] = field(default_factory=dict)  # of each page, by its number
    pages: set[int] = field(default_factory=set)  # the pages of students that are open

    def knows(self, token: str) -> bool:
        """Return whether this is the token."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    @property
    def is_full(self) -> bool:
        """Whether no further page is let in."""
        return len(self.pages) >= self.most_clients

    def leave(self, page: int) -> None:
        """Forget a page that was closed."""
        self.pages.discard(page)
        self.figures.pop(page, None)


def is_lecturer(address: str | None) -> bool:
    """Return whether a request comes from this machine."""
    return address is not None and ipaddress.ip_address(address.partition("%")[0]).is_loopback
