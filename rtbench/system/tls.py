"""TLS: the certificate of one measurement, the contexts of both ends, and a socket that speaks TLS over another.

Each server process gets a certificate of its own, whose key exists nowhere else once the server has loaded it. Clients
trust its authority and no other, and verify chain and host as an application does (`Meter.tls`).
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from rtbench.errors import UsageError

if TYPE_CHECKING:
    import socket

    from _typeshed import ReadableBuffer

VERSION = "TLS 1.3"
HOSTS = ("127.0.0.1", "::1", "localhost")
_AT_ONCE_BYTES = 2**18  # as asyncio: read, or encrypted, at a time


class ServerContext(ssl.SSLContext):
    """A server's TLS context, ready to use, and the two PEM files that a server outside Python loads by itself."""

    cert_file: str
    key_file: str


def server_context(cert_file: str, key_file: str) -> ServerContext:
    """Return a server's context with a certificate chain and its private key, both PEM files.

    Raises:
        UsageError: the files are no certificate chain and its key.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use {cert_file} as a TLS certificate (PEM, with its key): {error}") from error
    context.cert_file, context.key_file = cert_file, key_file
    return context


@contextmanager
def certificate_files() -> Iterator[tuple[str, str, str]]:
    """Make a certificate for the loopback names of this machine.

    Yields the file of the certificate, the file of its key, and the certificate of its authority as PEM text. The files
    are readable by this user only, and are deleted on leaving.
    """
    import trustme

    authority = trustme.CA()
    made = authority.issue_cert(*HOSTS)
    with tempfile.TemporaryDirectory(prefix="rtbench-") as directory:
        cert, key = Path(directory, "cert.pem"), Path(directory, "key.pem")
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        yield str(cert), str(key), authority.cert_pem.bytes().decode()


def client_context(authority: str | None) -> ssl.SSLContext | None:
    """Return a client's context that trusts only what `authority` (PEM text) signed; None without an authority."""
    if authority is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED, check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    return context


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
