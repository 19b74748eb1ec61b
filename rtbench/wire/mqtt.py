"""MQTT 3.1.1 control packets: bytes to values and back, for client and server alike.

Rules of this file:
- No I/O: it knows no socket, no clock and no event loop. `Reader` takes bytes from anywhere.
- No session: other files decide whether a packet may come *now*. This one decides whether it may be sent at all, and
  raises `MalformedPacket` if not, for received packets and for those to send.
- Sections, and statements such as [MQTT-3.3.1-4], are those of the OASIS standard of 29 October 2014,
  http://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html

A stream is read in two steps, so that a reader who needs only the first byte of a packet decodes nothing else:

    for first, body in reader.feed(data):   # cut the stream into packets: first byte, and all after the fixed header
        packet = decode(first, body)        # decode one packet
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rtbench.wire.topics import is_topic_filter, is_topic_name

MAX_REMAINING_LENGTH = 268_435_455  # bytes; section 2.2.3: four digits of seven bits
PROTOCOL = b"\x00\x04MQTT"  # section 3.1.2.1
PROTOCOL_LEVEL = 4  # section 3.1.2.2

# Return codes of CONNACK, section 3.2.2.3
ACCEPTED = 0
UNACCEPTABLE_PROTOCOL = 1
IDENTIFIER_REJECTED = 2
SERVER_UNAVAILABLE = 3
BAD_CREDENTIALS = 4
NOT_AUTHORIZED = 5

ACKNOWLEDGEMENT_BYTES = 4  # PUBACK, PUBREC, PUBREL, PUBCOMP: fixed header and packet id, sections 3.4 to 3.7
PING_BYTES = 2  # PINGREQ, PINGRESP: sections 3.12 and 3.13

DUP = 0x08  # a flag in the first byte of PUBLISH, section 3.3.1.1
SUBSCRIPTION_FAILED = 0x80  # a return code of SUBACK, section 3.9.3


class MalformedPacket(ValueError):
    """The bytes, or the values to send, are not an MQTT 3.1.1 packet; the text says why.

    `return_code` is that of the CONNACK with which a server must answer; None where it must close without an answer.
    """

    def __init__(self, reason: str, return_code: int | None = None) -> None:
        super().__init__(reason)
        self.return_code = return_code


# --- The packets


@dataclass(frozen=True, slots=True)
class Will:
    """What the server publishes for a client whose connection ended without DISCONNECT: section 3.1.2.5."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """Client to server, the first packet: section 3.1. `keep_alive` is in seconds; 0 switches it off."""

    client_id: str
    clean_session: bool = True
    keep_alive: int = 0
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None


@dataclass(frozen=True, slots=True)
class Connack:
    """The server's answer to CONNECT: section 3.2."""

    session_present: bool
    return_code: int


@dataclass(frozen=True, slots=True)
class Publish:
    """A message, in either direction: section 3.3. `packet_id` is None at QoS 0, and only there."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int | None = None


@dataclass(frozen=True, slots=True)
class Puback:
    """The receiver has a QoS 1 message: section 3.4."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pubrec:
    """The receiver has a QoS 2 message: section 3.5."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pubrel:
    """The sender of a QoS 2 message keeps only its id: section 3.6."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pubcomp:
    """The receiver of a QoS 2 message keeps nothing of it: section 3.7."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Pairs of a topic filter and the highest QoS asked for: section 3.8."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Suback:
    """The granted QoS of each filter, or SUBSCRIPTION_FAILED: section 3.9."""

    packet_id: int
    return_codes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Topic filters to remove: section 3.10."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsuback:
    """The server has removed the filters: section 3.11."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Pingreq:
    """The client is alive: section 3.12."""


@dataclass(frozen=True, slots=True)
class Pingresp:
    """The server is alive: section 3.13."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The client is about to close the connection: section 3.14."""


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
)

# --- A stream of bytes into packets


