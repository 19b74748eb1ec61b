"""Everything over TLS: what is measured, whom a client trusts, and what is left of the key."""

from __future__ import annotations

import asyncio
import inspect
import json
import random
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

import rtbench as package
from rtbench.analysis.difference import differing_conditions
from rtbench.analysis.layers import LAYERS
from rtbench.errors import UsageError
from rtbench.experiments.compare import load_comparison
from rtbench.experiments.rerun import settings_of
from rtbench.plan.settings import resolve
from rtbench.result.comparison import Comparison
from rtbench.system.meter import Meter, MeteredTlsSocket
from rtbench.system.tls import TlsSocket, client_context, make_certificate, server_context
from rtbench.transports import registry
from rtbench.transports.choice import chosen_variants
from rtbench.transports.serving import serve
from rtbench.trial.server_process import server_process
from rtbench.wire.tls import RECORD_OVERHEAD_BYTES, Records
from tests.conftest import Program
from tests.connecting import connect
from tests.programs import missing, needs, programs_of
from tests.sharing import made_once

WITHIN_S = 20.0
HANDSHAKE, CHANGE, ALERT, DATA = 22, 20, 21, 23  # outer types of records, RFC 8446 section 5.1
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="counts and stamps are Linux's")


# Records


def handshake(records: Records) -> int:
    return records.up.handshake_bytes + records.down.handshake_bytes


def overhead(records: Records) -> int:
    return records.up.overhead_bytes + records.down.overhead_bytes


def record(kind: int, size: int) -> bytes:
    return bytes([kind, 3, 3, *size.to_bytes(2, "big")]) + bytes([DATA]) * size


# (sent by the client, bytes); what is encrypted and comes before the client's Finished is the server's handshake
CONVERSATION = [
    (True, record(HANDSHAKE, 300)),
    (False, record(HANDSHAKE, 122) + record(CHANGE, 1) + record(DATA, 27) + record(DATA, 700)),
    (True, record(CHANGE, 1) + record(DATA, 69) + record(DATA, 117)),
    (False, record(DATA, 250) + record(DATA, 0x4111)),
    (False, record(ALERT, 2)),
]
HANDSHAKE_BYTES = 305 + 127 + 6 + 32 + 705 + 6 + 74


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 6, 7, 64, 10**6])
def test_records_are_counted_wherever_the_stream_is_cut(piece: int) -> None:
    records = Records()
    for outward, data in CONVERSATION:
        for at in range(0, len(data), piece):
            (records.sent if outward else records.received)(data[at : at + piece])
    assert handshake(records) == HANDSHAKE_BYTES
    assert overhead(records) == HANDSHAKE_BYTES + 3 * RECORD_OVERHEAD_BYTES + 7


def test_records_are_counted_whichever_byte_the_cut_is_at() -> None:
    for number, (_, data) in enumerate(CONVERSATION):
        for cut in range(len(data) + 1):
            records = Records()
            for other, (outward, whole) in enumerate(CONVERSATION):
                for part in (whole[:cut], whole[cut:]) if other == number else (whole,):
                    (records.sent if outward else records.received)(part)
            assert overhead(records) == HANDSHAKE_BYTES + 3 * RECORD_OVERHEAD_BYTES + 7


def test_overhead_is_all_that_openssl_adds_to_what_it_is_given() -> None:
    client, server, *bios = both_ends()
    records = Records()

    def shuffle() -> int:
        up = bios[1].read()
        bios[2].write(up)
        records.sent(up)
        down = bios[3].read()
        bios[0].write(down)
        records.received(down)
        return len(up) + len(down)

    total, finished = 0, [False, False]
    while not all(finished):
        for i, end in enumerate((client, server)):
            try:
                end.do_handshake()
                finished[i] = True
            except ssl.SSLWantReadError:
                pass
        total += shuffle()
    assert handshake(records) == overhead(records) == total
    given = 0
    for size in (1, 100, 16_384, 16_385, 100_000):
        given += client.write(b"u" * size) + server.write(b"d" * size)
        total += shuffle()
    assert total - given == overhead(records)


