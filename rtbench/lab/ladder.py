"""The ladder of one message: what passed the link of a lane meanwhile, read by the wire formats."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rtbench.wire import mqtt, websocket

PUBLISHER, SUBSCRIBER = "publisher", "subscriber"
MOST_TEXT = 400  # characters of a step that are shown
_CONTROL = {websocket.CLOSE: "CLOSE", websocket.PING: "PING", websocket.PONG: "PONG"}


@dataclass(frozen=True)
class Step:
    """What one end sent at once: a packet, a frame, or a part of HTTP. `bytes` are those of the stream."""

    bytes: int
    title: str
    text: str


def steps(transport: str, publish_port: int, noted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps of a trace in order, as the page draws them.

    Each has `at_ms` (since the first), `who` (`publisher` or `subscriber`: the port at which the page connected),
    `up` (the page sent it), `connection`, and the fields of `Step`.
    """
    read = _READERS.get(transport, _read_http)
    readers: dict[tuple[int, bool], Any] = {}
    found = []
    for row in noted:
        data = base64.b64decode(row["data"])
        reader = readers.setdefault((row["connection"], row["up"]), read(row["up"]))
        who = PUBLISHER if row["port"] == publish_port else SUBSCRIBER
        at_ms = (row["at_ns"] - noted[0]["at_ns"]) / 1e6
        for step in reader.read(data, row["bytes"]):
            found.append({"at_ms": at_ms, "who": who, "up": row["up"], "connection": row["connection"], **vars(step)})
    return found


class _Http:
    """Requests up, answers and pieces of a stream down: each chunk of the connection is a step."""

    def __init__(self, up: bool) -> None:
        self._up = up

    def read(self, data: bytes, size_bytes: int) -> Iterator[Step]:
        text = data.decode("utf-8", "replace")
        first, _, rest = text.partition("\r\n")
        is_head = (first.endswith("HTTP/1.1") and self._up) or first.startswith("HTTP/1.1 ")
        title = first.removesuffix(" HTTP/1.1").removeprefix("HTTP/1.1 ") if is_head else "more of the answer"
        yield Step(size_bytes, title, _shown(rest if is_head else text))


class _WebSocket:
    """Frames; before them the upgrade, which is HTTP."""

    def __init__(self, up: bool) -> None:
        self._up = up
        self._http = _Http(up)
        self._reader = websocket.Reader(masked=up)

    def read(self, data: bytes, size_bytes: int) -> Iterator[Step]:
        if data.startswith((b"GET ", b"HTTP/1.1 ")):
            yield from self._http.read(data, size_bytes)
            return
        try:
            for opcode, payload in self._reader.feed(data):
                yield from self._frame(opcode, payload)
        except ValueError as error:
            yield Step(size_bytes, "not read", str(error))

    def _frame(self, opcode: int, payload: bytes) -> Iterator[Step]:
        size_bytes = websocket.frame_bytes(len(payload), self._up)
        kind = _CONTROL.get(opcode, "frame")
        yield Step(size_bytes, kind, _shown(payload.decode("utf-8", "replace")))


class _Mqtt(_WebSocket):
    """Packets of MQTT in the frames of WebSocket."""

    def __init__(self, up: bool) -> None:
        super().__init__(up)
        self._packets = mqtt.Reader()

    def _frame(self, opcode: int, payload: bytes) -> Iterator[Step]:
        if opcode != websocket.BINARY:
            yield from super()._frame(opcode, payload)
            return
        framing = websocket.frame_bytes(len(payload), self._up) - len(payload)
        for first, body in self._packets.feed(payload):
            packet = mqtt.decode(first, body)
            size_bytes = len(mqtt.encode(packet)) + framing
            framing = 0  # that of the frame is counted once
            yield Step(size_bytes, type(packet).__name__.upper(), _shown(_told(packet)))


def _told(packet: mqtt.Packet) -> str:
    """Return the fields of a packet, a line each, without passwords."""
    lines = []
    for each in fields(packet):
        value = getattr(packet, each.name)
        if each.name == "password" or value is None or value is False:
            continue
        lines.append(
            f"{each.name.replace('_', ' ')}: {value.decode('utf-8', 'replace') if isinstance(value, bytes) else value}"
        )
    return "\n".join(lines)


def _shown(text: str) -> str:
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text.replace("\r\n", "\n")).strip()
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]} ..."


def _read_http(up: bool) -> _Http:
    return _Http(up)


_READERS = {"websocket": _WebSocket, "mqtt": _Mqtt}
