"""A trial with one client process: until it has returned its record, or something went wrong first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from rtbench.errors import TrialError
from rtbench.trial.control import ControlClosed
from rtbench.trial.coordinator import Coordinator
from rtbench.trial.phase import return_within_s
from rtbench.trial.servers import RunningServer

Record = TypeVar("Record")


async def record_of(
    server: RunningServer,
    coordinator: Coordinator,
    start: Callable[[tuple[str, int]], Future[Record]],
    steps: Coroutine[Any, Any, None],
    connections: int,
    meanwhile: str,
) -> Record:
    """Start a client process, take it through its steps, and return its record.

    Args:
        server: the server that it connects to.
        coordinator: the other end of its control channel; closed in the end.
        start: starts the process, which joins at the address of the control channel that it is given.
        steps: tells the process what is next, and ends with the step `stop`.
        connections: how many it opens.
        meanwhile: what goes on, for the message that the server died.

    Raises:
        TrialError: what went wrong first, with what the server raised.
    """
    coordinator.announce(server)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(coordinator.close)
        record = asyncio.wrap_future(start(await coordinator.listen("127.0.0.1")))
        death, taking = asyncio.create_task(server.died()), asyncio.create_task(steps)
        waited_for: list[asyncio.Future[Any]] = [taking, record, death]
        for task in (death, taking):
            stack.callback(task.cancel)
        for future in waited_for:
            future.add_done_callback(lambda f: f.cancelled() or f.exception())  # retrieved, whether or not it is needed
        await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
        if not death.done():
            # the error of the record explains a step that was not taken; a record without one comes after the last step
            await asyncio.wait([record], timeout=return_within_s(connections))
        try:
            if death.done() or not server.is_alive:
                raise TrialError(f"the server died while {meanwhile}")
            return await _outcome(record, taking)
        except TrialError as error:
            await server.relay_log()
            raise TrialError("; ".join([str(error), *server.raised])) from error


async def _outcome(record: asyncio.Future[Record], steps: asyncio.Future[None]) -> Record:
    """Return the record, or raise what went wrong first."""
    reason = record.exception() if record.done() else TrialError("the client process did not return its record")
    if steps.done() and (not record.done() or isinstance(reason, ControlClosed)):
        await steps
    if reason is not None:
        raise TrialError(str(reason) or type(reason).__name__) from reason
    await steps
    return record.result()
