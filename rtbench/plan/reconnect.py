"""What an application does when its connection is lost: how long it waits before each attempt, and what it keeps. Pure.

none    nothing: the subscription or the publisher has ended
naive   connect again after a fixed delay; nothing is resumed, so what was published meanwhile is not received
robust  connect again after a random delay that may double with each attempt (exponential backoff with full jitter, so
        that many clients do not come back at the same moment); continue where the connection was lost
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from rtbench.errors import UsageError

NONE, NAIVE, ROBUST = POLICIES = ("none", "naive", "robust")
QUEUE, DROP = OFFLINE = ("queue", "drop")
NAIVE_DELAY_S = 1.0
BASE_S, CAP_S = 0.1, 5.0


@dataclass(frozen=True)
class Reconnect:
    """What the clients of a trial do when a connection is lost.

    `offline` is what a publisher does with messages that are due while it has no connection: `queue` sends them in
    order once it is connected again, `drop` lets them go, and they are `failed` in the ledger. With `keep_alive_s` a
    client also notices a connection on which nothing comes any more; without, only one that is closed or reset.
    """

    policy: str = ROBUST
    offline: str = QUEUE
    keep_alive_s: float | None = None

    def __post_init__(self) -> None:
        for flag, value, allowed in (("--reconnect", self.policy, POLICIES), ("--offline", self.offline, OFFLINE)):
            if value not in allowed:
                raise UsageError(f"{flag} must be one of {', '.join(allowed)}: got {value!r}")
        if self.keep_alive_s is not None and not self.keep_alive_s > 0:
            raise UsageError(f"--keep-alive must be above 0s: got {self.keep_alive_s:g}s")

    @property
    def resumes(self) -> bool:
        """Whether a client that is back continues where its connection was lost."""
        return self.policy == ROBUST

    @property
    def drops(self) -> bool:
        """Whether messages that are due without a connection are dropped: also where none comes again."""
        return self.offline == DROP or self.policy == NONE

    @property
    def longest_delay_s(self) -> float:
        """The longest time between two attempts."""
        return {NONE: 0.0, NAIVE: NAIVE_DELAY_S, ROBUST: CAP_S}[self.policy]

    def delays_s(self, random: Random) -> Iterator[float]:
        """Yield how long to wait before each attempt of one outage; nothing where no attempt is made."""
        if self.policy == NONE:
            return
        for attempt in count():
            longest_s = min(CAP_S, BASE_S * 2.0 ** min(attempt, 32))  # 2 to a high power is no float
            yield NAIVE_DELAY_S if self.policy == NAIVE else random.uniform(0, longest_s)
