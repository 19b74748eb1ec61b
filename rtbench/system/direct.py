"""An event loop on which thousands of sockets cost little: a function is called at once when its socket is ready.

asyncio makes a handle of each event, puts it into a queue and runs it in a context of its own. Here the selector of the
loop calls the functions of the sockets that it watches directly; everything else of asyncio goes on as usual beside
them, and waits for as long as these calls take.

Where the system has no epoll (epoll(7), Linux), `watcher` falls back on `add_reader` of any asyncio loop.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, Protocol, TypeAlias

Ready: TypeAlias = Callable[[], None]


class Watcher(Protocol):
    """Calls a function whenever a socket is ready; an error and the end of a connection are something to read, too."""

    def watch(self, descriptor: int, ready: Ready) -> None:
        """Call `ready`, which raises nothing, whenever there is something to read."""

    def watch_writing(self, descriptor: int, wanted: bool) -> None:
        """Call it also when the socket takes something to send; or no longer."""

    def forget(self, descriptor: int) -> None:
        """Call it no more; the descriptor is still open."""


if hasattr(select, "epoll"):

    class DirectSelector(selectors.BaseSelector):
        """The selector of an asyncio loop that calls the functions of the sockets it watches itself.

        What asyncio registers is in a selector of its own. Its descriptor is one of those that epoll waits for.
        """

        def __init__(self) -> None:
            self._others = selectors.EpollSelector()
            self._epoll = select.epoll()
            self._epoll.register(self._others.fileno(), select.EPOLLIN)
            self._ready: dict[int, Ready] = {}
            self.has_work = False  # the loop has something to call that it had not when it began to wait

        def watch(self, descriptor: int, ready: Ready) -> None:
            """See `Watcher`."""
            self._epoll.register(descriptor, select.EPOLLIN)
            self._ready[descriptor] = ready

        def watch_writing(self, descriptor: int, wanted: bool) -> None:
            """See `Watcher`."""
            self._epoll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

        def forget(self, descriptor: int) -> None:
            """See `Watcher`."""
            self._epoll.unregister(descriptor)
            del self._ready[descriptor]

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Wait, call the functions of the watched sockets, and return what else is ready.

            Go on with this until the loop has something else to do: a turn of the loop costs as much as a delivery.
            """
            find, other, self.has_work = self._ready.get, False, False
            end_s = None if timeout is None else time.monotonic() + timeout
            while True:
                for descriptor, _ in self._epoll.poll(timeout, len(self._ready) + 1):
                    if (ready := find(descriptor)) is not None:
                        ready()
                    else:  # or one that another one has forgotten meanwhile
                        other = True
                if other or self.has_work:
                    return self._others.select(0) if other else []
                if end_s is not None and (timeout := end_s - time.monotonic()) <= 0:
                    return []

        def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
            """Register as usual."""
            return self._others.register(fileobj, events, data)

        def unregister(self, fileobj: Any) -> selectors.SelectorKey:
            """Unregister as usual."""
            return self._others.unregister(fileobj)

        def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
            """Modify as usual."""
            return self._others.modify(fileobj, events, data)

        def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
            """Return what is registered as usual."""
            return self._others.get_map()

        def close(self) -> None:
            """Close both."""
            self._epoll.close()
            self._others.close()


class LoopWatcher:
    """A watcher over `add_reader` and `add_writer` of an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: dict[int, Ready] = {}

    def watch(self, descriptor: int, ready: Ready) -> None:
        """See `Watcher`."""
        self._ready[descriptor] = ready
        self._loop.add_reader(descriptor, ready)

    def watch_writing(self, descriptor: int, wanted: bool) -> None:
        """See `Watcher`."""
        if wanted:
            self._loop.add_writer(descriptor, self._ready[descriptor])
        else:
            self._loop.remove_writer(descriptor)

    def forget(self, descriptor: int) -> None:
        """See `Watcher`."""
        self._loop.remove_reader(descriptor)
        self._loop.remove_writer(descriptor)
        del self._ready[descriptor]


if hasattr(select, "epoll"):

    class DirectLoop(asyncio.SelectorEventLoop):
        """An asyncio loop with a watcher of its own."""

        def __init__(self) -> None:
            self.watcher = DirectSelector()
            super().__init__(self.watcher)

        def call_soon(self, *call: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
            """Do as usual; the selector waits no longer."""
            self.watcher.has_work = True
            return super().call_soon(*call, context=context)

        def call_at(self, *call: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
            """Do as usual; the selector waits no longer, since this may be the next thing to do."""
            self.watcher.has_work = True
            return super().call_at(*call, context=context)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a `DirectLoop` where the system has epoll, else an asyncio loop as any other."""
    return DirectLoop() if hasattr(select, "epoll") else asyncio.SelectorEventLoop()


def watcher() -> Watcher:
    """Return the watcher of the running loop; on a loop of another kind, one that uses its `add_reader`."""
    loop = asyncio.get_running_loop()
    own: Watcher | None = getattr(loop, "watcher", None)
    return own if own is not None else LoopWatcher(loop)
