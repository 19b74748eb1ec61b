"""Laws that every lesson leans on, held against short runs: ratios and exact counts, never absolute times."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import numpy as np
import pytest
import scipy.stats
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from rtbench.experiments.compare import load_comparison
from rtbench.system.meter import Meter
from rtbench.transports.serving import serve
from rtbench.wire import mqtt
from tests.conftest import Program
from tests.connecting import connect

WITHIN_S = 20.0
HANDSHAKE = (mqtt.Publish, mqtt.Puback, mqtt.Pubrec, mqtt.Pubrel, mqtt.Pubcomp)


# A quality of service costs 1, 2 or 4 packets a hop


@dataclass(eq=False)
class Hop:
    """One connection to a broker, with every control packet that has passed, either way."""

    packets: Counter[str] = field(default_factory=Counter)

    @property
    def handshake(self) -> dict[str, int]:
        names = [kind.__name__ for kind in HANDSHAKE]
        return {name: self.packets[name] for name in names if self.packets[name]}

    async def forward(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        """Pass the bytes of one direction on as they come, and take note of the packets they make."""
        reader = mqtt.Reader()
        while data := await source.read(65536):
            to.write(data)
            for first, body in reader.feed(data):
                self.packets[type(mqtt.decode(first, body)).__name__] += 1
        to.close()


@asynccontextmanager
async def tapped(url: str) -> AsyncIterator[tuple[str, list[Hop]]]:
    """Stand between clients and a broker; yield the URL to connect to, and the hops in the order they were opened."""
    broker = urlsplit(url)
    hops: list[Hop] = []

    async def pass_on(near: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        hop = Hop()
        hops.append(hop)
        far, server = await asyncio.open_connection(broker.hostname, broker.port)
        await asyncio.gather(hop.forward(near, server), hop.forward(far, client), return_exceptions=True)

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as tap:
        host, port = tap.sockets[0].getsockname()
        yield f"mqtt://{host}:{port}", hops


@pytest.mark.parametrize(
    ("qos", "packets"),
    [
        pytest.param(0, ["Publish"], id="QoS 0 takes one"),
        pytest.param(1, ["Publish", "Puback"], id="QoS 1 takes two"),
        pytest.param(2, ["Publish", "Pubrec", "Pubrel", "Pubcomp"], id="QoS 2 takes four"),
    ],
)
@pytest.mark.process
def test_packets_a_hop(qos: int, packets: list[str]) -> None:
    count = 50

    async def exchange() -> list[Hop]:
        async with (
            asyncio.timeout(WITHIN_S),
            serve("mqtt") as url,
            tapped(url) as (way_in, hops),
        ):
            async with (
                connect("mqtt", way_in, Meter(), qos=qos) as subscriber,
                connect("mqtt", way_in, Meter(), qos=qos) as publisher,
            ):
                stream = await subscriber.subscribe("law/8")
                for n in range(count):
                    await publisher.publish("law/8", b"%d" % n)
                for n in range(count):
                    assert (await anext(stream))[1] == b"%d" % n
                while any(hop.handshake.get(packets[-1], 0) < count for hop in hops):
                    await asyncio.sleep(0.01)  # the end of the last handshake
            await asyncio.sleep(0.05)  # for what would be too many
            return hops

    hops = asyncio.run(exchange())
    assert [hop.handshake for hop in hops] == [dict.fromkeys(packets, count)] * 2
    assert [sum(hop.handshake.values()) / count for hop in hops] == [(1, 2, 4)[qos]] * 2


# What arrives has the lower one of the two qualities


def paho(port: int) -> PahoClient:
    client = PahoClient(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def exchanged(port: int) -> dict[tuple[int, int], int]:
    """Return the QoS of what arrived, by the QoS it was published with and the QoS granted to the subscription."""
    arrived: dict[tuple[int, int], int] = {}
    granted: dict[int, int] = {}
    all_granted, all_here = Event(), Event()
    subscribers = [paho(port) for _ in range(3)]
    publisher = paho(port)

    def on_message(_client: PahoClient, asked: int, message: MQTTMessage) -> None:
        arrived[int(message.payload), asked] = message.qos
        if len(arrived) == 9:
            all_here.set()

    def on_subscribe(_client: PahoClient, asked: int, _id: int, codes: list[ReasonCode], _: Properties) -> None:
        granted[asked] = codes[0].value
        if len(granted) == 3:
            all_granted.set()

    try:
        for asked, client in enumerate(subscribers):
            client.user_data_set(asked)
            client.on_message = on_message
            client.on_subscribe = on_subscribe
            client.subscribe("law/12", asked)
        assert all_granted.wait(WITHIN_S)
        assert granted == {0: 0, 1: 1, 2: 2}
        for published in range(3):
            publisher.publish("law/12", b"%d" % published, published)
        assert all_here.wait(WITHIN_S), arrived
    finally:
        for client in (*subscribers, publisher):
            client.disconnect()
            client.loop_stop()
    return arrived


@pytest.mark.process
def test_what_arrives_has_the_lower_of_the_published_and_the_granted_qos() -> None:
    async def with_broker() -> dict[tuple[int, int], int]:
        async with serve("mqtt") as url:
            return await asyncio.to_thread(exchanged, urlsplit(url).port or 0)

    arrived = asyncio.run(with_broker())
    assert arrived == {(p, g): min(p, g) for p in range(3) for g in range(3)}


# Polling


@dataclass(frozen=True)
class Polled:
    """A run of polling: its row of trials.csv, and its directory."""

    row: dict[str, str]
    directory: Path

    def number(self, column: str) -> float:
        return float(self.row[column])


SUBSCRIBERS, RATE_HZ, INTERVAL_S, DURATION_S = 10, 100, 0.2, 3.0


@pytest.fixture(scope="module")
def polled(tmp_path_factory: pytest.TempPathFactory) -> Polled:
    directory = tmp_path_factory.mktemp("polling")
    done = Program(directory)(
        *("run", "--transport", "polling", "--interval", f"{INTERVAL_S}s", "--subscribers", str(SUBSCRIBERS)),
        *("--rate", str(RATE_HZ), "--arrivals", "poisson", "--duration", f"{DURATION_S}s", "--warmup", "0s"),
        *("--trials", "1", "--out", "out"),
    )
    assert done.returncode == 0, done.stderr
    with (directory / "out" / "trials.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["delivered"] == row["expected"]
    return Polled(row, directory / "out")


@pytest.mark.alone
def test_clients_make_as_many_requests_a_second_as_their_number_over_the_interval(polled: Polled) -> None:
    requests_hz = polled.number("requests") / polled.number("wall_s")
    assert requests_hz == pytest.approx(SUBSCRIBERS / INTERVAL_S, rel=0.1)


@pytest.mark.alone
def test_the_mean_number_under_way_is_the_rate_times_the_mean_latency(polled: Polled) -> None:
    """Little's law, L = lambda W: L is integrated from the samples on a grid, W and lambda are columns."""
    (trial,) = load_comparison(polled.directory).trials
    start, end = trial.publishes.due_ns.min(), trial.deliveries.received_ns.max()
    grid = np.linspace(start, end, 20_001)
    due = np.sort(np.repeat(trial.publishes.due_ns, SUBSCRIBERS))
    received = np.sort(trial.deliveries.received_ns)
    under_way = np.searchsorted(due, grid, side="right") - np.searchsorted(received, grid, side="right")
    assert under_way.min() >= 0
    mean_under_way = np.trapezoid(under_way, grid) / (end - start)
    rate_hz = polled.number("published") * SUBSCRIBERS / ((end - start) / 1e9)
    assert mean_under_way == pytest.approx(rate_hz * polled.number("latency_mean_ms") / 1e3, rel=0.02)


