"""The relay of the packet link: a process that moves IP packets between two namespaces (Linux).

`python -m rtbench.links.packet_relay` reads one JSON line from standard input (`{"network": ..., "seed": ...}`), makes
the namespaces and a TUN interface in each, and answers with one JSON line: `{"answer": {"server": {"host": ...,
"namespaces": {...}}, "clients": {...}}}` or `{"error": ...}`. Each further line is a question, answered likewise:

    {"ask": "plan", "faults": [[at_ns, {"kind": "stall", "at_s": 2, "for_s": 1, "share": 1}], ...]}
    {"ask": "done"}
    {"ask": "counts"}

When standard input ends, the process ends, and with it the interfaces and the namespaces that it holds. A pipe ends
with the process that holds it, so they do not outlive the bench.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import sys
from collections.abc import Mapping
from dataclasses import asdict
from time import monotonic_ns
from typing import Any

from rtbench.errors import Error
from rtbench.links.delay_queue import NEVER_NS, DelayQueue
from rtbench.links.link import Place
from rtbench.links.namespaces import make_network, make_user
from rtbench.links.packet_faults import Faults
from rtbench.links.packets import SYN, Seen, answer_to_late, flow_of, segment_of
from rtbench.links.tun import open_tun
from rtbench.plan.faults import Fault
from rtbench.plan.network import Network

CLIENTS, SERVER, NETMASK = "10.77.0.1", "10.77.0.2", "255.255.255.252"
EARLY_NS = 300_000  # wakes up so long before a packet is due, and polls until then
_AT_ONCE = 32  # packets that it reads, or delivers, before it looks at the other direction and at the faults
_PACKET_BYTES = 2048  # more than any packet that the interfaces have
_IPV4 = 4
_STDIN, _STDOUT = 0, 1
_PR_SET_TIMERSLACK = 29


class Direction:
    """The packets from one interface to the other."""

    def __init__(self, source: int, target: int, queue: DelayQueue[bytes]) -> None:
        self.source, self.queue = source, queue
        self.seen = Seen()  # always, not from a planned cut on: a connection may be silent in between
        self._target = target

    def read(self) -> None:
        """Put what waits in the interface into the queue. Only IPv4 counts: the kernel itself sends some IPv6."""
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(self.source, _PACKET_BYTES)
            except BlockingIOError:
                return
            if packet[0] >> 4 == _IPV4 and self._may_pass(packet):
                self.queue.put(monotonic_ns(), packet, len(packet))

    def _may_pass(self, packet: bytes) -> bool:
        """Note what is sent on a connection; answer what comes late on one that was cut."""
        flow = flow_of(packet)
        if flow is None:
            return True
        if flow in self.seen.cut:
            if not segment_of(packet).flags & SYN:
                for answer in answer_to_late(packet):
                    os.write(self.source, answer)
                return False
            self.seen.cut.discard(flow)  # the ports are used again
        self.seen.sent[flow] = packet
        return True

    def deliver(self, now_ns: int, at_most: int = sys.maxsize) -> int:
        """Write what is due into the other interface; return how many packets it was."""
        packets = self.queue.take(now_ns, at_most)
        for packet in packets:
            os.write(self._target, packet)
            if flow := flow_of(packet):
                self.seen.delivered[flow] = packet
        return len(packets)

    def inject(self, packet: bytes) -> None:
        """Write a packet into the other interface at once."""
        os.write(self._target, packet)


class Relay:
    """Both directions, the faults, and the questions on standard input."""

    def __init__(self, up: Direction, down: Direction) -> None:
        self._up, self._down = up, down
        self._faults = Faults(up, down)
        self._unread = b""

    def run(self) -> None:
        """Relay until standard input ends."""
        up, down = self._up, self._down
        while True:
            readable, _, _ = select.select([up.source, down.source, _STDIN], [], [], self._wait_s())
            for direction in (up, down):
                if direction.source in readable:
                    direction.read()
            if _STDIN in readable and not self._answer():
                return
            now_ns = monotonic_ns()
            self._faults.step(now_ns)
            if not self._faults.keeps:
                up.deliver(now_ns, _AT_ONCE)
                down.deliver(now_ns, _AT_ONCE)

    def _wait_s(self) -> float | None:
        next_ns = self._faults.next_ns
        if not self._faults.keeps:
            next_ns = min(next_ns, self._up.queue.due_ns, self._down.queue.due_ns)
        return None if next_ns == NEVER_NS else max(next_ns - EARLY_NS - monotonic_ns(), 0) / 1e9

    def _answer(self) -> bool:
        """Answer the questions that came; return False when there will be no more."""
        came = os.read(_STDIN, 65536)
        *lines, self._unread = (self._unread + came).split(b"\n")
        for line in lines:
            _say(answer=self._answer_to(json.loads(line)))
        return bool(came)

    def _answer_to(self, question: Mapping[str, Any]) -> Any:
        if question["ask"] == "plan":
            self._faults.plan([(at_ns, Fault(**fault)) for at_ns, fault in question["faults"]])
            return None
        if question["ask"] == "done":
            return [asdict(done) for done in self._faults.done]
        return {"up": self._up.queue.counts(), "down": self._down.queue.counts()}


def _make(network: Network, seed: str) -> tuple[Relay, Mapping[str, Place]]:
    make_user()
    places, devices = {}, {}
    for side, host in (("clients", CLIENTS), ("server", SERVER)):
        places[side] = Place(host, make_network())
        devices[side] = open_tun(host, NETMASK)
    up: DelayQueue[bytes] = DelayQueue(network, network.up_bps, f"{seed} up")
    down: DelayQueue[bytes] = DelayQueue(network, network.down_bps, f"{seed} down")
    relay = Relay(
        Direction(devices["clients"], devices["server"], up), Direction(devices["server"], devices["clients"], down)
    )
    return relay, places


def _say(**answer: Any) -> None:
    os.write(_STDOUT, json.dumps(answer).encode() + b"\n")


def _first_line() -> bytes:
    """Read one line of standard input, and no byte beyond it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(_STDIN, 1)):
        line += byte
    return line


def _main() -> None:
    try:
        request = json.loads(_first_line())
        relay, places = _make(Network(**request["network"]), request["seed"])
        _say(answer={side: asdict(place) for side, place in places.items()})
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # nanoseconds; it is 50 us without that
        gc.disable()  # nothing here makes cycles, and a collection would delay packets
        relay.run()
    except Exception as error:
        _say(error=str(error) if isinstance(error, Error) else f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _main()
