"""The limits of this process that an experiment raises, or meets, before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from rtbench.links.link import STREAM
from rtbench.plan.network import LOOPBACK
from rtbench.plan.variant import LEAN_CLIENT, Variant
from rtbench.system.room import room_for


def limits_for(variants: Sequence[Variant], connections: int, asked: str) -> AbstractContextManager[None]:
    """Return a context in which so many connections fit, for each of the variants; `asked` are the flags that ask.

    Raises:
        UsageError: by entering it, when they do not fit.
    """
    many_addresses = all(v.client == LEAN_CLIENT and v.link == LOOPBACK for v in variants)
    relayed = any(v.link == STREAM for v in variants)
    return room_for(connections, asked, many_addresses=many_addresses, relayed=relayed)
