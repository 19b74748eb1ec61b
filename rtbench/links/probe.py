"""Probe: a process at one side of a link, which sends and receives there for a measurement or as a witness.

One probe listens at the server's side: it sends short data back, and notes when long data came. Another connects from
the clients' side: it pings, notes when something comes, and watches a connection. Both send bursts. A probe imports
little, so that it starts fast.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from rtbench.system.answering import answer_all

PING = b"p"
DATAGRAM_BYTES = 1472  # with the headers of IPv4 and UDP it fills an Ethernet frame
PING_DATAGRAM_BYTES = 4
_READ_BYTES = 2**18
_POLL_S = 1e-3
_RETRY_S = 5e-3


class Probe:
    """What a probe does: each public method answers a question."""

    def __init__(self) -> None:
        self._peer: tuple[socket.socket, Any] | None = None  # who is sent to, by address if by datagrams
        self._heard: list[tuple[int, int]] = []  # when something came, and how many bytes or which datagram

    def enter(self, user: str, network: str) -> dict[str, Any]:
        """Be in namespaces from now on; the first thing that is asked, since a thread cannot."""
        from rtbench.links.link import Namespaces  # here, since few links have them
        from rtbench.links.namespaces import enter

        enter(Namespaces(user, network))
        return {}

    def listen(self, host: str) -> dict[str, Any]:
        """Take connections and datagrams on a free port."""
        listening = socket.create_server((host, 0))
        port = listening.getsockname()[1]
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind((host, port))
        Thread(target=self._accept, args=(listening,), daemon=True).start()
        Thread(target=self._hear_datagrams, args=(datagrams, True), daemon=True).start()
        return {"port": port}

    def connect(self, host: str, port: int, datagrams: bool) -> dict[str, Any]:
        """Connect to a probe that listens; a stream is open when a first ping has come back."""
        if datagrams:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect((host, port))
            Thread(target=self._hear_datagrams, args=(sock, False), daemon=True).start()
        else:
            sock = _connected(host, port)
            Thread(target=self._hear_stream, args=(sock, False), daemon=True).start()
        self._peer = sock, None
        return {} if datagrams else self.ping(1, 0, 60)

    def ping(self, count: int, interval_s: float, wait_s: float) -> dict[str, Any]:
        """Ping at even intervals; wait so long for the last answer; return when each was sent, and what came when."""
        assert self._peer is not None
        sock = self._peer[0]
        datagrams = sock.type == socket.SOCK_DGRAM
        self._heard.clear()
        sent_ns = []
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(began + number * interval_s - time.monotonic(), 0))
            sent_ns.append(time.monotonic_ns())
            sock.send(number.to_bytes(PING_DATAGRAM_BYTES, "big") if datagrams else PING)
        return {"sent_ns": sent_ns, **self.heard(count, wait_s)}

    def burst(self, count: int, interval_s: float) -> dict[str, Any]:
        """Send `count` datagrams, or as many bytes at once on a stream, to whom this probe is connected."""
        assert self._peer is not None
        sock, address = self._peer
        if sock.type == socket.SOCK_STREAM:
            sock.sendall(bytes(count))
            return {}
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(began + number * interval_s - time.monotonic(), 0))
            datagram = number.to_bytes(PING_DATAGRAM_BYTES, "big").ljust(DATAGRAM_BYTES, b"\0")
            sock.send(datagram) if address is None else sock.sendto(datagram, address)
        return {}

    def heard(self, count: int, wait_s: float) -> dict[str, Any]:
        """Wait until so many bytes or datagrams came, but not for long; return all that came, and forget it."""
        by_bytes = self._peer is not None and self._peer[0].type == socket.SOCK_STREAM
        ends = time.monotonic() + wait_s
        while time.monotonic() < ends:
            if (sum(size for _, size in self._heard) if by_bytes else len(self._heard)) >= count:
                break
            time.sleep(_POLL_S)
        heard, self._heard = self._heard, []
        return {"heard": heard}

    def _accept(self, listening: socket.socket) -> None:
        while True:
            sock, _ = listening.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peer = sock, None
            Thread(target=self._hear_stream, args=(sock, True), daemon=True).start()

    def _hear_stream(self, sock: socket.socket, answers: bool) -> None:
        try:
            while data := sock.recv(_READ_BYTES):
                if answers and data.startswith(PING):
                    sock.sendall(data)
                else:
                    self._heard.append((time.monotonic_ns(), len(data)))
        except OSError:
            pass
        finally:
            sock.close()

    def _hear_datagrams(self, sock: socket.socket, answers: bool) -> None:
        while True:
            try:
                data, address = sock.recvfrom(DATAGRAM_BYTES)
                if answers and len(data) == PING_DATAGRAM_BYTES:
                    self._peer = sock, address
                    sock.sendto(data, address)
                else:
                    self._heard.append((time.monotonic_ns(), int.from_bytes(data[:PING_DATAGRAM_BYTES], "big")))
            except OSError:  # such as a refusal that came back (ICMP)
                continue

    def watch(self, host: str, port: int, interval_s: float, still_s: float) -> dict[str, Any]:
        """Ping from now on, and note each gap; answer when the first pong has come."""
        self._watched = Watched(round(1e9 * still_s))
        Thread(target=self._watched.watch, args=(host, port, interval_s), daemon=True).start()
        return {"answered": self._watched.answered.wait(60)}

    def gaps(self) -> dict[str, Any]:
        """Return the gaps so far."""
        return {"gaps": self._watched.gaps()}


class Watched:
    """A connection with pings: a gap is a time without pongs that is too long, or in which it was reset."""

    def __init__(self, still_ns: int) -> None:
        self.answered = Event()
        self._still_ns = still_ns
        self._gaps: list[tuple[int, int | None, bool]] = []
        self._last_ns = time.monotonic_ns()
        self._reset = False

    def watch(self, host: str, port: int, interval_s: float) -> None:
        """Ping for ever; connect anew when the connection ends."""
        while True:
            try:
                with _connected(host, port) as sock:
                    sock.setblocking(False)
                    self._ping(sock, interval_s)
            except ConnectionRefusedError:
                time.sleep(_RETRY_S)
            except OSError:
                pass
            self._reset = True

    def gaps(self) -> list[tuple[int, int | None, bool]]:
        """Return the last pong before and the first pong after each gap, and whether there was a reset in it."""
        under_way = self._gap(time.monotonic_ns())
        return [*self._gaps, *([(self._last_ns, None, self._reset)] if under_way else [])]

    def _ping(self, sock: socket.socket, interval_s: float) -> None:
        following = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= following:
                following = max(following + interval_s, now)
                with suppress(BlockingIOError):
                    sock.send(PING)
            if select.select([sock], [], [], max(following - now, 0))[0]:
                if not sock.recv(_READ_BYTES):
                    return
                self._pong()

    def _pong(self) -> None:
        now_ns = time.monotonic_ns()
        if self.answered.is_set() and self._gap(now_ns):
            self._gaps.append((self._last_ns, now_ns, self._reset))
        self._last_ns, self._reset = now_ns, False
        self.answered.set()

    def _gap(self, now_ns: int) -> bool:
        return self._reset or now_ns - self._last_ns > self._still_ns


def _connected(host: str, port: int) -> socket.socket:
    sock = socket.create_connection((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


if __name__ == "__main__":
    probe = Probe()
    answer_all(lambda question: getattr(probe, question.pop("do"))(**question))