def both_ends() -> tuple[Any, ...]:
    """A client and a server, in memory, without session tickets: incoming and outgoing of either."""
    certificate = make_certificate()
    with certificate.files() as (cert, key):
        serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        serving.load_cert_chain(cert, key)
        serving.num_tickets = 0
        asking = client_context(certificate.authority)
    assert asking is not None
    bios = [ssl.MemoryBIO() for _ in range(4)]
    client = asking.wrap_bio(bios[0], bios[1], server_hostname="localhost")
    return client, serving.wrap_bio(bios[2], bios[3], server_side=True), *bios


def test_a_certificate_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    missing_file = str(tmp_path / "missing.pem")
    with pytest.raises(UsageError, match="certificate"):
        server_context(missing_file, missing_file)


# A socket with TLS


class Echoless:
    """A TLS server on a thread: what it does with its one connection is given."""

    def __init__(self, does: Callable[[ssl.SSLSocket], None]) -> None:
        certificate = make_certificate()
        self.authority = certificate.authority
        with certificate.files() as (cert, key):
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(cert, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.does = does
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        plain, _ = self.listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError), plain, self.context.wrap_socket(plain, server_side=True) as connection:
            self.does(connection)

    def client(self) -> tuple[TlsSocket, MeteredTlsSocket]:
        """A connected client, which does not wait any more."""
        context = client_context(self.authority)
        assert context is not None
        below = Meter(context).socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        assert isinstance(below, MeteredTlsSocket)
        below.settimeout(WITHIN_S)
        below.connect(self.listener.getsockname())
        made = TlsSocket(below, context, "127.0.0.1")
        made.setblocking(False)
        return made, below


def read_as_paho_does(sock: TlsSocket, sizes: Iterator[int]) -> bytes:
    """Read to the end, waiting for the descriptor only when nothing is pending."""
    heard = bytearray()
    while True:
        if not sock.pending():
            assert select.select([sock.fileno()], [], [], WITHIN_S)[0], f"stalled after {len(heard)} bytes"
        try:
            data = sock.recv(next(sizes))
        except BlockingIOError:
            continue
        if not data:
            return bytes(heard)
        heard += data


def sizes_of(seed: int) -> Iterator[int]:
    chosen = random.Random(seed)
    while True:
        yield chosen.choice([1, 1, 2, 100, 20_000, 300_000])


SENT = random.Random(1).randbytes(3_000_000)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([1_000], id="many small messages in one record"),
        pytest.param([1] * 500, id="a record a byte"),
        pytest.param([3_000_000], id="a message of many records"),
        pytest.param([70_000, 3, 16_384, 16_385, 1] * 20, id="all kinds"),
        pytest.param([], id="nothing"),
    ],
)
@pytest.mark.parametrize("word", [True, False], ids=["closed properly", "closed without a word"])
@pytest.mark.process
def test_all_that_is_sent_can_be_read_and_nothing_stalls(pieces: list[int], word: bool) -> None:
    sent = b"".join(SENT[:size] for size in pieces)

    def send(connection: ssl.SSLSocket) -> None:
        for size in pieces:
            connection.sendall(SENT[:size])
        if word:
            connection.unwrap()

    server = Echoless(send)
    with closing(server.listener), closing(server.client()[0]) as sock:
        assert read_as_paho_does(sock, sizes_of(2)) == sent
        assert sock.recv(1) == b""


@pytest.mark.process
def test_what_is_in_one_record_is_pending_after_its_first_byte() -> None:
    over = threading.Event()

    def send(connection: ssl.SSLSocket) -> None:
        connection.sendall(SENT[:1000])
        over.wait(WITHIN_S)

    server = Echoless(send)
    with closing(server.listener), closing(server.client()[0]) as sock:
        first = b""
        while not first:
            assert select.select([sock.fileno()], [], [], WITHIN_S)[0]
            try:
                first = sock.recv(1)
            except BlockingIOError:  # a session ticket
                continue
        assert (first, sock.pending()) == (SENT[:1], 999)
        assert sock.recv(2000) == SENT[1:1000]
        assert sock.pending() == 0
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        over.set()