@pytest.mark.alone
def test_the_wait_for_the_next_poll_is_spread_evenly_over_the_interval(polled: Polled) -> None:
    """The distance to the law (Kolmogorov-Smirnov) is bounded, not a p-value: deliveries of one poll are no
    independent sample, and a law that is nearly right is refuted by enough of them.
    """
    latency_ms = load_comparison(polled.directory).latency_ms("polling")
    assert len(latency_ms) > 1000
    distance = scipy.stats.kstest(latency_ms, "uniform", args=(0, 1000 * INTERVAL_S)).statistic
    assert distance < 0.08


# Coordinated omission: who waits for an answer before he sends again does not see what he kept waiting


@pytest.mark.parametrize("flags", [("sse",), ("mqtt", "--qos", "1"), ("mqtt", "--qos", "2")], ids="-".join)
@pytest.mark.alone
def test_a_stall_is_charged_to_all_that_was_due_in_it_and_hardly_seen_from_the_time_of_sending(
    rtbench: Program, flags: tuple[str, ...]
) -> None:
    load = ("--rate", "1000", "--subscribers", "1", "--trials", "1", "--duration", "8s", "--warmup", "0")
    process = rtbench.start("run", "--transport", *flags, *load, "--out", "out")
    frozen_ms = 1000 * rtbench.freeze_server(1.4)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    row = next(csv.DictReader((rtbench.directory / "out" / "summary.csv").open()))
    assert float(row["latency_p99_ms"]) > 0.7 * frozen_ms
    # What is left is the queue while the sender catches up: it depends on the machine, the stall does not
    assert float(row["latency_from_sent_p99_ms"]) < frozen_ms / 4
    assert "messages waited for their turn" in out


@pytest.mark.alone
def test_where_nothing_holds_the_sender_back_a_stall_is_seen_from_the_time_of_sending_too(rtbench: Program) -> None:
    load = ("--rate", "1000", "--subscribers", "1", "--trials", "1", "--duration", "3500ms", "--warmup", "0")
    process = rtbench.start("run", "--transport", "websocket", *load, "--out", "out")
    frozen_ms = 1000 * rtbench.freeze_server(1.0)
    process.communicate(timeout=60)
    row = next(csv.DictReader((rtbench.directory / "out" / "summary.csv").open()))
    assert float(row["latency_p99_ms"]) > 0.7 * frozen_ms
    assert float(row["latency_from_sent_p99_ms"]) > 0.7 * frozen_ms
