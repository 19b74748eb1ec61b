"""A client of `tcp` with blocking sockets and a selector: a process that publishes, and one that subscribes."""

from __future__ import annotations

import select
import selectors
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

from rtbench.plan import payload
from rtbench.plan.records import INDETERMINATE
from rtbench.transports.records import DELIVERY, PublisherPlan, PublisherRecord, SubscriberPlan, SubscriberRecord
from rtbench.trial.control import BlockingControlChannel, ControlClosed, joined_blocking

REPORT_EVERY_S = 0.2


def connected(url: str, role: str, topic: str) -> socket.socket:
    """Return a connection that publishes on a topic (role P) or subscribes to it (role S)."""
    address = urlsplit(url)
    sock = socket.create_connection((address.hostname, address.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(f"{role} {topic}\n".encode())
    return sock


def frame(content: bytes) -> bytes:
    """Return a message as it stands on the wire."""
    return len(content).to_bytes(4, "big") + content


def wait_until(due_ns: int, channel: BlockingControlChannel) -> None:
    """Wait until a message is due.

    Raises:
        ControlClosed: the trial was called off meanwhile.
    """
    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        if select.select([channel], [], [], left_ns / 1e9)[0] and channel.poll() is not None:
            raise ControlClosed("the trial was called off")


def publish(plan: PublisherPlan) -> PublisherRecord:
    """Run a publisher process."""
    record = PublisherRecord()
    with joined_blocking(plan) as channel, ExitStack() as stack:
        url = channel.step("connect")["url"]
        sockets = [stack.enter_context(connected(url, "P", topic)) for topic in plan.topics]
        channel.say(done="connect")
        channel.step("probe")
        for number, sock in zip(plan.publishers, sockets, strict=True):
            sock.sendall(frame(payload.build(number, payload.PROBE, 0, plan.payload_bytes)))
        channel.say(done="probe")
        start_ns = channel.step("start")["at_ns"]
        began_ns = time.process_time_ns()
        due = sorted((start_ns + t, i, n) for i, times in enumerate(plan.due_ns) for n, t in enumerate(times))
        for due_ns, i, sequence in due:
            content = payload.build(plan.publishers[i], sequence, due_ns, plan.payload_bytes)
            wait_until(due_ns, channel)
            ready_ns = time.monotonic_ns()
            sockets[i].sendall(frame(content))
            done_ns = time.monotonic_ns()
            record.publisher.append(plan.publishers[i])
            record.sequence.append(sequence)
            for column, value in (
                (record.due_ns, due_ns),
                (record.ready_ns, ready_ns),
                (record.sent_ns, ready_ns),
                (record.done_ns, done_ns),
                (record.status, INDETERMINATE),
            ):
                column.append(value)
        record.usage.cpu_ns = time.process_time_ns() - began_ns
        channel.say(done="start", unfinished=0)
        channel.step("stop")
    return record


class Subscription:
    """One connection, and what has come of its next message."""

    def __init__(self, number: int, sock: socket.socket, plan: SubscriberPlan, record: SubscriberRecord) -> None:
        self.number, self.sock, self.plan, self.record = number, sock, plan, record
        self.received = bytearray()
        self.probes = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    def read(self) -> None:
        """Read once, and record every message that is whole."""
        self.received += self.sock.recv(65536)
        while len(self.received) >= 4:
            end = 4 + int.from_bytes(self.received[:4], "big")
            if len(self.received) < end:
                break
            self.take(bytes(self.received[4:end]))
            del self.received[:end]

    def take(self, content: bytes) -> None:
        record = self.record
        record.rows += DELIVERY.pack(time.monotonic_ns(), 0, self.number, content[: payload.HEADER_BYTES])
        if len(content) != self.plan.payload_bytes:
            record.corrupt.append(len(record) - 1)
        self.probes += payload.is_probe(content)


def subscribe(plan: SubscriberPlan) -> SubscriberRecord:
    """Run a subscriber process."""
    record = SubscriberRecord()
    with joined_blocking(plan) as channel, ExitStack() as stack, selectors.DefaultSelector() as selector:
        url = channel.step("connect")["url"]
        subscriptions = []
        for number, topic in zip(plan.subscribers, plan.topics, strict=True):
            sock = stack.enter_context(connected(url, "S", topic))
            assert sock.recv(1) == b"\n"  # the server has subscribed it
            subscriptions.append(Subscription(number, sock, plan, record))
            selector.register(subscriptions[-1], selectors.EVENT_READ)
        selector.register(channel, selectors.EVENT_READ)
        channel.say(done="connect")

        def turn() -> str | None:
            """Read what is there, within a while; return a step of the coordinator."""
            for key, _ in selector.select(REPORT_EVERY_S):
                if isinstance(key.fileobj, Subscription):
                    key.fileobj.read()
                elif (message := channel.poll()) is not None:
                    return str(message["step"])
            return None

        while any(s.probes < wanted for s, wanted in zip(subscriptions, plan.probes, strict=True)):
            if turn() is not None:
                raise ControlClosed("the trial was called off")
        channel.say(done="probe")
        channel.step("start")
        probes, finished, reported_s, began_ns = len(record), False, 0.0, time.process_time_ns()
        while turn() != "stop":
            count = len(record) - probes
            if not finished and count >= plan.expected:
                finished = True
                channel.say(count=count, done="start")
            elif time.monotonic() - reported_s > REPORT_EVERY_S:
                reported_s = time.monotonic()
                channel.say(count=count)
        record.usage.cpu_ns = time.process_time_ns() - began_ns
    return record
