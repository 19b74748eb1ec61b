"""The bytes that the wire formats need: by hand, beside the codecs, and beside what real trials put on the wire."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientRequest
from aiohttp.http import SERVER_SOFTWARE
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

import rtbench
from rtbench.analysis.counts import TrialCounts
from rtbench.experiments.compare import load_comparison
from rtbench.result.comparison import Comparison
from rtbench.system.meter import Meter
from rtbench.transports import Connection, registry
from rtbench.transports.serving import serve
from rtbench.wire import http, lengths, mqtt, sse
from rtbench.wire.traffic import Flow, Predicted, Traffic, digits, flow, mean_digits
from rtbench.wire.websocket import frame_bytes
from tests.builders import change
from tests.conftest import Program
from tests.programs import needs

FLOWS = ("publish_up", "publish_down", "subscribe_up", "subscribe_down")
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([16_370, 16_383, 16_384, 65_535, 65_536, 70_000, 2_097_152]))


# Sizes, beside the specifications and the codecs


@pytest.mark.parametrize(
    ("payload_bytes", "masked", "size"),
    [
        (5, False, 7),  # the examples of RFC 6455 section 5.7
        (5, True, 11),
        (256, False, 260),
        (65_536, False, 65_546),
        (125, True, 131),  # the borders of section 5.2
        (126, True, 134),
        (65_535, True, 65_543),
        (65_536, True, 65_550),
    ],
)
def test_a_websocket_frame_has_the_size_of_the_specification(payload_bytes: int, masked: bool, size: int) -> None:
    assert frame_bytes(payload_bytes, masked) == size


@given(SIZES, st.booleans())
def test_a_websocket_frame_is_as_long_as_the_library_makes_it(payload_bytes: int, masked: bool) -> None:
    frame = Frame(Opcode.BINARY, b"." * payload_bytes)
    assert frame_bytes(payload_bytes, masked) == len(frame.serialize(mask=masked))


@pytest.mark.parametrize(
    ("payload_bytes", "qos", "size"),
    [
        (0, 0, 2 + 5),  # topic a/b: two bytes of length and three of text, MQTT 3.1.1 section 3.3.2.3
        (0, 1, 2 + 7),  # figure 3.11 there: with the packet id
        (122, 0, 2 + 127),  # the borders of table 2.4
        (123, 0, 3 + 128),
        (16_378, 0, 3 + 16_383),
        (16_379, 0, 4 + 16_384),
        (2_097_146, 0, 4 + 2_097_151),
        (2_097_147, 0, 5 + 2_097_152),
    ],
)
def test_a_publish_has_the_size_of_the_specification(payload_bytes: int, qos: int, size: int) -> None:
    assert mqtt.publish_bytes("a/b", payload_bytes, qos) == size


@given(st.sampled_from(["a", "fan-out/0", "grüße/1"]), SIZES, st.sampled_from([0, 1, 2]))
def test_a_publish_is_as_long_as_we_encode_it(topic: str, payload_bytes: int, qos: int) -> None:
    packet = mqtt.Publish(topic, b"." * payload_bytes, qos, packet_id=7 if qos else None)
    assert mqtt.publish_bytes(topic, payload_bytes, qos) == len(mqtt.encode(packet))


def test_acknowledgements_and_pings_are_as_long_as_we_encode_them() -> None:
    kinds = (mqtt.Puback, mqtt.Pubrec, mqtt.Pubrel, mqtt.Pubcomp)
    assert {len(mqtt.encode(kind(1))) for kind in kinds} == {mqtt.ACKNOWLEDGEMENT_BYTES}
    assert len(mqtt.encode(mqtt.Pingreq())) == len(mqtt.encode(mqtt.Pingresp())) == mqtt.PING_BYTES


@given(SIZES, st.integers(0, 10**6))
def test_an_event_is_as_long_as_we_encode_it(payload_bytes: int, number: int) -> None:
    cursor = f"ab12-{number}"
    assert sse.event_bytes(payload_bytes, len(cursor)) == len(sse.encode(b"." * payload_bytes, cursor))


@pytest.mark.parametrize(("data_bytes", "size"), [(1, 6), (15, 20), (16, 22), (255, 261), (256, 263), (4096, 4104)])
def test_a_chunk_is_its_size_in_hexadecimal_its_data_and_two_line_ends(data_bytes: int, size: int) -> None:
    assert http.chunk_bytes(data_bytes) == size  # RFC 9112 section 7.1


@given(st.integers(0, 300), st.integers(1, 20))
def test_several_messages_are_as_long_as_we_join_them(message_bytes: int, count: int) -> None:
    _, body = http.join([b"." * message_bytes] * count)
    assert http.joined_bytes(message_bytes, count) == len(body)


def test_a_head_ends_with_an_empty_line() -> None:
    text = "GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"
    assert http.head_bytes("GET / HTTP/1.1", {"Host": "a", "Accept": "*/*"}) == len(text)


@given(st.integers(1, 2000), st.integers(0, 2000))
def test_digits_are_counted_one_by_one(first: int, more: int) -> None:
    assert digits(first, first + more) == sum(len(str(n)) for n in range(first, first + more + 1))


@pytest.mark.parametrize(("unit_bytes", "units"), [(1, 3), (16_384, 3), (16_385, 6), (50_000, 12)])
def test_a_unit_is_a_write_of_at_most_16_kib(unit_bytes: int, units: int) -> None:
    assert flow(3, unit_bytes) == Flow(3 * unit_bytes, units)


# What each client predicts, reckoned by hand

# two publishers of 4 messages each on the topic `room`, of 100 bytes; three subscribers
TRAFFIC = Traffic(
    server_url="http://127.0.0.1:40000",
    payload_bytes=100,
    publishers={"room": 2},
    subscribers={"room": 3},
    published={"room": 8},
    delivered={"room": 24},
    requests=0,
    batches={},
    publisher_keep_alives=0,
    subscriber_keep_alives=0,
)
ENCODINGS = {str(name): value for name, value in ClientRequest.DEFAULT_HEADERS.items()}[
    "Accept-Encoding"
]  # brotli where it is installed
DATE = f"Date: Mon, 23 Nov 2026 09:18:58 GMT\r\nServer: {SERVER_SOFTWARE}\r\n\r\n"  # as captured, as is all below
POST = (
    f"POST /room HTTP/1.1\r\nHost: 127.0.0.1:40000\r\nAccept: */*\r\nAccept-Encoding: {ENCODINGS}\r\n"
    f"User-Agent: {SERVER_SOFTWARE}\r\nContent-Length: 100\r\nContent-Type: application/octet-stream\r\n\r\n{'x' * 100}"
)
NO_CONTENT = f"HTTP/1.1 204 No Content\r\n{DATE}"
GET = (
    'GET /room HTTP/1.1\r\nHost: 127.0.0.1:40000\r\nIf-None-Match: "8ffd-7"\r\nAccept: */*\r\n'
    f"Accept-Encoding: {ENCODINGS}\r\nUser-Agent: {SERVER_SOFTWARE}\r\n\r\n"
)
NOTHING = f'HTTP/1.1 304 Not Modified\r\nETag: "8ffd-7"\r\n{DATE}'
ONE = (
    'HTTP/1.1 200 OK\r\nETag: "8ffd-7"\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n'
    f"{DATE}{'x' * 100}"
)
PART = f"--m\r\n\r\n{'x' * 100}\r\n"
THREE = (
    'HTTP/1.1 200 OK\r\nETag: "8ffd-7"\r\nContent-Type: multipart/mixed; boundary=m\r\nContent-Length: 332\r\n'
    f"{DATE}{PART * 3}--m--"
)
PUBLISHED = (len(POST) * 8, 8), (len(NO_CONTENT) * 8, 8)


def connect(name: str) -> Callable[..., AbstractAsyncContextManager[Connection]]:
    found = registry.client(name).connect
    assert found is not None
    return found


def predicted(name: str, traffic: Traffic, **options: Any) -> dict[str, tuple[int, int]]:
    predict = registry.client(name).predict
    assert predict is not None
    flows = predict(traffic, **options)
    return {name: (getattr(flows, name).bytes, getattr(flows, name).units) for name in FLOWS}


def four(*flows: tuple[int, int]) -> dict[str, tuple[int, int]]:
    return dict(zip(FLOWS, flows, strict=True))


def test_tcp_has_two_bytes_of_length() -> None:
    assert predicted("tcp", TRAFFIC) == four((8 * 102, 8), (0, 0), (0, 0), (24 * 102, 24))


@pytest.mark.parametrize("payload_bytes", [39, 100, 125, 126, 32_767, 32_768, 65_535, 65_536, 1_000_000])
@pytest.mark.parametrize("name", registry.installed())
def test_nothing_needs_fewer_bytes_above_tcp_than_tcp(name: str, payload_bytes: int) -> None:
    one_by_one = replace(TRAFFIC, payload_bytes=payload_bytes, requests=24, batches={1: 24})
    floor, other = predicted("tcp", one_by_one), predicted(name, one_by_one)
    for flow_of in FLOWS:
        assert floor[flow_of][0] <= other[flow_of][0]


@given(st.one_of(st.integers(0, 2**31 - 1), st.sampled_from([2**15 - 1, 2**15, 2**16 - 1, 2**16, lengths.GAP])))
def test_a_length_is_read_as_it_was_written_and_not_before_it_is_whole(length: int) -> None:
    written = lengths.encode(length)
    assert lengths.decode(b"before" + written + b"after", 6) == (length, 6 + len(written))
    assert [lengths.decode(written[:end]) for end in range(len(written))] == [None] * len(written)


def test_websocket_masks_what_the_client_sends() -> None:
    assert predicted("websocket", TRAFFIC) == four((8 * 106, 8), (0, 0), (0, 0), (24 * 102, 24))


@pytest.mark.parametrize(
    ("qos", "flows"),
    [
        (0, four((8 * 108, 8), (0, 0), (0, 0), (24 * 108, 24))),
        (1, four((8 * 110, 8), (8 * 4, 8), (24 * 4, 24), (24 * 110, 24))),
        (2, four((8 * 114, 16), (8 * 8, 16), (24 * 8, 48), (24 * 114, 48))),
    ],
)
def test_mqtt_acknowledges_on_each_hop(qos: int, flows: Mapping[str, tuple[int, int]]) -> None:
    assert predicted("mqtt", TRAFFIC, qos=qos) == flows


def test_mqtt_pings_both_ways() -> None:
    pinged = replace(TRAFFIC, publisher_keep_alives=2, subscriber_keep_alives=3)
    assert predicted("mqtt", pinged, qos=0) == four((8 * 108 + 4, 10), (4, 2), (6, 3), (24 * 108 + 6, 27))


def test_sse_numbers_its_events_from_the_probes_on() -> None:
    # ids 3 to 10: seven of one digit, one of two, for each subscriber; 24 events in chunks of one, but two in one
    events = 24 * (18 + 100) + 3 * (7 + 2)
    chunks = 22 * (2 + 4) + 1 * (2 + 4)  # 77 or 78 hexadecimal, and ee for two
    traffic = replace(TRAFFIC, batches={1: 22, 2: 1})
    assert predicted("sse", traffic) == four(*PUBLISHED, (0, 0), (events + chunks, 23))


@pytest.mark.parametrize(("name", "more"), [("polling", 0), ("long-polling", len("Prefer: wait=30\r\n"))])
def test_a_request_is_as_long_as_one_that_was_captured(name: str, more: int) -> None:
    # eight messages have the numbers 3 to 10: nine digits
    traffic = replace(TRAFFIC, requests=72, batches={0: 40, 1: 16, 3: 8})
    answers = 40 * len(NOTHING) + 16 * len(ONE) + 8 * len(THREE) + (40 + 16 + 8) // 8
    assert predicted(name, traffic) == four(*PUBLISHED, (72 * (len(GET) + more) + 72 // 8, 72), (answers, 64))


@pytest.mark.parametrize("name", ["polling", "long-polling", "sse"])
def test_a_connection_that_is_closed_is_said_to_be_in_both_heads(name: str) -> None:
    traffic, field = replace(TRAFFIC, requests=72, batches={1: 24}), len("Connection: close\r\n")
    usual, closing = predicted(name, traffic), predicted(name, traffic, close=True)
    more = {flow: closing[flow][0] - usual[flow][0] for flow in FLOWS}
    asked = (72 * field, 24 * field) if name != "sse" else (0, 0)
    assert more == dict(zip(FLOWS, (8 * field, 8 * field, *asked), strict=True))


def test_digits_of_cursors_are_a_mean_over_topics() -> None:
    both = replace(TRAFFIC, publishers={"a": 1, "b": 1}, subscribers={"a": 1, "b": 3}, published={"a": 8, "b": 99})
    assert mean_digits(both) == pytest.approx((8 + 3 * digits(2, 100)) / (8 + 3 * 99))
    assert mean_digits(replace(both, published={})) == 0


# Beside real trials


def flows_of(counts: TrialCounts) -> list[tuple[str, int, int, int]]:
    """Measured and predicted bytes, of each direction on each hop, and in how many units."""
    publisher, subscriber, expected = counts.publisher_run_wire, counts.subscriber_run_wire, counts.predicted
    assert publisher is not None
    assert subscriber is not None
    assert expected is not None
    up = [wire.up.carried_bytes - wire.retransmitted_bytes for wire in (publisher, subscriber)]
    measured = up[0], publisher.down.carried_bytes, up[1], subscriber.down.carried_bytes
    flows = [getattr(expected, name) for name in FLOWS]
    return [(name, n, f.bytes, f.units) for name, n, f in zip(FLOWS, measured, flows, strict=True)]


def check(result: Comparison) -> None:
    assert [trial.counts.error for trial in result.trials if trial.counts.error] == []
    for counts in counts_of(result):
        for name, measured, expected, units in flows_of(counts):
            # where nothing is asked for, the counts determine every byte; else a request may be half-way at the end
            apart = 0.01 * expected + expected / units if counts.requests else 0
            assert abs(measured - expected) <= apart, f"{counts.variant}: {name} {measured}, not {expected}"
    for row in result.summary:
        assert abs(row["above_tcp_difference_percent"]) < 1
        assert row["predicted_framing_bytes_per_delivery"] == pytest.approx(row["framing_bytes_per_delivery"], rel=0.01)
    assert "predicted" not in result.report()


def counts_of(result: Comparison) -> list[TrialCounts]:
    return [trial.counts for trial in result.trials if not trial.counts.error]


linux = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO")


@pytest.mark.process
@linux
def test_small_messages_to_many_take_the_bytes_that_were_predicted(comparison: Path) -> None:
    check(load_comparison(comparison))


@pytest.mark.process
@linux
@pytest.mark.long
def test_large_messages_from_many_take_the_bytes_that_were_predicted() -> None:
    check(
        rtbench.compare(
            sparse=False, pattern="pairs", payload=5000, trials=1, duration="600ms", warmup="100ms", interval="100ms"
        )
    )


@pytest.mark.process
@pytest.mark.long
@linux
@needs("mosquitto")
def test_a_broker_in_c_takes_the_bytes_that_were_predicted() -> None:
    few: dict[str, Any] = {"pattern": "fan-in", "trials": 1, "duration": "600ms", "warmup": "100ms", "control": False}
    check(rtbench.compare(sparse=False, transport="mqtt", server="mosquitto", **few))


@pytest.mark.process
def test_an_answer_is_counted_by_the_messages_in_it() -> None:
    async def poll() -> None:
        meter = Meter()
        async with (
            serve("polling", "embedded", "127.0.0.1", 0, {}) as url,
            connect("polling")(url, meter, interval_s=0.01) as connection,
            asyncio.timeout(20),
        ):
            stream = await connection.subscribe("room")
            for _ in range(3):
                await connection.publish("room", b"x")
            for _ in range(3):
                await anext(stream)
        assert {size: n for size, n in meter.batches.items() if size} == {3: 1}

    asyncio.run(poll())


@pytest.mark.process
def test_a_chunk_of_a_stream_is_counted_by_the_events_in_it() -> None:
    one, two = sse.encode(b"x", "e-1"), sse.encode(b"x", "e-2") * 2
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    content = head + b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in (two, one, two))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(len(content)):  # byte by byte, as far as TCP lets it
            writer.write(content[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    async def listen() -> None:
        meter = Meter()
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with connect("sse")(url, meter) as connection, asyncio.timeout(20):
                stream = await connection.subscribe("room")
                for _ in range(5):
                    await anext(stream)
                waiting = asyncio.ensure_future(anext(stream))
                while meter.batches.total() < 3:  # the end of the last chunk comes after its events
                    await asyncio.sleep(0.01)
                waiting.cancel()
        assert meter.batches == {2: 2, 1: 1}

    asyncio.run(listen())


@pytest.mark.process
@linux
@pytest.mark.long
def test_pings_are_counted_apart_and_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    connect_mqtt = connect("mqtt")
    # aiomqtt looks once a second whether a ping is due, and the broker waits for half as long again
    monkeypatch.setattr(sys.modules[connect_mqtt.__module__], "KEEP_ALIVE_S", 3)

    async def idle() -> None:
        meter = Meter()
        async with serve("mqtt", "embedded", "127.0.0.1", 0, {}) as url, connect_mqtt(url, meter) as connection:
            await connection.subscribe("room")
            before = meter.totals()
            assert before is not None
            async with asyncio.timeout(20):
                while not meter.keep_alives:
                    await asyncio.sleep(0.02)
                while (now := meter.totals()) and (grown := now - before).carried_bytes < meter.keep_alive_bytes:
                    await asyncio.sleep(0.02)
            pings = meter.keep_alives
            assert meter.keep_alive_bytes == grown.carried_bytes == 4 * pings
            quiet = replace(TRAFFIC, published={}, delivered={}, subscriber_keep_alives=pings)
            flows = predicted("mqtt", quiet, qos=0)
            assert flows == four((0, 0), (0, 0), (grown.up.carried_bytes, pings), (grown.down.carried_bytes, pings))

    asyncio.run(idle())


# When they part

CHATTY = """
from importlib.metadata import entry_points

