"""The resources that a process tree has used, as a record; `rtbench.system.process` reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Load:
    """Resources of a process tree at the time `at_ns` (CLOCK_MONOTONIC): `cpu_ns` since its start, `rss_bytes` now.

    The other values are None if the system does not provide them. Switches and waiting are sums over the threads alive
    now. The counts of a thread that has ended are lost, so these sums are correct only if no thread ends.

    voluntary_switches: how often a thread gave up its core to wait for something
    involuntary_switches: how often the kernel took the core from a thread
    waiting_ns: time in which a thread was ready to run but had no core (`schedstat`, field 2)
    peak_rss_bytes: the sum of the highest RSS of each process so far (VmHWM)
    pss_bytes: like RSS, but a page that K processes map counts as 1/K; it changes when other processes start or end
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
        """Return the share of one core that was used since `before` (1.0: a whole core)."""
        return (self.cpu_ns - before.cpu_ns) / max(self.at_ns - before.at_ns, 1)

    def waiting_since(self, before: Load) -> float | None:
        """Return waiting / (waiting + CPU time) since `before`, 0 to 1; None if waiting is not known."""
        if self.waiting_ns is None or before.waiting_ns is None:
            return None
        waited_ns = max(self.waiting_ns - before.waiting_ns, 0)
        return waited_ns / max(waited_ns + self.cpu_ns - before.cpu_ns, 1)

    def continuing(self, earlier: Load, began: Load) -> Load:
        """Return the load over two lives of a server: `earlier` at the end of the first, and this since `began`."""

        def summed(name: str) -> int | None:
            then, first, now = (getattr(load, name) for load in (earlier, began, self))
            return None if None in (then, first, now) else int(then + now - first)

        peaks = self.peak_rss_bytes, earlier.peak_rss_bytes
        return replace(
            self,
            cpu_ns=earlier.cpu_ns + self.cpu_ns - began.cpu_ns,
            voluntary_switches=summed("voluntary_switches"),
            involuntary_switches=summed("involuntary_switches"),
            waiting_ns=summed("waiting_ns"),
            peak_rss_bytes=None if None in peaks else max(peak for peak in peaks if peak is not None),
        )
