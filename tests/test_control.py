"""The control channel: who is let in, what is answered, and what its end means."""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rtbench.transports.records import ProcessPlan
from rtbench.trial import control
from rtbench.trial import coordinator as coordinating
from rtbench.trial.control import ControlClosed, joined, joined_blocking
from rtbench.trial.coordinator import SAME_CLOCK, Coordinator
from rtbench.trial.servers import RunningServer

WITHIN_S = 20.0
SERVER = RunningServer("tcp://127.0.0.1:1", ca="a certificate")


def plan_of(coordinator: Coordinator, address: tuple[str, int], name: str, **changed: Any) -> ProcessPlan:
    fields = {"name": name, "control": address, "token": coordinator.token} | changed
    return ProcessPlan(**fields, transport="tcp", client="library", options={})


def lead(names: list[str], scenario: Callable[[Coordinator, tuple[str, int]], Awaitable[None]]) -> None:
    """Run a scenario beside a coordinator."""

    async def main() -> None:
        coordinator = Coordinator(names)
        async with asyncio.timeout(WITHIN_S):
            address = await coordinator.listen("127.0.0.1")
            try:
                await scenario(coordinator, address)
            finally:
                await coordinator.close()

    asyncio.run(main())


@pytest.mark.process
def test_a_blocking_process_is_led_through_its_steps() -> None:
    heard: list[Any] = []

    def process(plan: ProcessPlan) -> None:
        with joined_blocking(plan) as channel:
            server = channel.step("connect")
            channel.say(count=3, of="connect")
            heard.append((server["url"], server["ca"]))
            channel.say(done="connect")
            heard.append(channel.step("start")["at_ns"])
            channel.say(count=7)
            channel.say(count=9, done="start")
            channel.step("stop")

    async def scenario(coordinator: Coordinator, address: tuple[str, int]) -> None:
        running = asyncio.create_task(asyncio.to_thread(process, plan_of(coordinator, address, "one")))
        coordinator.announce(SERVER)
        assert await coordinator.done("connect", ["one"], WITHIN_S)
        assert (coordinator.standing().step, coordinator.standing().count) == ("connect", 3)
        assert coordinator.offset("one") == SAME_CLOCK  # so its pings were answered
        coordinator.start(12345)
        assert await coordinator.done("start", ["one"], WITHIN_S)
        assert coordinator.count() == coordinator.standing().count == 9
        coordinator.tell("stop")
        await running
        assert await coordinator.done("stop", ["one"], WITHIN_S) is False  # it has left
        assert coordinator.is_gone("one")

    lead(["one"], scenario)
    assert heard == [(SERVER.url, SERVER.ca), 12345]


@pytest.mark.process
def test_the_start_is_told_in_the_time_of_each_process() -> None:
    ahead_ns, started = 7_000_000_000, list[int]()

    async def other(plan: ProcessPlan) -> None:
        async with joined(plan) as channel:
            await channel.step("connect")
            channel.say(done="connect")
            started.append((await channel.step("start"))["at_ns"])

    def process(plan: ProcessPlan) -> None:
        with socket.create_connection(plan.control) as sock, sock.makefile("rw") as lines:

            def say(**fields: Any) -> None:
                lines.write(json.dumps(fields) + "\n")
                lines.flush()

            say(name=plan.name, token=plan.token, clock="another clock")
            for line in lines:
                message = json.loads(line)
                if "ping" in message:
                    say(pong=message["ping"], clock_ns=time.monotonic_ns() + ahead_ns)
                elif message["step"] == "connect":
                    say(done="connect")
                else:
                    started.append(message["at_ns"])
                    return

    async def scenario(coordinator: Coordinator, address: tuple[str, int]) -> None:
        far = asyncio.create_task(asyncio.to_thread(process, plan_of(coordinator, address, "far")))
        near = asyncio.create_task(other(plan_of(coordinator, address, "near")))
        coordinator.announce(SERVER)
        assert await coordinator.done("connect", ["far", "near"], WITHIN_S)
        offset = coordinator.offset("far")
        assert abs(offset.offset_ns - ahead_ns) <= offset.bound_ns + 1000
        coordinator.start(10**9)
        await asyncio.gather(far, near)
        assert sorted(started) == [10**9, 10**9 + offset.offset_ns]

    lead(["far", "near"], scenario)