class Reader:
    """Cuts a stream into packets; the stream may come in pieces of any size."""

    __slots__ = ("_rest", "_wanted", "limit")

    def __init__(self, limit: int = MAX_REMAINING_LENGTH) -> None:
        self.limit = limit  # bytes after the fixed header
        self._rest: bytes | bytearray = b""  # of a packet whose end has not come; mostly there is none
        self._wanted = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (first byte, all after the fixed header) of each packet that `data` completes.

        Raises:
            MalformedPacket: no packet starts with this byte, or the packet is above the limit. The packets before it
                were yielded; the rest of the stream cannot be read.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data, self._rest = bytes(self._rest), b""
        at, size = 0, len(data)
        while at < size:
            first = data[at]
            if _DECODERS[first] is None:
                raise MalformedPacket(f"no packet starts with the byte {first:#04x}")
            start, end = extent(data, at, size)
            if end - start > self.limit:
                raise MalformedPacket(f"a packet of {end - start} bytes, of which {self.limit} are allowed")
            if end > size:
                self._rest = bytearray(data[at:])
                self._wanted = end - at
                return
            yield first, data[start:end]
            at = end


def extent(data: bytes, at: int, size: int) -> tuple[int, int]:
    """Return where the body of a packet starts and ends; above `size` if a part of it is missing: section 2.2.3."""
    length = 0
    for digit in range(4):
        start = at + 2 + digit
        if start > size:
            return start, start
        byte = data[start - 1]
        length |= (byte & 0x7F) << 7 * digit
        if byte < 0x80:
            return start, start + length
    raise MalformedPacket("a remaining length of more than four bytes")


# --- Bytes into a packet


def decode(first: int, body: bytes) -> Packet:
    """Return the packet with this first byte and these bytes after the fixed header.

    Raises:
        MalformedPacket: the standard does not allow such a packet.
    """
    decoder = _DECODERS[first]
    if decoder is None:
        raise MalformedPacket(f"no packet starts with the byte {first:#04x}")
    return decoder(first, body)


def _number(body: bytes, at: int) -> tuple[int, int]:
    if at + 2 > len(body):
        raise MalformedPacket("truncated")
    return body[at] << 8 | body[at + 1], at + 2


def _packet_id(body: bytes, at: int) -> tuple[int, int]:
    packet_id, at = _number(body, at)
    if packet_id == 0:
        raise MalformedPacket("packet id 0")  # [MQTT-2.3.1-1]
    return packet_id, at


def _binary(body: bytes, at: int) -> tuple[bytes, int]:
    length, at = _number(body, at)
    if at + length > len(body):
        raise MalformedPacket("truncated")
    return body[at : at + length], at + length


def _text(body: bytes, at: int) -> tuple[str, int]:
    raw, at = _binary(body, at)
    try:
        text = raw.decode()  # [MQTT-1.5.3-1] refuses surrogates too; [MQTT-1.5.3-3] keeps U+FEFF
    except UnicodeDecodeError as error:
        raise MalformedPacket(f"not UTF-8: {error.reason}") from error
    if "\0" in text:
        raise MalformedPacket("U+0000 in a string")  # [MQTT-1.5.3-2]
    return text, at


def _topic_name(body: bytes, at: int) -> tuple[str, int]:
    topic, at = _text(body, at)
    if not is_topic_name(topic):
        raise MalformedPacket(f"not a topic name: {topic!r}")  # [MQTT-3.3.2-2], [MQTT-4.7.3-1]
    return topic, at


def _topic_filter(body: bytes, at: int) -> tuple[str, int]:
    topic_filter, at = _text(body, at)
    if not is_topic_filter(topic_filter):
        raise MalformedPacket(f"not a topic filter: {topic_filter!r}")  # section 4.7.1
    return topic_filter, at


def _finish(body: bytes, at: int) -> None:
    if at != len(body):
        raise MalformedPacket("bytes after the last field")


