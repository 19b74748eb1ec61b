"""The relay process of a packet link: moves IP packets between two TUN devices, one in each network namespace.

`python -m rtbench.links.packet_relay` reads one JSON line from standard input (network, seed), answers with one
(`{"user": FILE, "clients": FILE, "server": FILE}`: the namespaces, or `{"error": ...}`), and relays until standard
input ends. Further lines are questions: `{"faults": [[at_ns, text], ...]}` plans faults, `{}` asks what passed and what
was done. The process holds the namespaces: they end with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
import time
from contextlib import suppress
from typing import Any

from rtbench.links import namespaces
from rtbench.links.line import Line
from rtbench.links.packets import Flows
from rtbench.plan.faults import Fault, parse_fault
from rtbench.plan.network import Network

_EARLY_NS = 60_000  # a sleeping process wakes up that late: it polls from here on
_AT_ONCE = 64  # packets that are read before those that are due are written
_MOST_BYTES = 65_536
_PR_SET_TIMERSLACK = 29


class Relay:
    """Two lines between two devices, and the faults that are planned."""

    def __init__(self, network: Network, seed: str, clients: int, server: int) -> None:
        self.up, self.down = Line(network, False, seed), Line(network, True, seed)
        self._ways = ((clients, self.up, server), (server, self.down, clients))
        self._planned: list[tuple[int, Fault]] = []
        self._flows: Flows | None = None
        self._held_until_ns = self._dark_until_ns = 0
        self._dropped = 0
        self.done: list[dict[str, Any]] = []

    def plan(self, faults: list[tuple[int, Fault]]) -> None:
        """Do faults at times of CLOCK_MONOTONIC."""
        self._planned = sorted(faults, key=lambda each: each[0])
        if any(fault.kind == "cut" for _, fault in faults):
            self._flows = Flows()

    def run(self) -> None:
        """Relay until standard input ends."""
        questions = b""
        while True:
            self._deliver()
            ready, _, _ = select.select([0, *(source for source, _, _ in self._ways)], [], [], self._sleep_s())
            now_ns = time.monotonic_ns()
            for source, line, _ in self._ways:
                if source in ready:
                    self._read(source, line, now_ns)
            if 0 in ready:
                if not (heard := os.read(0, 65_536)):
                    return
                *lines, questions = (questions + heard).split(b"\n")
                for question in lines:
                    self._answer(json.loads(question))

    def _read(self, source: int, line: Line, now_ns: int) -> None:
        with suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                packet = os.read(source, _MOST_BYTES)
                if self._flows is not None:
                    self._flows.see(packet, delivered=False)
                line.send(packet, now_ns)

    def _sleep_s(self) -> float | None:
        """Return how long nothing is to be done; None: until something is read."""
        due = [line.under_way[0][0] for _, line, _ in self._ways if line.under_way]
        now_ns = time.monotonic_ns()
        if now_ns < self._held_until_ns:
            due = [self._held_until_ns] * bool(due)
        due += [at_ns for at_ns, _ in self._planned[:1]]
        return max(min(due) - now_ns - _EARLY_NS, 0) / 1e9 if due else None

    def _deliver(self) -> None:
        """Write what is due; do what is planned for now."""
        now_ns = time.monotonic_ns()
        while self._planned and self._planned[0][0] <= now_ns:
            self._break(self._planned.pop(0)[1], now_ns)
        if now_ns < self._held_until_ns:
            return
        for _, line, target in self._ways:
            under_way = line.under_way
            while under_way and under_way[0][0] <= now_ns:
                packet = under_way.popleft()[1]
                if now_ns < self._dark_until_ns:
                    self._dropped += 1
                    continue
                if self._flows is not None:
                    self._flows.see(packet, delivered=True)
                with suppress(OSError):  # the device takes no more: so does a full queue
                    os.write(target, packet)

    def _break(self, fault: Fault, now_ns: int) -> None:
        for_ns = round(1e9 * fault.for_s)
        counts: dict[str, int] = {}
        if fault.kind == "stall":
            self._held_until_ns = now_ns + for_ns
        elif fault.kind == "blackhole":
            self._dark_until_ns, self._dropped = now_ns + for_ns, 0
        else:
            counts = self._cut()
        self.done.append({"fault": str(fault), "began_ns": now_ns, "ended_ns": now_ns + for_ns, "counts": counts})

    def _cut(self) -> dict[str, int]:
        """Reset every TCP connection at both ends, and drop what is under way."""
        assert self._flows is not None
        dropped = sum(len(line.under_way) for _, line, _ in self._ways)
        for _, line, _ in self._ways:
            line.under_way.clear()
        resets, flows = self._flows.resets(), len(self._flows.delivered)
        self._flows = Flows()
        for packet in resets:
            target = self._ways[1][2] if packet[16:20] == _CLIENTS else self._ways[0][2]
            with suppress(OSError):
                os.write(target, packet)
        return {"flows": flows, "resets": len(resets), "packets_dropped": dropped}

    def _answer(self, question: dict[str, Any]) -> None:
        if "faults" in question:
            self.plan([(at_ns, parse_fault(text)) for at_ns, text in question["faults"]])
        _say({"up": self.up.counts, "down": self.down.counts, "done": self.done, "blackholed": self._dropped})


_CLIENTS = bytes((10, 77, 0, 1))
ADDRESSES = {"clients": "10.77.0.1", "server": "10.77.0.2"}


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _main() -> None:
    asked = json.loads(_first_line())
    try:
        namespaces.make_user_namespace()
        clients, clients_file = namespaces.tun_device("clients", ADDRESSES["clients"]), namespaces.network_file()
        namespaces.make_network_namespace()
        server, server_file = namespaces.tun_device("server", ADDRESSES["server"]), namespaces.network_file()
    except OSError as error:
        _say({"error": error.strerror or str(error)})
        return
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    here = f"/proc/{os.getpid()}"
    _say({"user": f"{here}/ns/user", "clients": f"{here}/fd/{clients_file}", "server": f"{here}/fd/{server_file}"})
    Relay(Network(**asked["network"]), asked["seed"], clients, server).run()


if __name__ == "__main__":
    _main()
