"""MQTT: all clients are connected to a broker, publish to it, and subscribe at it.

Read in this order:
    mqtt.py             this file: `serve`
    mqtt_broker.py      what all connections share: the clients, who subscribed, the retained messages
    mqtt_connection.py  one connection: what each packet does
    mqtt_session.py     the guarantees: QoS 1 and 2, the in-flight limit, what waits for a client that is away or slow
    mqtt_websocket.py   the same over WebSocket, for pages in a browser
    mqtt_topics.py      which subscribers a topic has
    rtbench/wire/mqtt.py  the packets, bytes to values and back

A message takes this path, all within one turn of the event loop:

    data_received -> _on_publish -> Broker.publish -> Session.deliver (each subscriber) -> transport.write

The broker speaks all of MQTT 3.1.1 (OASIS standard, 29 October 2014). It keeps everything in memory: when it stops, it
forgets. Its metrics are on `$SYS/broker/...`: a new subscriber gets them at once, and then every ten seconds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

from rtbench.transports import BACKLOG, Option, ServerContext, server_url
from rtbench.transports.access import Access, AllowHost, AllowOrigin, Password, Username
from rtbench.transports.permissions import AccessList, Users, permissions_of

from .mqtt_broker import Broker, by_hand, software
from .mqtt_connection import Connection
from .mqtt_session import Limits
from .mqtt_websocket import Opening

__all__ = ["OWN_FORMAT", "Broker", "by_hand", "serve", "software"]

OWN_FORMAT = ("websocket",)

TLS_HANDSHAKE_WITHIN_S = 10.0

MaxInflight = Annotated[int, Option("messages in flight for one client", metavar="N", above=0, most=65_535)]
MaxQueued = Annotated[int, Option("messages that wait for one client", metavar="N", above=0, most=10**9)]
MaxQueuedBytes = Annotated[
    int, Option("bytes of these, and of those not yet acknowledged", metavar="BYTES", above=0, most=2**40)
]
MaxUnreleased = Annotated[
    int, Option("bytes of QoS 2 messages of one client before PUBREL", metavar="BYTES", above=0, most=2**40)
]
MaxSubscriptions = Annotated[int, Option("bytes of one client's topic filters", metavar="BYTES", above=0, most=2**40)]
OverWebSocket = Annotated[bool, Option("its URL is for MQTT over WebSocket", metavar="yes|no")]
MaxRetained = Annotated[int, Option("bytes of all retained messages", metavar="BYTES", above=0, most=2**40)]


@asynccontextmanager
async def serve(
    listener: socket.socket,
    *,
    username: Username = None,
    password: Password = None,
    users: Users = None,
    access_list: AccessList = None,
    max_queued_messages: MaxQueued = 100_000,
    max_inflight_messages: MaxInflight = 20,
    max_queued_bytes: MaxQueuedBytes = 64 * 2**20,
    max_unreleased_bytes: MaxUnreleased = 32 * 2**20,
    max_subscription_bytes: MaxSubscriptions = 8 * 2**20,
    max_retained_bytes: MaxRetained = 256 * 2**20,
    websocket: OverWebSocket = False,
    allow_origin: AllowOrigin = None,
    allow_host: AllowHost = None,
    tls: ServerContext | None = None,
) -> AsyncIterator[str]:
    """Relay between MQTT clients until left; yield the URL.

    Args:
        listener: the listening socket.
        username: the one user who may connect; None for everybody.
        password: that user's password.
        users: a file of several users (`rtbench.transports.permissions`).
        access_list: a file of what each may publish, and subscribe to. SUBACK says 128 to a filter that is forbidden;
            PUBLISH on a forbidden topic ends the connection [MQTT-3.3.5-2], so that its client knows.
        max_queued_messages: messages that may wait for one client while it is away or slow; the broker drops those
            above it, and counts them on `$SYS/broker/publish/messages/dropped`.
        max_inflight_messages: messages at QoS 1 and 2 that are sent to one client and not yet finished; the next wait.
            The default is that of mosquitto and of paho.
        max_queued_bytes: bytes of these messages and of those that the client has not acknowledged; dropped and
            counted likewise. A message is counted with its topic and 400 bytes.
        max_unreleased_bytes: bytes of QoS 2 messages that one client may send without PUBREL. The broker closes the
            connection of a client that sends more [MQTT-4.8.0-2]; one message is always taken.
        max_subscription_bytes: bytes of the topic filters of one client, with 512 for each of their levels; SUBACK
            says 128 to those above it, and to any filter of more than 200 levels.
        max_retained_bytes: bytes of all retained messages; one too many is delivered, not retained, and counted
            as dropped.
        websocket: the URL is one of WebSocket. The server takes both, whatever the URL: MQTT, and MQTT over WebSocket
            with the subprotocol `mqtt` at any path.
        allow_origin: pages of these origins may connect, besides those of the server's own address.
        allow_host: names of the server in `Host`, besides its address and localhost.
        tls: with it, every connection is TLS.

    Raises:
        UsageError: as `permissions_of`.
    """
    permissions = permissions_of(username, password, users, access_list)
    limits = Limits(
        max_queued_messages,
        max_inflight_messages,
        max_queued_bytes,
        max_unreleased_bytes,
        max_subscription_bytes,
        max_retained_bytes,
    )
    broker = Broker(limits, permissions)
    access = Access(listener, allow_origin=allow_origin, allow_host=allow_host)
    connection = partial(Connection, broker)
    waiting: set[asyncio.Transport] = set()
    make = partial(Opening, connection, access, waiting)
    try:
        server = await asyncio.get_running_loop().create_server(
            make,
            sock=listener,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=TLS_HANDSHAKE_WITHIN_S if tls else None,
        )
        try:
            yield server_url("ws", listener, tls) if websocket else server_url("mqtt", listener, tls)
        finally:
            server.close()
            for transport in list(waiting):
                transport.abort()
    finally:
        await broker.close()