def _decode_connect(_first: int, body: bytes) -> Connect:
    if body[:6] != PROTOCOL:
        raise MalformedPacket("the protocol name is not MQTT")  # [MQTT-3.1.2-1]
    if len(body) < 10:
        raise MalformedPacket("truncated")
    level, flags = body[6], body[7]
    if level != PROTOCOL_LEVEL:
        # [MQTT-3.1.2-2]; what follows may have another layout, so do not read it
        raise MalformedPacket(f"protocol level {level}, not {PROTOCOL_LEVEL}", UNACCEPTABLE_PROTOCOL)
    _check_connect_flags(flags)
    keep_alive, at = _number(body, 8)
    client_id, at = _text(body, at)
    will, username, password = None, None, None
    if flags & 0x04:
        topic, at = _topic_name(body, at)
        payload, at = _binary(body, at)
        will = Will(topic, payload, flags >> 3 & 3, bool(flags & 0x20))
    if flags & 0x80:
        username, at = _text(body, at)
    if flags & 0x40:
        password, at = _binary(body, at)
    _finish(body, at)
    return Connect(client_id, bool(flags & 0x02), keep_alive, will, username, password)


def _check_connect_flags(flags: int) -> None:
    if flags & 0x01:
        raise MalformedPacket("reserved connect flag")  # [MQTT-3.1.2-3]
    if not flags & 0x04 and flags & 0x38:
        raise MalformedPacket("will QoS or will retain without a will")  # [MQTT-3.1.2-11], [-13], [-15]
    if flags & 0x18 == 0x18:
        raise MalformedPacket("will QoS 3")  # [MQTT-3.1.2-14]
    if flags & 0xC0 == 0x40:
        raise MalformedPacket("a password without a user name")  # [MQTT-3.1.2-22]


def _decode_connack(_first: int, body: bytes) -> Connack:
    if len(body) != 2 or body[0] > 1 or body[1] > NOT_AUTHORIZED:
        raise MalformedPacket("not two bytes of flags and return code")  # sections 3.2.2.1 and 3.2.2.3
    if body[0] and body[1]:
        raise MalformedPacket("a session is present, but the connection is refused")  # [MQTT-3.2.2-4]
    return Connack(bool(body[0]), body[1])


def _decode_publish(first: int, body: bytes) -> Publish:
    topic, at = _topic_name(body, 0)
    qos = first >> 1 & 3
    packet_id = None
    if qos:
        packet_id, at = _packet_id(body, at)
    return Publish(topic, body[at:], qos, bool(first & 0x01), bool(first & 0x08), packet_id)


def _decode_subscribe(_first: int, body: bytes) -> Subscribe:
    packet_id, at = _packet_id(body, 0)
    filters = []
    while at < len(body):
        topic_filter, at = _topic_filter(body, at)
        if at == len(body):
            raise MalformedPacket("truncated")
        if body[at] > 2:
            raise MalformedPacket(f"a subscription with QoS byte {body[at]:#04x}")  # [MQTT-3.8.3-4]
        filters.append((topic_filter, body[at]))
        at += 1
    if not filters:
        raise MalformedPacket("a SUBSCRIBE without a filter")  # [MQTT-3.8.3-3]
    return Subscribe(packet_id, tuple(filters))


def _decode_suback(_first: int, body: bytes) -> Suback:
    packet_id, at = _packet_id(body, 0)
    codes = tuple(body[at:])
    if not codes or not all(code in (0, 1, 2, SUBSCRIPTION_FAILED) for code in codes):
        raise MalformedPacket("a SUBACK without a code, or with one that is not 0, 1, 2 or 128")  # [MQTT-3.9.3-2]
    return Suback(packet_id, codes)


def _decode_unsubscribe(_first: int, body: bytes) -> Unsubscribe:
    packet_id, at = _packet_id(body, 0)
    filters = []
    while at < len(body):
        topic_filter, at = _topic_filter(body, at)
        filters.append(topic_filter)
    if not filters:
        raise MalformedPacket("an UNSUBSCRIBE without a filter")  # [MQTT-3.10.3-2]
    return Unsubscribe(packet_id, tuple(filters))


def _only_packet_id(kind: Callable[[int], Packet]) -> Callable[[int, bytes], Packet]:
    def decode_packet_id(_first: int, body: bytes) -> Packet:
        if len(body) != 2:
            raise MalformedPacket("a body that is not exactly a packet id")
        packet_id = body[0] << 8 | body[1]
        if packet_id == 0:
            raise MalformedPacket("packet id 0")  # [MQTT-2.3.1-1]
        return kind(packet_id)

    return decode_packet_id


