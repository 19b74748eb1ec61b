"""Memory of a process that relays or measures: its cost depends neither on chance nor on the number of connections.

The malloc of glibc maps a block of 128 KiB or more with mmap and unmaps it when it is freed, until the process has
freed a block of that size once (mallopt(3), M_MMAP_THRESHOLD). For each read, asyncio allocates a block of 256 KiB
and then shrinks it to the size of the data (selector_events.py, `max_size`). So each read makes three more system calls
and two page faults, unless the process has freed such a block before. A measurement must not depend on that chance.

Python searches its new objects for cycles whenever there are 700 more of them, and now and then all objects. A process
that opened ten thousand connections spent 18 % of its CPU time on this, and each search of all objects delays messages.
With 10,000 instead of 700 it is 8 %. With more, cycles would hold more memory before they are found.
"""

from __future__ import annotations

import gc

_BLOCK_BYTES = 2**20  # more than any read allocates; glibc then returns memory to the kernel only above twice this size
_NEW_OBJECTS = 10_000


def prepare() -> None:
    """Have malloc keep freed blocks for the next read, and Python search for cycles rarely, in this process."""
    bytes(_BLOCK_BYTES)  # allocated and freed
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
