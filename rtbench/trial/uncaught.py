"""Exceptions of a server or a client that nobody caught: each belongs into the message that the user sees.

Of a handler or a background task that fails, asyncio and the libraries only write a log; a task that nobody awaits
keeps its exception to itself.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rtbench.transports import registry

_MOST_ERRORS = 10

Take = Callable[[BaseException], object]


def note(errors: list[str], error: BaseException) -> bool:
    """Keep the text of an error: each text once, and not too many; return whether it was kept."""
    text = registry.described(error)
    kept = text not in errors and len(errors) < _MOST_ERRORS
    errors += [text] * kept
    return kept


class _Log(logging.Handler):
    """Takes the exceptions of errors that are logged."""

    def __init__(self, take: Take) -> None:
        super().__init__(logging.ERROR)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Take the exception of a log record, if it has one."""
        if record.exc_info and record.exc_info[1]:
            self._take(record.exc_info[1])


@contextmanager
def taken(take: Take) -> Iterator[None]:
    """Call `take` with each exception that is logged as an error, or that ends a thread of this process."""
    registry.read_points()  # now: to say where an error comes from takes files, and they may be what is missing
    log, hook = _Log(take), threading.excepthook
    logging.getLogger().addHandler(log)
    threading.excepthook = lambda args: take(args.exc_value) if args.exc_value else None
    try:
        yield
    finally:
        threading.excepthook = hook
        logging.getLogger().removeHandler(log)


def take_from_tasks(take: Take) -> None:
    """Call `take` with the exception of each task that has ended and that nobody has awaited."""
    for thing in gc.get_objects():
        # by its type: to ask a proxy for its class may fail
        if issubclass(type(thing), asyncio.Task) and getattr(thing, "_log_traceback", False):
            take(thing.exception())
