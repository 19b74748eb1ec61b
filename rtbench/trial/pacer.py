"""Pacer: calls a function when each message is due, with an error of a few microseconds.

Without a timerfd (`rtbench.system.alarm`) the error is up to a millisecond, and the lag in the result shows it. An idle
core takes time to wake up, a quarter of a millisecond in a virtual machine. Therefore the alarm is set early, and the
loop polls without waiting until shortly before the message is due. A turn of the loop might end too late then, so the
pacer itself waits for the last microseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from rtbench.system.alarm import make_alarm

EARLY_NS = 300_000  # on an idle virtual machine 90 % of the alarms were less late than this
TURN_NS = 30_000  # most turns of the loop take less, also on a core that was idle
_POLLING_DIVISOR = 20  # the loop may poll for at most 1/20 of the time


async def pace(due_ns: Sequence[int], send: Callable[[int], None]) -> None:
    """Call `send(i)` at the time `due_ns[i]` (sorted, CLOCK_MONOTONIC); return after the last call.

    The pacer never waits for the work that `send` started: the load is open loop.
    """
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    following = 0
    gap_ns = (due_ns[-1] - due_ns[0]) // len(due_ns) if due_ns else 0
    early_ns = min(EARLY_NS, gap_ns // _POLLING_DIVISOR)
    turn_ns = min(TURN_NS, early_ns)

    def ring() -> None:
        nonlocal following
        if finished.done():
            return  # `pace` was cancelled
        now_ns = time.monotonic_ns()
        while following < len(due_ns) and due_ns[following] <= now_ns + turn_ns:
            while time.monotonic_ns() < due_ns[following]:
                pass
            send(following)
            following += 1
        if following == len(due_ns):
            finished.set_result(None)
        elif due_ns[following] - now_ns > early_ns:
            alarm.set(due_ns[following] - early_ns)
        else:
            loop.call_soon(ring)

    alarm = make_alarm(loop, ring)
    try:
        ring()
        await finished
    finally:
        alarm.close()
