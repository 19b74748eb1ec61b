"""What an application keeps of a client across its connections, so that the next one continues where the last ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def _nothing() -> None:
    pass


@dataclass(eq=False)
class Session:
    """Of one client, handed to `connect` for each of its connections, one after the other.

    Attributes:
        client_id: a name that no other client has.
        resume: whether a new connection continues where the last one ended; else it starts anew.
        keep_alive_s: within about this time the client notices that nothing comes any more; None: it need not.
        kept: what the client module keeps for the next connection.
        resumed: the client module sets it where a new connection continues.
        lost: the client module calls it when its library says that the connection of a publisher has ended, so that it
            need not wait for the next publish to fail.
    """

    client_id: str
    resume: bool = False
    keep_alive_s: float | None = None
    kept: dict[Any, Any] = field(default_factory=dict)
    resumed: bool = False
    lost: Callable[[], None] = _nothing
