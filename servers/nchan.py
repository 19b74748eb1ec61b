"""nginx with the module nchan as a server of polling, long-polling, SSE and WebSocket.

nginx is found on PATH, and runs as one process with a configuration made here. A topic is a channel of nchan; its name
is the path as it was sent. nchan keeps `capacity` messages of a channel, as the feeds of the embedded servers do.

What nchan does otherwise than the embedded servers:
    polling     An answer has one message. It says so in a header (`RTBench-More`), and the client asks again at once.
    SSE         A payload with a carriage return is taken, and arrives with line feeds instead.
    WebSocket   There is no subprotocol (nchan answers an offer with an empty header), so the URL ends in `#plain`: a
                subscription begins anew after a lost connection. Each published message is answered with a text.
    passwords   They are checked against hashes (crypt(3), sha512crypt, 5,000 rounds) with every request: that takes
                nginx a millisecond or more, each time.
    all         A publish is answered with 201 or 202 and a text about the channel. nchan does not know HEAD, which says
                where a subscription starts: nginx asks it for the last message, and passes on the validators.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import secrets
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from rtbench.errors import MissingProgram, UsageError
from rtbench.plan.variant import NATIVE_TIER
from rtbench.transports import BACKLOG, Option, ServerContext, feed
from rtbench.transports.access import AllowHost, AllowOrigin, check_origin, listed
from rtbench.transports.permissions import AccessList, Permissions, Users, permissions_of
from rtbench.transports.serving import address_url
from rtbench.wire import http

from . import http_relay, long_polling, polling, sse, websocket
from .program import find, running

_HOW_TO_INSTALL = "`sudo apt-get install nginx-light libnginx-mod-nchan` (Debian, Ubuntu)"
MODULES = (  # where distributions put it
    "/usr/lib/nginx/modules",
    "/usr/lib64/nginx/modules",
    "/usr/local/libexec/nginx",
    "/etc/nginx/modules",
)
_MODULE = "ngx_nchan_module.so"
_PIDFD_GETFD = 438  # the number of the system call, the same on every kind of machine
SharedMemory = Annotated[int, Option("memory of nchan for all messages, MB", metavar="MB", above=0, most=65_536)]

_CONFIGURATION = """\
load_module {module};
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    tcp_nodelay on;
    server_tokens off;
    merge_slashes off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 16m;
    client_body_buffer_size 16m;  # nchan garbles a message that it reads from a file
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    nchan_shared_memory_size {shared_mb}M;
    map $request_uri $topic {{ "~^(?<path>[^?]*)" $path; }}
    map $upstream_http_last_modified $since {{
        "" "{before}";
        default $upstream_http_last_modified;
    }}
    map "$http_origin $http_host" $foreign {{
        default 1;
        {own}
    }}
    map "$request_method $args" $what {{
        default write;
        "~^(GET|HEAD) (?!publish$)" read;
    }}
    map "$what $remote_user $topic" $forbidden {{
        default {forbidden};
        {rights}
    }}
    map "write $remote_user $topic" $mute {{
        default {forbidden};
        {rights}
    }}
    map $upstream_http_etag $tag {{ "" "{before_tag}"; default $upstream_http_etag; }}
    server {{
        listen {address} backlog={backlog}{ssl};
        {certificate}
        {passwords}
        if ($foreign) {{ return 403; }}
        location / {{
            error_page 418 = @last;
            error_page 419 = @publish;
            error_page 420 = @subscribe;
            if ($forbidden) {{ return 403; }}
            if ($request_method = HEAD) {{ return 418; }}
            if ($args = publish) {{ return 419; }}
            if ($mute) {{ return 420; }}
            nchan_channel_id $topic;
            nchan_publisher http {publisher};
            nchan_subscriber {subscriber};
            {more}
            {keep}
        }}
        location @subscribe {{  # without the right to publish
            nchan_channel_id $topic;
            nchan_subscriber {subscriber};
            {more}
            {keep}
        }}
        location @publish {{
            nchan_channel_id $topic;
            nchan_publisher websocket;
            {keep}
        }}
        location @last {{
            proxy_method GET;
            proxy_pass_request_headers off;
            proxy_pass http://unix:{directory}/last:$request_uri;
            proxy_hide_header Last-Modified;
            proxy_hide_header Etag;
            add_header Last-Modified $since always;
            add_header ETag $tag always;
        }}
    }}
    server {{
        listen unix:{directory}/last;
        location / {{
            nchan_channel_id $topic;
            nchan_subscriber intervalpoll;
            nchan_subscriber_first_message oldest;
            nchan_longpoll_multipart_response on;  # so the answer has no body, and the validators of the last message
        }}
    }}
}}
"""
_LONG_AGO = "Thu, 01 Jan 1970 00:00:01 GMT"
_KEEP = """\
nchan_message_buffer_length {capacity};
            nchan_message_timeout 1h;
            nchan_subscriber_first_message {first};
            nchan_longpoll_multipart_response {multipart};
            nchan_access_control_allow_origin $http_origin;"""


_ASKING = 'auth_basic "rtbench"; auth_basic_user_file {file};'
_TLS = "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;"


@cache
def software() -> str:
    """Return the names and versions of the program and of its module, as far as they tell.

    Raises:
        MissingProgram: nginx, or its module, is not installed.
    """
    _module()
    told = subprocess.run([_program(), "-v"], capture_output=True, text=True, check=False).stderr
    return f"{told.partition(': ')[2].strip().replace('/', ' ') or 'nginx'} with nchan"


def _program() -> str:
    return find("nginx", _HOW_TO_INSTALL)


def _module() -> Path:
    for directory in MODULES:
        if (found := Path(directory, _MODULE)).exists():
            return found
    raise MissingProgram(f"nginx is here, but not its module nchan: {_HOW_TO_INSTALL}")


def _serving(
    subscriber: str, first: str, *, scheme: str = "http", publisher: str = "", more: str = "", fragment: str = ""
) -> http_relay.Serve:
    """Return the `serve` of a transport."""

    @asynccontextmanager
    async def serve(
        listener: socket.socket,
        *,
        capacity: feed.Capacity = feed.DEFAULT_CAPACITY,
        shared_memory_mb: SharedMemory = 256,
        users: Users = None,
        access_list: AccessList = None,
        allow_origin: AllowOrigin = None,
        allow_host: AllowHost = None,
        tls: ServerContext | None = None,
    ) -> AsyncIterator[str]:
        """Run nginx at the address of `listener` until left; yield the URL."""
        permissions = permissions_of(users=users, access_list=access_list)
        host, port = listener.getsockname()[:2]
        is_polling = subscriber == "intervalpoll"  # where a channel is empty, it needs a position before all messages
        listener.close()  # nginx opens its own at the same address
        with tempfile.TemporaryDirectory(prefix="rtbench-") as directory:
            file, passwords = Path(directory, "nginx.conf"), Path(directory, "passwords")
            if permissions.asks:
                passwords.touch(0o600)
                passwords.write_text("".join(f"{n}:{_hashed(p)}\n" for n, p in permissions.passwords.items()))
            file.write_text(
                _CONFIGURATION.format(
                    module=_module(),
                    directory=directory,
                    connections=_connections(),
                    shared_mb=shared_memory_mb,
                    before=_LONG_AGO if is_polling else "",
                    before_tag="0" if is_polling else "",
                    address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
                    backlog=BACKLOG,
                    ssl=" ssl" if tls else "",
                    certificate=_TLS.format(certificate=tls.cert_file, key=tls.key_file) if tls else "",
                    passwords=_ASKING.format(file=passwords) if permissions.asks else "",
                    own="\n        ".join(f'"{pattern}" 0;' for pattern in _own(host, allow_host, allow_origin)),
                    forbidden=int(permissions.rights is not None),
                    rights="\n        ".join(f'"{pattern}" 0;' for pattern in _allowed(permissions)),
                    publisher=publisher,
                    subscriber=subscriber,
                    more=more,
                    keep=_keep(subscriber, first, capacity),
                )
            )
            command = [_program(), "-p", directory, "-e", "stderr", "-c", str(file)]
            async with running(command, host, port, encrypted=tls is not None) as pid:
                _switch_nagle_off(pid, port)
                yield address_url(scheme, host, port, tls) + fragment

    return serve


def _own(host: str, allow_host: str | None, allow_origin: str | None) -> Iterator[str]:
    """Yield what `$http_origin $http_host` may be, as patterns of nginx: as `rtbench.transports.access.Access`."""
    names = ["localhost", host, f"[{host}]", socket.gethostname(), *listed(allow_host)]
    is_any = "*" in names
    any_address = [r"[0-9.]+", r"\[[0-9a-f:]+\]"] if host in ("0.0.0.0", "::") else []
    own = ".*" if is_any else f"({'|'.join([*map(re.escape, names), *any_address])})(:[0-9]+)?"
    yield f"~*^ {own}$"
    yield f"~*^https?://(?<origin>[^ ]+) (?=\\k<origin>$){own}$"
    origins = listed(allow_origin)
    for origin in origins:
        check_origin(origin)
    if origins:
        allowed = ".*" if "*" in origins else f"({'|'.join(map(re.escape, origins))})"
        yield f"~*^{allowed} {own}$"


def _allowed(permissions: Permissions) -> Iterator[str]:
    """Yield what `$what $remote_user $topic` may be, as patterns of nginx."""
    if permissions.rights is not None:  # a name that no user has is refused where the password is asked for
        yield f"~^[a-z]+ (?!({'|'.join(map(re.escape, permissions.rights))}) )"
    for user, rights in (permissions.rights or {}).items():
        for right in rights:
            words = ["read"] * right.may_subscribe + ["write"] * right.may_publish
            yield f"~^({'|'.join(words)}) {re.escape(user)} /{_pattern(right.topic_filter)}$"


def _pattern(topic_filter: str) -> str:
    """Return a topic filter as a regular expression for paths, in which clients write topics percent-encoded."""
    levels = topic_filter.split("/")
    rest = r"(/.*)?" if levels[-1] == "#" else ""
    if rest:
        levels.pop()
    shown = "/".join("[^/]*" if level == "+" else re.escape(quote(level)) for level in levels)
    return shown + rest if shown else ".*"


def _hashed(password: str) -> str:
    """Return a password as nginx can check it: crypt(3) with sha512crypt."""
    crypt = ctypes.CDLL(ctypes.util.find_library("crypt")).crypt
    crypt.restype = ctypes.c_char_p
    found = crypt(password.encode(), f"$6${secrets.token_hex(8)}$".encode())
    if not (found or b"").startswith(b"$6$"):
        raise UsageError("--users needs crypt(3) with sha512crypt, which this system has not")
    return str(found.decode())


def _connections() -> int:
    """Return how many connections the open files allow."""
    try:
        import resource
    except ImportError:
        return 4096
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 65_536 if hard in (resource.RLIM_INFINITY, -1) else min(hard, 65_536)


def _switch_nagle_off(pid: int, port: int) -> None:
    """Set TCP_NODELAY on the listener of a process: its connections inherit it.

    nginx sets it for connections that are kept alive, upgraded or encrypted, and not for a plain event stream. Where
    the system lends no descriptors (pidfd_getfd(2), Linux 5.6), the verdict tells that Nagle's algorithm was on.
    """
    with suppress(OSError, AttributeError):
        process = os.pidfd_open(pid)
        try:
            for link in Path(f"/proc/{pid}/fd").iterdir():
                lent = ctypes.CDLL(None).syscall(_PIDFD_GETFD, process, int(link.name), 0)
                if lent >= 0:
                    _set_no_delay(lent, port)
        finally:
            os.close(process)


def _set_no_delay(descriptor: int, port: int) -> None:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:  # it is no socket
        os.close(descriptor)
        return
    with sock, suppress(OSError):
        if sock.family != socket.AF_UNIX and sock.getsockname()[1] == port:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


_DEFAULTS = {  # of nginx, and of nchan
    "worker_connections": "512",
    "server_tokens": "on",
    "merge_slashes": "on",
    "keepalive_requests": "1000",
    "keepalive_timeout": "75s",
    "client_max_body_size": "1m",
    "client_body_buffer_size": "16k",
    "nchan_shared_memory_size": "128M",
    "nchan_message_buffer_length": "10",
    "nchan_message_timeout": "1h",
    "nchan_subscriber_first_message": "newest",
    "nchan_longpoll_multipart_response": "off",
}


def _configured(
    subscriber: str,
    first: str,
    *,
    capacity: int = feed.DEFAULT_CAPACITY,
    shared_memory_mb: int = 256,
    users: str | None = None,
    **_others: object,
) -> dict[str, str]:
    """Return the settings that are not the defaults of nginx and nchan, by their names there."""
    text = _CONFIGURATION.replace("{shared_mb}", str(shared_memory_mb)).replace("{connections}", str(_connections()))
    text += _keep(subscriber, first, capacity)
    found = {name: re.findall(rf"\b{name} ([^;]+);", text)[-1] for name in _DEFAULTS}
    found = {name: value for name, value in found.items() if value != _DEFAULTS[name]}
    return found | ({"auth_basic_user_file": "a file, sha512crypt"} if users is not None else {})


def _keep(subscriber: str, first: str, capacity: int) -> str:
    multipart = "on" if subscriber == "longpoll" else "off"
    return _KEEP.format(capacity=capacity, first=first, multipart=multipart)


class Nchan:
    """What an entry point names: the server of one transport, with the attributes of a server module."""

    TIER = NATIVE_TIER
    OWN_FORMAT = ("*",)

    def __init__(
        self,
        subscriber: str,
        by_hand: object,
        differs: Mapping[str, str] | None = None,
        *,
        first: str = "newest",
        **more: str,
    ) -> None:
        """`subscriber` is what nchan calls it, `first` the message that a new one gets first."""
        self.DIFFERS = differs or {}
        self.serve = _serving(subscriber, first, **more)
        self.configured = partial(_configured, subscriber, first)
        self.by_hand = by_hand
        self.software = software


_ASK_AGAIN = f"add_header {http.MORE_HEADER} 1;"
for_polling = Nchan("intervalpoll", polling.by_hand, first="oldest", more=_ASK_AGAIN)
for_long_polling = Nchan("longpoll", long_polling.by_hand, first="oldest")
for_sse = Nchan(
    "eventsource",
    sse.by_hand,
    dict.fromkeys(
        (
            f"bytes arrive as they were sent or are refused: {what}"
            for what in ("carriage returns", "every byte there is")
        ),
        "nchan takes a carriage return, and it ends a line of an event",
    ),
)
for_websocket = Nchan(
    "websocket",
    websocket.by_hand,
    {
        "a session to resume continues after the last message and has what was acknowledged": "nchan has no `?after=`: "
        "what is published while a client has no connection does not reach it"
    },
    scheme="ws",
    publisher="websocket",
    fragment="#plain",
)
