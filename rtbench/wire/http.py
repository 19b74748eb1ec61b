"""HTTP without I/O: several messages in one body, how long a client is willing to wait, requests, answers and sizes.

One message is the response body, unchanged. Several are `multipart/mixed` (RFC 2046 section 5.1.3), whose parts have no
header: the standard way to put independent bodies of any content, newlines included, into one body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

MORE_HEADER = "RTBench-More"  # the answer has one message of perhaps several: ask again at once
GAP_HEADER = "RTBench-Missed"  # how many messages the feed dropped before the first one of this response

_BOUNDARY = re.compile(r'multipart/mixed\s*;.*boundary="?([^";]+)"?', re.IGNORECASE)
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*(\"?)(\d{1,9})\1\s*(?=[,;]|$)", re.IGNORECASE | re.ASCII)


def join(messages: Sequence[bytes]) -> tuple[str, bytes]:
    """Return the content type and the body for one or more messages."""
    if len(messages) == 1:
        return "application/octet-stream", messages[0]
    boundary = b"m"
    while any(b"--" + boundary in message for message in messages):
        boundary += b"m"
    delimiter = b"--" + boundary
    body = b"".join(delimiter + b"\r\n\r\n" + message + b"\r\n" for message in messages) + delimiter + b"--"
    return f"multipart/mixed; boundary={boundary.decode()}", body


def split(content_type: str, body: bytes) -> list[bytes]:
    """Return the messages in a response; any type other than multipart/mixed is one message.

    Raises:
        ValueError: the body does not have the form that its content type names.
    """
    match = _BOUNDARY.match(content_type)
    if match is None:
        return [body]
    delimiter = b"\r\n--" + match[1].encode()
    _preamble, *parts = (b"\r\n" + body).split(delimiter)
    if not parts or not parts.pop().startswith(b"--"):
        raise ValueError("multipart body without its closing boundary")
    messages = []
    for part in parts:
        head, separator, content = part.partition(b"\r\n\r\n")
        if not separator or (head and not head.startswith(b"\r\n")):
            raise ValueError("multipart part without the empty line that ends its header")
        messages.append(content)
    return messages


def wait_s(prefer: str | None) -> int:
    """Return the seconds of `Prefer: wait=N` (RFC 7240 section 4.3), 0 without one."""
    match = _WAIT.search(prefer or "")
    return int(match[2]) if match else 0


def request(method: str, target: str, fields: Mapping[str, str]) -> bytes:
    """Return the head of a request (RFC 9112 section 3)."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The head of an answer. The names of `fields` are in small letters."""

    status: int
    reason: str
    fields: Mapping[str, str]

    def body_bytes(self, to_head: bool = False) -> int | None:
        """Return the size of the body; None where only chunks, or the end of the connection, tell it.

        `to_head`: the answer is to a HEAD request (RFC 9112 section 6.3).

        Raises:
            ValueError: the head names no size.
        """
        if to_head or self.status in (204, 304) or self.status < 200:
            return 0
        if "transfer-encoding" in self.fields:
            return None
        length = self.fields.get("content-length")
        return None if length is None else int(length)


@lru_cache(maxsize=16)
def parse_head(data: bytes) -> Head:
    """Return the head in the bytes before the empty line that ends it.

    The last heads are kept: all subscribers of a topic get the same.

    Raises:
        ValueError: it is none.
    """
    start, *lines = data.decode("latin-1").split("\r\n")
    version, _, rest = start.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"not an answer of HTTP/1.1: {start[:40]!r}")
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    return Head(int(rest[:3]), rest[4:], fields)


def chunk(data: bytes) -> bytes:
    """Return some content of a body, at least a byte, as one chunk (RFC 9112 section 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def only_chunk(data: bytes) -> bytes | None:
    """Return the content if these bytes are all of one chunk (RFC 9112 section 7.1).

    Raises:
        ValueError: it is no chunk.
    """
    start = data.find(b"\r\n") + 2
    if 1 < start < len(data) - 2 and start + int(data[: start - 2].partition(b";")[0], 16) + 2 == len(data):
        return data[start:-2]
    return None


class Chunks:
    """Cuts a body in chunks (RFC 9112 section 7.1); it may come in pieces of any size."""

    __slots__ = ("_left", "_rest", "is_complete")

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0  # bytes of the current chunk, its line end included
        self.is_complete = False  # the last chunk has come

    @property
    def is_between(self) -> bool:
        """Whether the next byte is the first of a chunk."""
        return not self._left and not self._rest

    def feed(self, data: bytes) -> Iterable[tuple[bytes, bool]]:
        """Return each part of a chunk, and whether it is the last part of it; read them before the next piece.

        Raises:
            ValueError: it is no chunk; also while they are read.
        """
        if self.is_between:
            content = only_chunk(data)  # nearly all pieces are one whole chunk
            if content is not None:
                return ((content, True),)
        return self._parts(data)

    def _parts(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        data, self._rest = self._rest + data, b""
        while data and not self.is_complete:
            if not self._left:
                line, end, after = data.partition(b"\r\n")
                if not end:
                    self._rest = data
                    return
                size = int(line.partition(b";")[0], 16)
                self.is_complete = size == 0
                self._left, data = size + 2, after
                continue
            part, data = data[: self._left], data[self._left :]
            content = part[: max(self._left - 2, 0)]
            self._left -= len(part)
            if content:
                yield content, self._left <= 2


def head_bytes(start_line: str, fields: Mapping[str, str]) -> int:
    """Return the bytes of everything before the body (RFC 9112 section 2.1), with one space after each colon."""
    return len(start_line) + 2 + sum(len(name) + 2 + len(value) + 2 for name, value in fields.items()) + 2


def joined_bytes(message_bytes: int, count: int) -> int:
    """Return the size in bytes of the body that `join` makes of `count` messages that do not contain the boundary."""
    return message_bytes if count == 1 else count * (len("--m\r\n\r\n") + message_bytes + len("\r\n")) + len("--m--")


def chunk_bytes(data_bytes: int) -> int:
    """Return the size in bytes of a chunk: its size in hexadecimal, the data, two line ends (RFC 9112 section 7.1)."""
    return len(f"{data_bytes:x}") + 2 + data_bytes + 2
