"""What the MQTT client puts between paho and its socket: the reads of a packet, and the stamp of each message."""

from __future__ import annotations

import asyncio
import inspect
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from rtbench.system.meter import Meter, MeteredSocket
from rtbench.system.tls import client_context
from rtbench.transports import registry
from rtbench.trial.server_process import server_process
from rtbench.wire import mqtt
from tests.connecting import connect

WITHIN_S = 20.0
PINGRESP = b"\xd0\x00"


def publish(content: bytes) -> bytes:
    return mqtt.encode(mqtt.Publish("t", content))


class Reader:
    """Paho with nothing but a socket, and what it has heard."""

    def __init__(self, sock: MeteredSocket) -> None:
        self.heard: list[bytes] = []
        self.paho = cast(Any, Client(CallbackAPIVersion.VERSION2))
        self.paho._sock = sock
        client: Any = inspect.getmodule(registry.client("mqtt").connect)
        metering: Any = inspect.getmodule(client.meter_client)
        self.paho._sock_recv = metering.packet_reader(self.paho, sock)
        self.paho.on_message = lambda _client, _userdata, message: self.heard.append(message.payload)

    def read(self) -> None:
        assert self.paho.loop_read() == MQTTErrorCode.MQTT_ERR_SUCCESS


@contextmanager
def connected() -> Iterator[tuple[socket.socket, MeteredSocket, Reader]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        MeteredSocket(socket.AF_INET, socket.SOCK_STREAM) as sock,
    ):
        sock.connect(listener.getsockname())
        sock.setblocking(False)
        sock.stamp()
        broker, _ = listener.accept()
        with broker:
            broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield broker, sock, Reader(sock)


CONTENTS = [b"", b"x", b"y" * 120, b"z" * 130, b"w" * 20_000]


@pytest.mark.parametrize("content", CONTENTS, ids=[f"{len(c)} bytes" for c in CONTENTS])
@pytest.mark.process
def test_a_packet_is_read_however_it_is_cut(content: bytes) -> None:
    packet = publish(content)
    with connected() as (broker, sock, reader):
        for cut in range(1, min(len(packet), 12)):
            for part in (packet[:cut], packet[cut:]):
                broker.sendall(part)
                while sock.recv(len(part), socket.MSG_PEEK) != part:
                    pass  # it is under way
                reader.read()
        assert reader.heard == [content] * (min(len(packet), 12) - 1)


@pytest.mark.process
def test_a_packet_that_comes_byte_by_byte_is_read() -> None:
    with connected() as (broker, sock, reader):
        for byte in publish(b"a" * 200) + PINGRESP + publish(b"b"):
            broker.sendall(bytes([byte]))
            while not sock.recv(1, socket.MSG_PEEK):
                pass
            reader.read()
        assert reader.heard == [b"a" * 200, b"b"]


@pytest.mark.process
def test_nothing_of_the_next_packet_is_read() -> None:
    with connected() as (broker, sock, reader):
        second = publish(b"second")
        broker.sendall(publish(b"first") + PINGRESP + second)
        reader.paho._packet_read()
        reader.paho._packet_read()
        assert reader.heard == [b"first"]
        assert sock.recv(100, socket.MSG_PEEK) == second


@pytest.mark.skipif(sys.platform != "linux", reason="Linux stamps what arrives")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.process
def test_a_message_that_waits_keeps_its_own_stamp(tls: bool) -> None:
    async def main() -> None:
        async with (
            server_process("mqtt", "embedded", tls=tls) as server,
            connect("mqtt", server.url, Meter(client_context(server.ca))) as both,
            asyncio.timeout(WITHIN_S),
        ):
            stream: Any = await both.subscribe("t")
            between_ns = []
            for n in range(3):
                await both.publish("t", b"%d" % n)
                while len(stream) <= n:  # the library has it, and the application has taken none
                    await asyncio.sleep(0)
                between_ns.append(time.time_ns())
            arrived_ns = [(await anext(stream))[3] for _ in range(3)]
        times = [time_ns for pair in zip(arrived_ns, between_ns, strict=True) for time_ns in pair]
        assert times == sorted(times)

    asyncio.run(main())
