"""Memory for reads: the same cost in every process.

The malloc of glibc maps a block of 128 KiB or more with mmap and unmaps it when it is freed, until the process has
freed a block of that size once (mallopt(3), M_MMAP_THRESHOLD). For each read, asyncio allocates a block of 256 KiB
and then shrinks it to the size of the data (selector_events.py, `max_size`). So each read makes three more system calls
and two page faults, unless the process has freed such a block before. A measurement must not depend on that chance.
"""

from __future__ import annotations

_BLOCK_BYTES = 2**20  # more than any read allocates; glibc then returns memory to the kernel only above twice this size


def keep_freed() -> None:
    """Allocate and free a large block once. After that malloc keeps freed blocks for the next read."""
    bytes(_BLOCK_BYTES)
