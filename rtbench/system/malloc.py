"""Memory for reads: the same price in every process.

glibc's malloc has the kernel map a block of 128 KiB or more, and unmap it when it is freed, until a block as large has
once been freed (mallopt(3), M_MMAP_THRESHOLD). asyncio reads into a new block of 256 KiB each time, which it then cuts
to what came (selector_events.py, `max_size`): each read makes three more system calls and two page faults. Whether a
program has ever freed as much is chance; a server or client that is measured must not depend on it.
"""

from __future__ import annotations

_BLOCK_BYTES = 2**20  # more than any read asks for; glibc then gives back to the kernel no less than twice as much


def keep_freed() -> None:
    """Free a large block once, after which malloc keeps what is freed for the next read."""
    bytes(_BLOCK_BYTES)
