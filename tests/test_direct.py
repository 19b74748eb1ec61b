"""The direct loop calls the functions of the sockets it watches, and leaves asyncio as it is."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from rtbench.system import direct

pytestmark = pytest.mark.process
LOOPS = [direct.new_loop, asyncio.SelectorEventLoop]


def run(loop: Callable[[], asyncio.AbstractEventLoop], work: Callable[[], object]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())  # type: ignore[arg-type]


@pytest.mark.parametrize("loop", LOOPS, ids=["direct", "any other"])
def test_a_watched_socket_calls_and_asyncio_goes_on_beside_it(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=socket.socketpair()[0])
        ours.setblocking(False)
        got, done = [], asyncio.Event()

        def ready() -> None:
            got.append(ours.recv(100))
            if len(got) == 3:
                done.set()

        watcher = direct.watcher()
        watcher.watch(ours.fileno(), ready)
        for number in range(3):
            theirs.send(b"%d" % number)
            await asyncio.sleep(0)
            while len(got) <= number:
                await asyncio.sleep(0.001)
        await asyncio.wait_for(done.wait(), 10)
        assert got == [b"0", b"1", b"2"]
        watcher.forget(ours.fileno())
        theirs.send(b"nobody reads this")
        await asyncio.sleep(0.01)
        assert len(got) == 3
        writer.close()
        ours.close()
        theirs.close()

    run(loop, work)


@pytest.mark.parametrize("loop", LOOPS, ids=["direct", "any other"])
def test_a_watched_socket_says_when_it_takes_more(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        calls: list[None] = []
        takes = asyncio.Event()
        with suppress(BlockingIOError):
            while ours.send(bytes(65536)):
                pass
        watcher = direct.watcher()

        def ready() -> None:
            calls.append(None)
            takes.set()

        watcher.watch(ours.fileno(), ready)
        watcher.watch_writing(ours.fileno(), True)
        await asyncio.sleep(0.02)
        assert not calls
        while not takes.is_set():
            theirs.recv(65536)
            await asyncio.sleep(0)
        watcher.watch_writing(ours.fileno(), False)
        before = len(calls)
        await asyncio.sleep(0.02)
        assert len(calls) == before
        watcher.forget(ours.fileno())
        ours.close()
        theirs.close()

    run(loop, work)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="this system has no epoll")
def test_a_socket_forgotten_by_another_in_the_same_turn_is_not_called() -> None:
    async def work() -> None:
        pairs = [socket.socketpair() for _ in range(2)]
        watcher, called = direct.watcher(), []

        def ready(place: int) -> None:
            called.append(place)
            watcher.forget(pairs[0][0].fileno())
            watcher.forget(pairs[1][0].fileno())

        for place, (ours, theirs) in enumerate(pairs):
            theirs.send(b"x")
            watcher.watch(ours.fileno(), lambda place=place: ready(place))  # type: ignore[misc]
        await asyncio.sleep(0.02)
        assert len(called) == 1
        for pair in pairs:
            for each in pair:
                each.close()

    run(direct.new_loop, work)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="this system has no epoll")
def test_what_a_watched_socket_asks_asyncio_for_is_done_before_the_loop_waits_again() -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        loop, order = asyncio.get_running_loop(), []
        soon = loop.create_future()

        def ready() -> None:
            ours.recv(1)
            order.append("read")
            loop.call_later(0.001, soon.set_result, None)

        direct.watcher().watch(ours.fileno(), ready)
        late = loop.call_later(30, order.append, "late")  # so long would it wait for anything else
        theirs.send(b"x")
        began = time.monotonic()
        await soon
        assert time.monotonic() - began < 15
        assert order == ["read"]
        late.cancel()
        direct.watcher().forget(ours.fileno())
        ours.close()
        theirs.close()

    run(direct.new_loop, work)