@pytest.mark.process
def test_a_poll_does_not_wait_and_takes_what_came_in_pieces() -> None:
    coordinator = Coordinator(["one"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plan = plan_of(coordinator, listener.getsockname(), "one")
        with joined_blocking(plan) as channel:
            other, _ = listener.accept()
            with other, other.makefile("rb") as said:
                hello = json.loads(said.readline())
                assert hello == {"name": "one", "token": coordinator.token, "clock": control.clock_name()}
                assert channel.poll() is None
                other.sendall(b'{"step": "pro')
                other.sendall(b'be"}\n{"ping": 3}\n{"step": "start", "at_ns": 5}\n{"half')
                assert channel.hear() == {"step": "probe"}
                assert channel.hear() == {"step": "start", "at_ns": 5}
                assert json.loads(said.readline())["pong"] == 3
                assert channel.poll() is None
                assert channel.fileno() == channel.sock.fileno() >= 0


@pytest.mark.process
def test_a_selector_sees_every_message_of_one_segment() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        joined_blocking(plan_of(Coordinator(["one"]), listener.getsockname(), "one")) as channel,
        selectors.DefaultSelector() as selector,
    ):
        selector.register(channel, selectors.EVENT_READ)
        other, _ = listener.accept()
        with other:
            other.sendall(b'{"ping": 1}\n{"step": "start"}\n{"step": "stop"}\n')
            heard: list[Any] = []
            while len(heard) < 2:
                assert selector.select(WITHIN_S)
                if (message := channel.poll()) is not None:
                    heard.append(message["step"])
            assert heard == ["start", "stop"]
            assert selector.select(0) == []


@pytest.mark.parametrize("half_a_line", [b"", b'{"step": "st'])
@pytest.mark.process
def test_the_end_of_the_channel_ends_the_work(half_a_line: bytes) -> None:
    coordinator = Coordinator(["one"])
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        joined_blocking(plan_of(coordinator, listener.getsockname(), "one")) as channel,
    ):
        other, _ = listener.accept()
        other.sendall(half_a_line)
        other.close()
        with pytest.raises(ControlClosed):
            channel.hear()
        with pytest.raises(ControlClosed):
            channel.step("connect")


@pytest.mark.process
def test_another_step_than_the_one_waited_for_calls_the_trial_off() -> None:
    async def scenario(coordinator: Coordinator, address: tuple[str, int]) -> None:
        def process(plan: ProcessPlan) -> None:
            with joined_blocking(plan) as channel:
                channel.step("connect")
                channel.say(done="connect")
                channel.step("start")

        running = asyncio.create_task(asyncio.to_thread(process, plan_of(coordinator, address, "one")))
        coordinator.announce(SERVER)
        assert await coordinator.done("connect", ["one"], WITHIN_S)
        coordinator.tell("stop")
        with pytest.raises(ControlClosed, match="called off"):
            await running

    lead(["one"], scenario)


@pytest.mark.process
def test_nobody_waits_for_a_step_in_vain_once_the_server_has_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinating, "LOOK_EVERY_S", 0.01)

    async def relay_log() -> None:
        server.errors.append("KeyError: 'room'")

    server = RunningServer(SERVER.url, relay_log=relay_log)

    async def scenario(coordinator: Coordinator, address: tuple[str, int]) -> None:
        coordinator.announce(server)
        assert not await coordinator.reached("connect", ["one"], 2 * WITHIN_S)  # `lead` gives up before

    lead(["one"], scenario)


@pytest.mark.process
def test_who_joins_after_the_trial_was_called_off_is_told_so() -> None:
    async def scenario(coordinator: Coordinator, address: tuple[str, int]) -> None:
        coordinator.announce(SERVER)
        coordinator.tell("stop")
        async with joined(plan_of(coordinator, address, "one")) as late:
            with pytest.raises(ControlClosed, match="called off"):
                await late.step("connect")

    lead(["one"], scenario)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"token": "wrong"}, id="a wrong token"),
        pytest.param({"name": "stranger"}, id="an unknown name"),
        pytest.param({}, id="a name that is taken"),
    ],
)
@pytest.mark.process
def test_who_is_not_expected_is_not_let_in(changed: dict[str, str]) -> None:
    async def scenario(coordinator: Coordinator, address: tuple[str, int]) -> None:
        async with joined(plan_of(coordinator, address, "one")) as known:
            coordinator.announce(SERVER)
            assert (await known.step("connect"))["url"] == SERVER.url

            def intrude() -> None:
                with joined_blocking(plan_of(coordinator, address, **{"name": "one"} | changed)) as channel:
                    channel.hear()

            with pytest.raises(ControlClosed, match="gone"):
                await asyncio.to_thread(intrude)
            known.say(done="connect")  # and whoever was there stays
            assert await coordinator.done("connect", ["one"], WITHIN_S)
            assert not coordinator.is_gone("one")

    lead(["one"], scenario)