@pytest.mark.process
def test_a_send_that_would_block_is_repeated_and_no_byte_is_lost_or_doubled() -> None:
    go, heard = threading.Event(), bytearray()

    def listen(connection: ssl.SSLSocket) -> None:
        go.wait(WITHIN_S)
        while len(heard) < len(everything):
            heard.extend(connection.recv(2**16))
        connection.sendall(b"all")

    everything = SENT * 4
    server, blocked, at = Echoless(listen), 0, 0
    with closing(server.listener), closing(server.client()[0]) as sock:
        while at < len(everything):
            try:
                at += sock.send(everything[at:])
            except BlockingIOError:
                blocked += 1
                go.set()
                assert select.select([], [sock.fileno()], [], WITHIN_S)[1]
        assert read_as_paho_does(sock, sizes_of(4)) == b"all"
    assert blocked > 0
    assert bytes(heard) == everything


@on_linux
@pytest.mark.process
def test_what_a_socket_with_tls_reads_is_counted_and_stamped() -> None:
    server = Echoless(lambda connection: connection.sendall(b"x" * 40_000))
    with closing(server.listener):
        sock, below = server.client()
        with closing(sock):
            assert handshake(below.records) == overhead(below.records) > 500
            assert len(read_as_paho_does(sock, sizes_of(3))) == 40_000
            assert overhead(below.records) - handshake(below.records) == (2 + 3) * RECORD_OVERHEAD_BYTES
            assert below.arrived_ns > 0


# Whom a client trusts


def servers(*transports: str) -> list[Any]:
    """Return transport and server of all servers, or of those of some transports, as parameters."""
    return [
        pytest.param(
            name,
            server,
            marks=[needs(*programs), *[pytest.mark.long] * (server == "nchan")]
            if (programs := programs_of(server))
            else [],
        )
        for name, server in registry.server_names()
        if not transports or name in transports
    ]


async def speak(url: str, name: str, context: ssl.SSLContext | None) -> bytes:
    async with asyncio.timeout(WITHIN_S), connect(name, url, Meter(context)) as both:
        stream = await both.subscribe("topic")
        await both.publish("topic", b"heard")
        return (await anext(stream))[1]


@pytest.mark.parametrize(("name", "server"), servers())
@pytest.mark.process
def test_a_server_is_trusted_by_its_own_certificate_and_no_other(name: str, server: str) -> None:
    async def main() -> None:
        async with server_process(name, server, tls=True) as process:
            assert process.url.split("://")[0] in ("https", "wss", "mqtts", "tcps")
            assert await speak(process.url, name, client_context(process.ca)) == b"heard"
            other = make_certificate().authority
            with pytest.raises(Exception, match="certificate verify failed"):
                await speak(process.url, name, client_context(other))
            with pytest.raises(Exception, match="certificate verify failed"):
                await speak(process.url, name, None)  # the certificates of this system

    asyncio.run(main())


