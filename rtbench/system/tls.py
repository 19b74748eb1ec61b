"""TLS: the certificate of a server, the contexts of server and client, and a socket that adds TLS to a socket.

Each server of a trial gets its own certificate; its key file is deleted as soon as the server has loaded it. Clients
trust only the authority of this certificate, and verify chain and host as an application does (`Meter.tls`).
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from rtbench.errors import UsageError
from rtbench.plan.login import Login

if TYPE_CHECKING:
    import socket

    from _typeshed import ReadableBuffer

VERSION = "TLS 1.3"
HOSTS = ("127.0.0.1", "::1", "localhost")
_AT_ONCE_BYTES = 2**18  # read or encrypted in one step, as in asyncio


class ServerContext(ssl.SSLContext):
    """The TLS context of a server, and the two PEM files that a server outside Python loads."""

    cert_file: str
    key_file: str


def server_context(cert_file: str, key_file: str) -> ServerContext:
    """Return the context of a server with a certificate chain and its private key, both PEM files.

    Raises:
        UsageError: the files are not a certificate chain and its key.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert_file, key_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use {cert_file} as a TLS certificate (PEM, with its key): {error}") from error
    context.cert_file, context.key_file = cert_file, key_file
    return context


@dataclass(frozen=True)
class Certificate:
    """PEM texts: a certificate chain, its private key, and the certificate of the authority that signed it."""

    chain: str
    key: str
    authority: str

    @contextmanager
    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the files of the chain and of the key: only this user can read them, and leaving deletes them."""
        with tempfile.TemporaryDirectory(prefix="rtbench-") as directory:
            chain, key = Path(directory, "cert.pem"), Path(directory, "key.pem")
            chain.write_text(self.chain)
            key.write_text(self.key)
            yield str(chain), str(key)


def make_certificate(*hosts: str, expired: bool = False) -> Certificate:
    """Make a certificate for the loopback names of this machine and for `hosts`, signed by an authority of its own.

    One that is `expired` was valid until yesterday.
    """
    import trustme

    authority = trustme.CA()
    until = datetime.now(UTC) - timedelta(days=1) if expired else None
    made = authority.issue_cert(*dict.fromkeys((*HOSTS, *hosts)), not_after=until)
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    return Certificate(chain.decode(), made.private_key_pem.bytes().decode(), authority.cert_pem.bytes().decode())


_ENCRYPTED = ("https", "wss", "mqtts", "tcps")


class ResumingContext(ssl.SSLContext):
    """A client context whose connections continue the session of an earlier one where they can (RFC 8446, 2.2).

    The ticket comes with the first data after the handshake: the earlier connection must have read something.
    """

    def __init__(self, *_: Any) -> None:
        self._made: list[ssl.SSLObject] = []

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Return an object for one connection, with the last session for which there is a ticket."""
        had = (made.session for made in reversed(self._made))
        session = next((s for s in had if s is not None and s.has_ticket), None)
        made = super().wrap_bio(*args, **{**kwargs, "session": session})
        self._made.append(made)
        return made

    def resumed(self, after: int = 0) -> int:
        """Return how many of its connections after the first `after` continued a session, as the server confirmed."""
        return sum(bool(made.session_reused) for made in self._made[after:])

    @property
    def handshakes(self) -> int:
        """How many connections it was used for."""
        return len(self._made)


def context_for(url: str, authority: str | None, login: Login, *, resuming: bool = False) -> ssl.SSLContext | None:
    """Return the client context for a server; None for one without TLS.

    `authority` (PEM text) is that of a server that rtbench started; without it, the `login` says whom to trust.
    `resuming` asks for a `ResumingContext`, which only a server that rtbench started gets.
    """
    if authority is not None:
        return client_context(authority, ResumingContext if resuming else ssl.SSLContext)
    return external_context(login) if url.partition(":")[0] in _ENCRYPTED else None


def external_context(login: Login) -> ssl.SSLContext:
    """Return a client context for a server that runs already: it trusts the authority of the login, or the system's.

    Raises:
        UsageError: the authority, the certificate or the key is none.
    """
    context = ssl.create_default_context()
    if login.authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if login.authority is not None:
            context.load_verify_locations(cadata=login.authority)
        if login.certificate is not None:
            context.load_cert_chain(login.certificate, login.key)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise UsageError(f"--ca, --client-cert or --client-key cannot be used: {error}") from None
    return context


