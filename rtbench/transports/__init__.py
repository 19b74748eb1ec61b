"""The one door for a transport from anywhere: the contract, and what a server or a client may use.

    contract.py   what the modules of a transport define; the connection and the message
    options.py    how they declare their options
    session.py    what an application keeps of a client, so that its next connection continues where the last ended
    records.py    what a whole client process is asked to do, and what it gives back
    feed.py       the stored side of a relay: one bounded feed a topic
    access.py     who may use a server that speaks HTTP
    attempts.py   an attempt to use a server, allowed or not, and what became of it
    permissions.py  which users a server knows, and on which topics each may publish and subscribe
    relay_log.py  when a server relayed each message of a trial
    serving.py    the socket to listen on, and the URL
    registry.py   the installed transports, found by their entry points
    choice.py     which variants of them a user asked for

A module of a transport needs no other import of rtbench than the names below, and `rtbench.errors`.
"""

from rtbench.system.direct import Watcher, watcher
from rtbench.system.meter import Meter, MeteredSocket, receive
from rtbench.system.tls import ServerContext, TlsPipe, TlsSocket
from rtbench.transports.attempts import Attempt, Outcome
from rtbench.transports.contract import Connection, Deliver, Done, Ended, Message, refuse_wildcards
from rtbench.transports.feed import Batch, Feed, Feeds
from rtbench.transports.options import Option
from rtbench.transports.relay_log import relayed
from rtbench.transports.serving import BACKLOG, server_url
from rtbench.transports.session import Session
from rtbench.wire.traffic import Flow, Predicted, Steady, Traffic, flow, total

__all__ = [
    "BACKLOG",
    "Attempt",
    "Batch",
    "Connection",
    "Deliver",
    "Done",
    "Ended",
    "Feed",
    "Feeds",
    "Flow",
    "Message",
    "Meter",
    "MeteredSocket",
    "Option",
    "Outcome",
    "Predicted",
    "ServerContext",
    "Session",
    "Steady",
    "TlsPipe",
    "TlsSocket",
    "Traffic",
    "Watcher",
    "flow",
    "receive",
    "refuse_wildcards",
    "relayed",
    "server_url",
    "total",
    "watcher",
]