@pytest.mark.parametrize(("name", "server"), servers())
@pytest.mark.process
def test_a_certificate_for_another_host_is_refused(name: str, server: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("rtbench.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.private_key_pem.write_to_path(str(key))
    made.cert_chain_pems[0].write_to_path(str(cert))

    async def main() -> None:
        async with serve(name, server, tls=server_context(str(cert), str(key))) as url:
            with pytest.raises(Exception, match=r"not valid for '127\.0\.0\.1'"):
                await speak(url, name, client_context(authority.cert_pem.bytes().decode()))

    asyncio.run(main())


@pytest.mark.process
def test_older_versions_are_not_spoken() -> None:
    server = Echoless(lambda connection: None)
    server.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with closing(server.listener), pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        server.client()


@needs("curl")
@pytest.mark.process
def test_curl_verifies_the_https_server(tmp_path: Path) -> None:
    async def main() -> list[subprocess.CompletedProcess[str]]:
        async with server_process("polling", "embedded", tls=True) as process:
            (tmp_path / "ca.pem").write_text(process.ca or "")
            asked = ["curl", "--silent", "--show-error", "--tlsv1.3", "--write-out", "%{http_code}"]
            trust = ["--cacert", str(tmp_path / "ca.pem")]
            here = process.url.replace("127.0.0.1", "localhost")
            return [
                subprocess.run([*asked, *more], capture_output=True, text=True, timeout=WITHIN_S, check=False)
                for more in ([*trust, "-d", "x", f"{process.url}/t"], [*trust, f"{here}/t"], [f"{process.url}/t"])
            ]

    posted, got, refused = asyncio.run(main())
    assert (posted.returncode, posted.stdout) == (0, "204")
    assert got.returncode == 0
    assert refused.returncode == 60  # "peer certificate cannot be authenticated"


# MQTT, whose library reads its socket itself


@pytest.mark.parametrize(("name", "server"), servers("mqtt"))
@pytest.mark.process
@pytest.mark.long
def test_an_mqtt_connection_over_tls_is_kept_alive(name: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect.getmodule(registry.client(name).connect), "KEEP_ALIVE_S", 1)

    async def main() -> None:
        async with server_process(name, server, tls=True) as process:
            meter = Meter(client_context(process.ca))
            async with asyncio.timeout(WITHIN_S), connect(name, process.url, meter, qos=2) as both:
                stream = await both.subscribe("topic")
                while meter.keep_alives < 3:  # a PINGREQ without an answer would end the connection before the third
                    await asyncio.sleep(0.05)
                await both.publish("topic", b"still here")
                assert (await anext(stream))[1] == b"still here"

    asyncio.run(main())


@pytest.mark.parametrize(("name", "server"), servers("mqtt"))
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.process
def test_a_burst_over_mqtt_with_tls_comes_whole(name: str, server: str, qos: int) -> None:
    sizes = [1, 10, 100_000, 3, 20_000, 16_384] * 50

    async def main() -> None:
        async with server_process(name, server, tls=True) as process:
            meter = Meter(client_context(process.ca))
            async with asyncio.timeout(WITHIN_S), connect(name, process.url, meter, qos=qos) as both:
                stream = await both.subscribe("topic")
                await asyncio.gather(*(both.publish("topic", SENT[:size]) for size in sizes))
                assert [(await anext(stream))[1] for _ in sizes] == [SENT[:size] for size in sizes]

    asyncio.run(main())


# A measurement

SMALL: dict[str, Any] = {"trials": 1, "duration": "600ms", "warmup": "100ms", "interval": "200ms"}


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    chosen = ["embedded", *([] if missing(["mosquitto"]) else ["mosquitto"])]

    def make(directory: Path) -> None:
        package.compare(tls=True, sparse=False, server=chosen, out=directory / "out", **SMALL)

    return load_comparison(made_once(tmp_path_factory, "tls", make) / "out")


@pytest.fixture(scope="module")
def plain(comparison: Path) -> Comparison:
    return load_comparison(comparison)


@pytest.mark.process
def test_everything_is_delivered(encrypted: Comparison) -> None:
    assert [t.counts.error for t in encrypted.trials] == [None] * len(encrypted.trials)
    assert {v.transport for v in encrypted.variants} >= {"polling", "long-polling", "sse", "websocket", "mqtt", "tcp"}
    for row in encrypted.summary:
        assert (row["delivered"], row["lost"], row["corrupt"]) == (row["expected"], 0, 0)
        assert row["expected"] > 0
    assert {t.counts.server_url.split("://")[0] for t in encrypted.trials} == {"https", "wss", "mqtts", "tcps"}


@on_linux
@pytest.mark.process
def test_every_delivery_has_the_kernels_stamp(encrypted: Comparison) -> None:
    for variant in encrypted.variants:
        times = encrypted.samples(variant.name)
        assert len(times["received_ns"])
        assert (times["arrived_ns"] != 0).all()
        assert (times["arrived_ns"] <= times["received_ns"]).all()
        assert (times["arrived_ns"] > times["sent_ns"]).all()


@on_linux
@pytest.mark.process
def test_tls_is_a_layer_of_its_own_and_leaves_the_framing_as_it_is(encrypted: Comparison, plain: Comparison) -> None:
    for row in encrypted.summary:
        layers = [row[f"{layer}_bytes_per_delivery"] for layer in LAYERS]
        assert sum(layers) == pytest.approx(row["wire_bytes_per_delivery"])
        assert row["tls_bytes_per_delivery"] > 0
        if row["server"] == "embedded":
            before = plain.summary[row["variant"]]
            assert before["tls_bytes_per_delivery"] == 0
            framing = [r["framing_bytes_per_delivery"] for r in (row, before)]
            if row["requests_per_delivery"]:  # an answer has more or fewer messages in it
                framing = [
                    bytes_ / r["requests_per_delivery"] for bytes_, r in zip(framing, (row, before), strict=True)
                ]
            exactly = 1e-9 if row["transport"] in ("websocket", "mqtt", "tcp") else 0.3
            assert framing[0] == pytest.approx(framing[1], rel=exactly)


@on_linux
@pytest.mark.parametrize(("variant", "records"), [("tcp", 1), ("websocket", 1), ("mqtt-qos0", 1), ("mqtt-qos1", 2)])
@pytest.mark.process
def test_a_message_that_comes_by_itself_has_a_record_a_packet(
    encrypted: Comparison, variant: str, records: int
) -> None:
    row = encrypted.summary[variant]
    hops = 1 + row["publishers"] / row["subscribers"]  # each message goes in once and out to every subscriber
    most = records * hops * RECORD_OVERHEAD_BYTES
    assert most * 0.5 < row["tls_bytes_per_delivery"] <= most  # packets that are written at once share a record


@on_linux
@pytest.mark.process
def test_the_handshake_is_measured_apart(encrypted: Comparison, plain: Comparison) -> None:
    for row in encrypted.summary:
        handshake = row["tls_handshake_bytes_per_connection"]
        assert 1000 < handshake < 1600
        assert row["setup_bytes_per_connection"] > handshake
    assert set(plain.summary.column("tls_handshake_bytes_per_connection")) == {0.0}


@pytest.mark.process
def test_nobody_can_take_it_for_a_measurement_without(encrypted: Comparison, plain: Comparison) -> None:
    assert "; loopback, TLS 1.3;" in encrypted.report().replace("\n", " ")
    assert "TLS" not in plain.report()
    assert "loopback, TLS 1.3" in encrypted.bytes_per_delivery().alt
    assert "link loopback and loopback, TLS 1.3" in differing_conditions(plain, encrypted)


@pytest.mark.process
def test_it_is_measured_again_over_tls(encrypted: Comparison, plain: Comparison) -> None:
    assert settings_of(encrypted)["tls"].value is True
    assert settings_of(plain)["tls"].value is False


@on_linux
@pytest.mark.process
def test_the_chart_of_bytes_has_the_layer_where_there_is_tls(encrypted: Comparison, plain: Comparison) -> None:
    for result, shown in ((encrypted, True), (plain, False)):
        chart = result.bytes_per_delivery()
        assert ("TLS" in [text.get_text() for text in chart.figure.legends[0].get_texts()]) == shown


def test_a_server_that_has_no_tls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(registry.server("sse"), tls=False)
    real = registry.server
    monkeypatch.setattr(
        registry, "server", lambda name, server="embedded": bare if name == "sse" else real(name, server)
    )
    settings = resolve({"transport": ("sse", "argument"), "tls": (True, "argument")}, registry.settings())
    with pytest.raises(UsageError, match="--tls: the server embedded of sse has no TLS"):
        chosen_variants(settings, everything=False)
    chosen_variants(resolve({"transport": ("sse", "argument")}, registry.settings()), everything=False)


# The key


@pytest.mark.parametrize(("name", "server"), servers())
@pytest.mark.process
def test_no_key_is_on_disk_once_the_server_answers(
    name: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    async def main() -> None:
        async with server_process(name, server, tls=True) as process:
            assert [path.name for path in tmp_path.rglob("*.pem")] == []
            assert await speak(process.url, name, client_context(process.ca)) == b"heard"
        assert list(tmp_path.iterdir()) == []

    asyncio.run(main())


@pytest.mark.process
def test_a_run_leaves_no_file_and_no_key_behind(rtbench: Program) -> None:
    temporary = rtbench.directory / "tmp"
    temporary.mkdir()
    done = rtbench(
        *("run", "--transport", "mqtt", "--tls", "--trials", "1", "--duration", "200ms", "--out", "out"),
        TMPDIR=str(temporary),
    )
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []
    content = json.loads((rtbench.directory / "out" / "result.json").read_text())
    assert content["settings"]["tls"] == {"value": True, "source": "flag"}
    assert content["environment"]["link"] == "loopback, TLS 1.3"
    assert not [path for path in rtbench.directory.rglob("*") if path.is_file() and b"-----BEGIN" in path.read_bytes()]
