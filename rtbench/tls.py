"""TLS: the certificate of one measurement, who trusts it, what it adds to the bytes, and a socket that speaks it.

A certificate is made for each server process, and its key is nowhere once the server has loaded it. Clients trust it
and no other: `Meter.tls` verifies chain and host as an application's would.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from _typeshed import ReadableBuffer

VERSION = "TLS 1.3"
HOSTS = ("127.0.0.1", "::1", "localhost")
RECORD_OVERHEAD_BYTES = 22  # header 5, content type 1, tag 16 with any of its ciphers (RFC 8446 section 5.2)
_HEADER_BYTES = 5
_ENCRYPTED = 23  # the outer type of every encrypted record, whatever is in it
_AT_ONCE_BYTES = 2**18  # as asyncio: read, or encrypted, at a time


@contextmanager
def certificate_files() -> Iterator[tuple[str, str, str]]:
    """Make a certificate for the names of this machine's loopback; yield its file, its key's, and who signed it (PEM).

    The files are readable for this user only, and gone on leaving.
    """
    import trustme

    authority = trustme.CA()
    made = authority.issue_cert(*HOSTS)
    with tempfile.TemporaryDirectory(prefix="rtbench-") as directory:
        cert, key = Path(directory, "cert.pem"), Path(directory, "key.pem")
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        yield str(cert), str(key), authority.cert_pem.bytes().decode()


def trusting(authority: str | None) -> ssl.SSLContext | None:
    """Return a client's context that trusts what `authority` (PEM) signed and nothing else; None without one."""
    if authority is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED, check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    return context


class Records:
    """What TLS 1.3 adds to one connection, read off the record headers (RFC 8446 section 5.1) as they pass a client.

    The handshake is everything up to and including the client's Finished, both directions: its first encrypted record,
    before which a server has nothing else to send. (A server's session tickets come after it, and count as records that
    carry something.)
    """

    def __init__(self) -> None:
        """Start before the first byte."""
        self.up, self.down = Direction(), Direction()
        self._finished = False

    def sent(self, data: ReadableBuffer) -> None:
        """Take in what left."""
        for kind, length in self.up.records(memoryview(data)):
            self.up.count(kind, length, self._finished)
            self._finished |= kind == _ENCRYPTED

    def received(self, data: ReadableBuffer) -> None:
        """Take in what came."""
        for kind, length in self.down.records(memoryview(data)):
            self.down.count(kind, length, self._finished)


class Direction:
    """One direction of a connection, which may be cut anywhere.

    `overhead_bytes` is the handshake, and what each record after it costs beside its content.
    """

    def __init__(self) -> None:
        """Start before the first byte."""
        self.handshake_bytes = 0
        self.overhead_bytes = 0
        self._header = bytearray()
        self._left = 0  # bytes of the record under way that are still to come

    def count(self, kind: int, length: int, finished: bool) -> None:
        """Take in a record."""
        whole = _HEADER_BYTES + length
        if not finished:
            self.handshake_bytes += whole
        self.overhead_bytes += RECORD_OVERHEAD_BYTES if finished and kind == _ENCRYPTED else whole

    def records(self, data: memoryview) -> Iterator[tuple[int, int]]:
        """Return type and length of each record whose header ends in `data`."""
        at = min(self._left, len(data))
        self._left -= at
        while at < len(data):
            lacking = _HEADER_BYTES - len(self._header)
            self._header += data[at : at + lacking]
            at += lacking
            if len(self._header) == _HEADER_BYTES:
                kind, length = self._header[0], int.from_bytes(self._header[3:], "big")
                self._header.clear()
                here = min(length, len(data) - at)
                at += here
                self._left = length - here
                yield kind, length


class TlsSocket:
    """TLS over a connected socket, for a library that takes a socket and reads it itself.

    `ssl.SSLSocket` reads its descriptor behind the back of whoever counts and stamps; this one goes through
    `recv` and `send` of the socket that it is given. Two things are as with `ssl.SSLSocket`: bytes may wait in it that
    the descriptor does not announce (`pending`), and a `send` that would have blocked is to be repeated with the same
    bytes. What would block raises BlockingIOError, as a plain socket does.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Shake hands, within the socket's own timeout.

        Raises:
            OSError: the other end does not, or its certificate is not to be trusted (ssl.SSLCertVerificationError).
        """
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._plain = bytearray()  # decrypted, and not yet asked for
        self._cipher = memoryview(b"")  # encrypted, and not yet taken by the kernel
        self._encrypted_bytes = 0  # how much of what `send` was last given is in it
        self._ended = False
        self._one_at_a_time = Lock()  # paho connects, and sends its first packet, in a thread of its own
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._take_in()
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush()  # it tells the other end why
                raise
        self._flush()
        self._decrypt()

    def recv(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none when the other end has closed."""
        with self._one_at_a_time:
            if not self._plain and not self._ended:
                self._take_in()
                self._decrypt()
                if not self._ended:
                    with suppress(OSError):  # the next send, or recv, will meet it
                        self._flush()  # the answer to an update of keys
            if not self._plain and not self._ended:
                raise BlockingIOError("no whole record is here")
            data = bytes(self._plain[:size])
            del self._plain[:size]
            return data

    def send(self, data: ReadableBuffer, /) -> int:
        """Encrypt and send; return how many bytes of `data` are on their way, all of them with the kernel."""
        with self._one_at_a_time:
            if not self._encrypted_bytes:
                self._encrypted_bytes = self._tls.write(memoryview(data)[:_AT_ONCE_BYTES])
            self._flush()
            sent, self._encrypted_bytes = self._encrypted_bytes, 0
            return sent

    def pending(self) -> int:
        """Return how many bytes can be had without waiting for the descriptor; 1 for the news that no more come."""
        return len(self._plain) or int(self._ended)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._socket.fileno()

    def setblocking(self, blocking: bool, /) -> None:
        """Wait or raise, from now on."""
        self._socket.setblocking(blocking)

    def close(self) -> None:
        """Close the socket below, without a word, as `ssl.SSLSocket` does."""
        self._socket.close()

    def _take_in(self) -> None:
        data = self._socket.recv(_AT_ONCE_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _decrypt(self) -> None:
        """Decrypt all that is here, so that only the descriptor can have more."""
        try:
            while data := self._tls.read(_AT_ONCE_BYTES):
                self._plain += data
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:  # closed without a word
            self._ended = True

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._cipher = memoryview(bytes(self._cipher) + self._outgoing.read())
        while self._cipher:
            self._cipher = self._cipher[self._socket.send(self._cipher) :]