from aiohttp import web_response

web_response.SERVER_SOFTWARE += " behind a gateway"
(ours,) = entry_points(group="rtbench.servers", name="long-polling")
serve = ours.load().serve
"""


@pytest.mark.process
@linux
def test_a_server_with_longer_heads_is_reported(rtbench: Program) -> None:
    (rtbench.directory / "chatty.py").write_text(CHATTY)
    information = rtbench.directory / "chatty-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: chatty\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[rtbench.servers]\nlong-polling.chatty = chatty\n")
    done = rtbench(
        *("run", "--transport", "long-polling", "--server", "chatty", "--out", "out"),
        *("--trials", "1", "--duration", "500ms", "--warmup", "0"),
        PYTHONPATH=str(rtbench.directory),
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "bytes above TCP, server to client:" in said
    assert "predicted from the wire format (+" in said
    (counts,) = counts_of(load_comparison(rtbench.directory / "out"))
    answers = {name: measured - expected for name, measured, expected, _ in flows_of(counts)}
    longer = len(" behind a gateway")
    assert answers["publish_up"] == 0
    assert answers["publish_down"] == longer * counts.published_in_all
    assert answers["subscribe_down"] == pytest.approx(longer * counts.requests, rel=0.1)


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "factor", "line"),
    [
        ("subscribe_down", 1.005, None),
        ("subscribe_down", 0.995, None),
        ("subscribe_down", 0.98, "server to client: .* \\(\\+2.0 %\\): .* write what the format does not need"),
        ("subscribe_down", 1.25, "server to client: .* \\(-20.0 %\\): .* messages did not get onto the wire"),
        ("publish_up", 0.5, "client to server: .* \\(\\+100.0 %\\): .* write what the format does not need"),
    ],
)
def test_a_difference_above_one_percent_has_a_line_in_the_report(
    comparison: Path, name: str, factor: float, line: str | None
) -> None:
    result = load_comparison(comparison)
    for trial in result.trials_of("websocket"):
        expected = trial.counts.predicted
        assert expected is not None
        right: Flow = getattr(expected, name)
        wrong: Any = {name: replace(right, bytes=round(right.bytes * factor))}
        change(result, trial.counts.index, predicted=replace(expected, **wrong))
    report = " ".join(result.report().split())
    if line is None:
        assert "bytes above TCP" not in report
    else:
        assert re.search(f"bytes above TCP, {line}", report), report
    assert result.summary["websocket"]["verdict"] == load_comparison(comparison).summary["websocket"]["verdict"]


@pytest.mark.process
def test_what_tcp_sends_again_is_not_above_it(comparison: Path) -> None:
    result = load_comparison(comparison)
    once = dict(load_comparison(comparison).summary["websocket"])
    for trial in result.trials_of("websocket"):
        wire = trial.counts.publisher_run_wire
        assert wire is not None
        up = replace(wire.up, carried_bytes=wire.up.carried_bytes + 5000)
        again = replace(wire, up=up, retransmitted_bytes=wire.retransmitted_bytes + 5000)
        change(result, trial.counts.index, publisher_run_wire=again)
    twice = result.summary["websocket"]
    assert twice["tcp_ip_up_bytes_per_delivery"] > once["tcp_ip_up_bytes_per_delivery"]
    for name in ("framing_bytes_per_delivery", "above_tcp_difference_percent"):
        assert twice[name] == once[name]


@pytest.mark.process
@pytest.mark.parametrize("layer", ["framing", "tls"])
def test_the_prediction_of_a_layer_is_that_of_both_directions(comparison: Path, layer: str) -> None:
    for row in load_comparison(comparison).trial_table:
        both = [row[f"predicted_{layer}_{way}_bytes_per_delivery"] for way in ("up", "down")]
        assert sum(both) == pytest.approx(row[f"predicted_{layer}_bytes_per_delivery"])


@pytest.mark.process
def test_without_a_prediction_the_columns_are_empty(comparison: Path) -> None:
    result = load_comparison(comparison)
    change(result, lambda _: True, predicted=None)
    for row in result.summary:
        assert row["framing_bytes_per_delivery"] > 0
        for name in ("framing", "framing_up", "tls_down"):
            assert row[f"predicted_{name}_bytes_per_delivery"] is None
        assert row["above_tcp_difference_percent"] is None
    assert "bytes above TCP" not in result.report()


@pytest.mark.process
def test_a_prediction_is_saved_and_read_again(comparison: Path) -> None:
    for trial in load_comparison(comparison).trials:
        assert isinstance(trial.counts.predicted, Predicted)
        assert isinstance(trial.counts.predicted.subscribe_down, Flow)
        assert trial.counts.predicted.subscribe_down.bytes > 0
