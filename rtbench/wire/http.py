"""HTTP without I/O: several messages in one body, how long a client is willing to wait, and sizes.

One message is the response body, unchanged. Several are `multipart/mixed` (RFC 2046 section 5.1.3), whose parts have no
header: the standard way to put independent bodies of any content, newlines included, into one body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

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


def head_bytes(start_line: str, fields: Mapping[str, str]) -> int:
    """Return the bytes of everything before the body (RFC 9112 section 2.1), with one space after each colon."""
    return len(start_line) + 2 + sum(len(name) + 2 + len(value) + 2 for name, value in fields.items()) + 2


def joined_bytes(message_bytes: int, count: int) -> int:
    """Return the size in bytes of the body that `join` makes of `count` messages that do not contain the boundary."""
    return message_bytes if count == 1 else count * (len("--m\r\n\r\n") + message_bytes + len("\r\n")) + len("--m--")


def chunk_bytes(data_bytes: int) -> int:
    """Return the size in bytes of a chunk: its size in hexadecimal, the data, two line ends (RFC 9112 section 7.1)."""
    return len(f"{data_bytes:x}") + 2 + data_bytes + 2