def _empty(kind: Callable[[], Packet]) -> Callable[[int, bytes], Packet]:
    def decode_empty(_first: int, body: bytes) -> Packet:
        _finish(body, 0)
        return kind()

    return decode_empty


# A first byte that is not here has a reserved type or reserved flags: section 2.2, [MQTT-2.2.2-2]. PUBLISH with QoS 3
# is not allowed, [MQTT-3.3.1-4], and neither is PUBLISH with DUP at QoS 0, [MQTT-3.3.1-2].
_BY_FIRST_BYTE: dict[int, Callable[[int, bytes], Packet]] = {
    0x10: _decode_connect,
    0x20: _decode_connack,
    **{0x30 | flags: _decode_publish for flags in (0, 1, 2, 3, 4, 5, 10, 11, 12, 13)},
    0x40: _only_packet_id(Puback),
    0x50: _only_packet_id(Pubrec),
    0x62: _only_packet_id(Pubrel),
    0x70: _only_packet_id(Pubcomp),
    0x82: _decode_subscribe,
    0x90: _decode_suback,
    0xA2: _decode_unsubscribe,
    0xB0: _only_packet_id(Unsuback),
    0xC0: _empty(Pingreq),
    0xD0: _empty(Pingresp),
    0xE0: _empty(Disconnect),
}
_DECODERS = tuple(_BY_FIRST_BYTE.get(first) for first in range(256))


# --- A packet into bytes


def encode(packet: Packet) -> bytes:
    """Return the bytes of a packet.

    Raises:
        MalformedPacket: the standard does not allow such a packet.
    """
    return _ENCODERS[type(packet)](packet)


def publish_head(topic: str, payload_size: int, qos: int, *, retain: bool = False, dup: bool = False) -> bytes:
    """Return the bytes of a PUBLISH up to the packet id; at QoS 0, up to the payload.

    The packets to the subscribers of one message differ at most in the two bytes of the packet id that follow, so a
    server computes this once for each message: `head + packet_id.to_bytes(2, "big") + payload`.

    Raises:
        MalformedPacket: the standard does not allow such a packet.
    """
    if not is_topic_name(topic):
        raise MalformedPacket(f"not a topic name: {topic!r}")
    name = _encode_text(topic)
    if qos not in (0, 1, 2) or (dup and qos == 0):
        raise MalformedPacket(f"PUBLISH with QoS {qos} and DUP {dup}")  # [MQTT-3.3.1-4], [MQTT-3.3.1-2]
    first = 0x30 | dup << 3 | qos << 1 | retain
    return _fixed_header(first, len(name) + (2 if qos else 0) + payload_size) + name


def publish_bytes(topic: str, payload_bytes: int, qos: int) -> int:
    """Return the size in bytes of a PUBLISH: fixed header, topic, packet id above QoS 0, payload (section 3.3)."""
    remaining = 2 + len(topic.encode()) + (2 if qos else 0) + payload_bytes
    digits = 1 + (remaining > 0x7F) + (remaining > 0x3FFF) + (remaining > 0x1F_FFFF)  # table 2.4
    return 1 + digits + remaining


def _fixed_header(first: int, length: int) -> bytes:
    """Return the first byte and the remaining length, seven bits a byte: section 2.2.3."""
    if length > MAX_REMAINING_LENGTH:
        raise MalformedPacket(f"a packet of {length} bytes, of which {MAX_REMAINING_LENGTH} are allowed")
    header = bytearray([first])
    while length > 0x7F:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header)


def _framed(first: int, body: bytes) -> bytes:
    return _fixed_header(first, len(body)) + body


def _encode_packet_id(packet_id: int | None) -> bytes:
    if packet_id is None or not 0 < packet_id < 0x10000:
        raise MalformedPacket(f"not a packet id: {packet_id}")  # [MQTT-2.3.1-1]
    return packet_id.to_bytes(2, "big")