def outdated_context(authority: str) -> ssl.SSLContext:
    """Return a client context that offers TLS 1.1 and nothing newer, as a client of 2006 would (RFC 4346)."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_ciphers("ALL:@SECLEVEL=0")  # OpenSSL 3 offers no TLS 1.1 at a higher level
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_verify_locations(cadata=authority)
    return context


def client_context(authority: str | None, kind: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext | None:
    """Return a client context that trusts only certificates that `authority` (PEM text) signed; None without one."""
    if authority is None:
        return None
    context = kind(ssl.PROTOCOL_TLS_CLIENT)  # this protocol sets CERT_REQUIRED and check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority)
    return context


class TlsPipe:
    """TLS from bytes to bytes, for a client that reads and sends by itself, once the handshake is done."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    @classmethod
    async def over(cls, sock: socket.socket, context: ssl.SSLContext | None, host: str) -> TlsPipe:
        """Do the handshake on a connected, non-blocking socket; without a context, trust as the system does.

        Raises:
            OSError: the handshake failed, or the certificate is not trusted (ssl.SSLCertVerificationError).
        """
        pipe, loop = cls(context or ssl.create_default_context(), host), asyncio.get_running_loop()
        while True:
            try:
                pipe._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, pipe._outgoing.read())
                if data := await loop.sock_recv(sock, _AT_ONCE_BYTES):
                    pipe._incoming.write(data)
                else:
                    pipe._incoming.write_eof()
            except ssl.SSLError:
                with suppress(OSError):
                    await loop.sock_sendall(sock, pipe._outgoing.read())  # the alert tells the other end why
                raise
        await loop.sock_sendall(sock, pipe._outgoing.read())
        return pipe

    def encrypt(self, data: bytes) -> bytes:
        """Return what to send for `data`, and what TLS itself has to send."""
        self._tls.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Return what is whole of the data that arrived; also nothing.

        Raises:
            OSError: it is not TLS, or not of this connection.
        """
        self._incoming.write(data)
        plain = b""
        try:
            while more := self._tls.read(_AT_ONCE_BYTES):
                plain += more
        except ssl.SSLWantReadError:
            pass
        return plain


class TlsSocket:
    """TLS over a connected socket, for a library that takes a socket and reads it.

    `ssl.SSLSocket` reads the descriptor directly, so a metered socket could not count and stamp; this class calls
    `recv` and `send` of the given socket. Two properties are those of `ssl.SSLSocket`: it may hold bytes that the
    descriptor does not announce (`pending`), and a `send` that would have blocked must be repeated with the same bytes.
    An operation that would block raises BlockingIOError, as a plain socket does.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Do the handshake, within the timeout of the socket.

        Raises:
            OSError: the handshake failed, or the certificate is not trusted (ssl.SSLCertVerificationError).
        """
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._plain = bytearray()  # decrypted, not yet returned
        self._cipher = memoryview(b"")  # encrypted, not yet accepted by the kernel
        self._encrypted_bytes = 0  # how many bytes of the last `send` are in it
        self._ended = False
        self._one_at_a_time = Lock()  # paho connects and sends its first packet in another thread
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._take_in()
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush()  # the alert tells the other end why
                raise
        self._flush()
        self._decrypt()

    def recv(self, size: int, /) -> bytes:
        """Return up to `size` bytes; b"" if the other end has closed."""
        with self._one_at_a_time:
            while not self._plain and not self._ended:
                self._take_in()
                self._decrypt()
                if not self._ended:
                    with suppress(OSError):  # the next send or recv raises the error
                        self._flush()  # sends the answer to a key update
                if not self._plain and not self._ended and self._socket.gettimeout() == 0.0:
                    raise BlockingIOError("no complete TLS record has arrived")
            data = bytes(self._plain[:size])
            del self._plain[:size]
            return data

    def send(self, data: ReadableBuffer, /) -> int:
        """Encrypt and send; return how many bytes of `data` the kernel has accepted in encrypted form."""
        with self._one_at_a_time:
            if not self._encrypted_bytes:
                self._encrypted_bytes = self._tls.write(memoryview(data)[:_AT_ONCE_BYTES])
            self._flush()
            sent, self._encrypted_bytes = self._encrypted_bytes, 0
            return sent

    def pending(self) -> int:
        """Return how many bytes `recv` can return without reading the descriptor; 1 if it can return the end."""
        return len(self._plain) or int(self._ended)

    def fileno(self) -> int:
        """Return the descriptor, -1 after closing."""
        return self._socket.fileno()

    def setblocking(self, blocking: bool, /) -> None:
        """Make the socket blocking or non-blocking."""
        self._socket.setblocking(blocking)

    def settimeout(self, timeout_s: float | None, /) -> None:
        """Let the socket wait at most so long, None: as long as it takes."""
        self._socket.settimeout(timeout_s)

    def close(self) -> None:
        """Close the given socket without a TLS closing alert, as `ssl.SSLSocket` does."""
        self._socket.close()

    def _take_in(self) -> None:
        data = self._socket.recv(_AT_ONCE_BYTES)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _decrypt(self) -> None:
        """Decrypt all bytes that were read, so that any more data is announced by the descriptor."""
        try:
            while data := self._tls.read(_AT_ONCE_BYTES):
                self._plain += data
            self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:  # closed without a TLS closing alert
            self._ended = True

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._cipher = memoryview(bytes(self._cipher) + self._outgoing.read())
        while self._cipher:
            self._cipher = self._cipher[self._socket.send(self._cipher) :]
