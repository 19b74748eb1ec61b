"""What a process tree has used, as numbers; `rtbench.system.process` reads them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What a process tree has used: `cpu_ns` since its start, `rss_bytes` now, at `at_ns` of CLOCK_MONOTONIC.

    What follows is None where the system does not tell. Switches and waiting are sums over the threads alive now, so
    what a thread gathered is gone with it: count on them where threads do not come and go.

    voluntary_switches: how often a thread gave up its core to wait for something
    involuntary_switches: how often one had to
    waiting_ns: ready to run, and without a core to run on (`schedstat`, field 2)
    peak_rss_bytes: the sum of the highest RSS of each process so far (VmHWM)
    pss_bytes: as RSS, a page that K processes map counted as 1/K of one; it moves as other processes come and go
    private_bytes: dirty pages that no other process maps, in memory or swapped out (heap, stacks)
    """

    at_ns: int
    cpu_ns: int
    rss_bytes: int
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    waiting_ns: int | None = None
    peak_rss_bytes: int | None = None
    pss_bytes: int | None = None
    private_bytes: int | None = None

    def cpu_since(self, before: Load) -> float:
        """Return the share of one core used since `before` (1.0: a whole core)."""
        return (self.cpu_ns - before.cpu_ns) / max(self.at_ns - before.at_ns, 1)

    def waiting_since(self, before: Load) -> float | None:
        """Return which share of the time since `before` in which it could have run it waited for a core instead."""
        if self.waiting_ns is None or before.waiting_ns is None:
            return None
        waited_ns = max(self.waiting_ns - before.waiting_ns, 0)
        return waited_ns / max(waited_ns + self.cpu_ns - before.cpu_ns, 1)