def _encode_binary(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise MalformedPacket(f"a field of {len(data)} bytes, of which 65535 are allowed")  # section 1.5.3
    return len(data).to_bytes(2, "big") + data


def _encode_text(text: str) -> bytes:
    if "\0" in text:
        raise MalformedPacket("U+0000 in a string")  # [MQTT-1.5.3-2]
    try:
        return _encode_binary(text.encode())
    except UnicodeEncodeError as error:
        raise MalformedPacket(f"not UTF-8: {error.reason}") from error  # [MQTT-1.5.3-1]


def _encode_filter(text: str) -> bytes:
    if not is_topic_filter(text):
        raise MalformedPacket(f"not a topic filter: {text!r}")
    return _encode_text(text)


def _encode_connect(packet: Connect) -> bytes:
    flags = packet.clean_session << 1
    fields = _encode_text(packet.client_id)
    if will := packet.will:
        if not is_topic_name(will.topic) or will.qos not in (0, 1, 2):
            raise MalformedPacket(f"not a will: topic {will.topic!r}, QoS {will.qos}")
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        fields += _encode_text(will.topic) + _encode_binary(will.payload)
    if packet.username is not None:
        flags |= 0x80
        fields += _encode_text(packet.username)
    if packet.password is not None:
        flags |= 0x40
        fields += _encode_binary(packet.password)
    _check_connect_flags(flags)
    if not 0 <= packet.keep_alive <= 0xFFFF:
        raise MalformedPacket(f"a keep-alive of {packet.keep_alive} seconds, of which 65535 are allowed")
    head = PROTOCOL + bytes([PROTOCOL_LEVEL, flags]) + packet.keep_alive.to_bytes(2, "big")
    return _framed(0x10, head + fields)


def _encode_publish(packet: Publish) -> bytes:
    if packet.qos == 0 and packet.packet_id is not None:
        raise MalformedPacket("a packet id at QoS 0")  # [MQTT-2.3.1-5]
    head = publish_head(packet.topic, len(packet.payload), packet.qos, retain=packet.retain, dup=packet.dup)
    return head + (_encode_packet_id(packet.packet_id) if packet.qos else b"") + packet.payload


def _encode_subscribe(packet: Subscribe) -> bytes:
    if not packet.filters or not all(qos in (0, 1, 2) for _, qos in packet.filters):
        raise MalformedPacket("a SUBSCRIBE without filters, or with a QoS that is not 0, 1 or 2")
    filters = b"".join(_encode_filter(text) + bytes([qos]) for text, qos in packet.filters)
    return _framed(0x82, _encode_packet_id(packet.packet_id) + filters)


def _encode_unsubscribe(packet: Unsubscribe) -> bytes:
    if not packet.filters:
        raise MalformedPacket("an UNSUBSCRIBE without a filter")
    return _framed(0xA2, _encode_packet_id(packet.packet_id) + b"".join(map(_encode_filter, packet.filters)))


def _encode_checked(first: int, body: bytes) -> bytes:
    decode(first, body)
    return _framed(first, body)


_ENCODERS: dict[type[Any], Callable[[Any], bytes]] = {
    Connect: _encode_connect,
    Connack: lambda packet: _encode_checked(0x20, bytes([packet.session_present, packet.return_code])),
    Publish: _encode_publish,
    Puback: lambda packet: b"\x40\x02" + _encode_packet_id(packet.packet_id),
    Pubrec: lambda packet: b"\x50\x02" + _encode_packet_id(packet.packet_id),
    Pubrel: lambda packet: b"\x62\x02" + _encode_packet_id(packet.packet_id),
    Pubcomp: lambda packet: b"\x70\x02" + _encode_packet_id(packet.packet_id),
    Subscribe: _encode_subscribe,
    Suback: lambda packet: _encode_checked(0x90, _encode_packet_id(packet.packet_id) + bytes(packet.return_codes)),
    Unsubscribe: _encode_unsubscribe,
    Unsuback: lambda packet: b"\xb0\x02" + _encode_packet_id(packet.packet_id),
    Pingreq: lambda _: b"\xc0\x00",
    Pingresp: lambda _: b"\xd0\x00",
    Disconnect: lambda _: b"\xe0\x00",
}
