"""An attempt to use a server, allowed or not: what it is made with, and what became of it."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rtbench.plan.login import Login


@dataclass(frozen=True)
class Attempt:
    """One try to publish on a topic or to subscribe to it, on a connection of its own.

    Attributes:
        topic: the topic.
        payload: what to publish; None to subscribe.
        publish: has somebody who may publish a message on the topic; called once a subscription stands, where only a
            delivery shows whether the server meant it.
        login: the name and the password that the client gives.
        tls: the client context; None for a server without TLS.
        origin: the page that sends it, as a browser would say; None for a program.
    """

    topic: str
    payload: bytes | None
    publish: Callable[[], Awaitable[object]]
    login: Login = field(default_factory=Login)
    tls: ssl.SSLContext | None = None
    origin: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Whether the server let an attempt in, as far as its answer tells, and the answer in a few words."""

    is_in: bool
    answer: str
