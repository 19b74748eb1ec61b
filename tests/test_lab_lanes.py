"""The lanes of the lab, in a real browser: every message, every button, and what breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import rtbench
from rtbench.lab.lanes import LANES
from tests.capture import packets
from tests.capture import start as start_capture
from tests.lab_page import IN_A_BROWSER, WITHIN_MS, Pages, figures, pages, running_lab, start, stop
from tests.programs import needs

pytestmark = IN_A_BROWSER
# The page hears 600 ms late what its source sent; it listens to no other Worker with addEventListener.
A_LATE_SOURCE = """
window.Worker = class extends Worker {
  addEventListener(type, listener) {
    super.addEventListener(type, (event) => setTimeout(() => listener(event), 600));
  }
};
"""
LABELS = [kind.label for kind in LANES]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sessions")


@pytest.fixture(scope="module")
def lab(out: Path) -> Iterator[Pages]:
    with pages("--out", str(out)) as made:
        yield made


def published(page: Any, count: int) -> None:
    """Wait until every lane has published so many messages."""
    for label in LABELS:
        row = page.locator(f"#lane-{label}")
        if row.is_visible():
            until_at_least(row.locator("td[data-name=sent]"), count)


def until_at_least(cell: Any, count: int) -> None:
    for _ in range(WITHIN_MS // 50):
        if int(cell.inner_text().split("/")[0].strip().replace(",", "").replace("–", "0")) >= count:
            return
        cell.page.wait_for_timeout(50)
    raise AssertionError(f"{cell.inner_text()} is less than {count}")


def test_every_lane_delivers_every_message_and_the_servers_count_the_same(lab: Pages) -> None:
    page = lab.open("#rtt=20&rate=20&interval=100&subscribers=2")
    start(page)
    published(page, 40)
    found = stop(page)
    assert list(found) == LABELS
    for row in found.values():
        sent, relayed = row["sent"].split(" / ")
        assert sent == relayed
        assert (row["lost"], row["twice"]) == ("0", "0")
        assert float(row["p50"]) > 20, "half the round-trip time up, and half down"
    p50 = {label: float(row["p50"]) for label, row in found.items()}
    assert p50["mqtt-qos2"] > 1.8 * p50["mqtt-qos1"], "two round trips more"
    assert p50["polling"] > p50["websocket"]
    requests = {label: int(row["requests"]) for label, row in found.items()}
    assert requests["sse"] == requests["websocket"] == 2, "one for each subscriber"
    assert requests["mqtt-qos0"] == 4, "a connection and a subscription each"
    assert requests["long-polling"] > 60
    page.context.close()


def test_no_worker_keeps_the_browser_from_freeing_memory_while_it_runs(lab: Pages) -> None:
    """The browser frees what a Worker posted only when the Worker returns to its event loop, as it must to answer here."""
    page = lab.open("#rate=20")
    start(page)
    published(page, 20)
    asked = page.evaluate(
        """Promise.race([
          performance.measureUserAgentSpecificMemory().then(({breakdown}) =>
            breakdown.flatMap(({attribution}) => attribution.map(({url}) => url.split("/").at(-1)))),
          new Promise((resolve) => setTimeout(() => resolve(["no answer"]), 60_000)),
        ])"""
    )
    workers = sorted(name for name in asked if name.endswith(".js"))
    assert workers == [*["lane-worker.js"] * len(LABELS), "source-worker.js", "ticker-worker.js"]
    stop(page)
    page.context.close()


def test_what_was_predicted_stands_beside_what_was_measured(lab: Pages) -> None:
    page = lab.open("#rtt=40&rate=10&interval=200&lanes=polling,websocket")
    page.get_by_label("websocket: faster").click()
    page.get_by_label("median of websocket, in ms").fill("45")
    start(page)
    published(page, 10)
    stop(page)
    first = page.locator("#revealed tbody tr").first.inner_text().split("\t")
    assert first[:4] == ["1", "websocket", "place 1 ✓", "45.0 ms"]
    assert page.locator("#latency-chart canvas").count() == 1
    page.click("#again")
    assert page.is_visible("#predict")
    assert page.is_hidden("#reveal")
    page.context.close()


def test_why_opens_the_packets_of_one_message(lab: Pages) -> None:
    page = lab.open("#rtt=30&rate=10&interval=200&lanes=polling,sse,mqtt-qos2")
    start(page)
    published(page, 5)
    found = stop(page)
    titles = {}
    for label in ("polling", "sse", "mqtt-qos2"):
        page.click(f"#why-{label}")
        page.wait_for_selector(f"#ladder-about:has-text('{label}: one message')")
        titles[label] = [row.inner_text() for row in page.query_selector_all("#ladder-steps strong")]
    assert titles["mqtt-qos2"] == [
        *("→ PUBLISH", "← PUBREC", "→ PUBREL", "← PUBLISH", "← PUBCOMP", "→ PUBREC", "← PUBREL", "→ PUBCOMP")
    ]
    assert any(title.startswith("→ POST /lab/") for title in titles["sse"])
    assert "← 304 Not Modified" in titles["polling"] or "← 200 OK" in titles["polling"]
    assert figures(page) == found, "what is sent to show the packets is not of the run"
    page.context.close()


def test_the_last_message_counts_though_the_page_learns_of_it_late(lab: Pages) -> None:
    context = lab.browser.new_context()
    context.add_init_script(A_LATE_SOURCE)
    page = lab.beside(context, "#rtt=0&rate=50&lanes=sse,websocket,mqtt-qos1")
    start(page)
    published(page, 20)
    for row in stop(page).values():
        sent, relayed = row["sent"].split(" / ")
        assert (sent, row["lost"]) == (relayed, "0")
    context.close()


def test_a_cut_is_survived_by_who_continues_where_it_was(lab: Pages) -> None:
    page = lab.open("#rtt=20&rate=10&interval=100")
    start(page)
    published(page, 5)
    page.click("[data-fault=cut]")
    page.wait_for_selector("#broken:has-text('cut: all lanes – over')")
    published(page, 60)
    found = stop(page)
    for label in ("mqtt-qos1", "mqtt-qos2"):
        assert found[label]["lost"] == "0"
    assert found["mqtt-qos2"]["twice"] == "0"
    assert {label: row["requests"] for label, row in found.items()}["websocket"] != "1", "it connected again"
    page.context.close()


def test_a_stall_delays_and_loses_nothing(lab: Pages) -> None:
    page = lab.open("#rtt=20&rate=10&interval=100&lanes=sse,websocket,mqtt-qos0")
    start(page)
    published(page, 5)
    page.click("[data-fault=stall]")
    page.wait_for_selector("#broken:has-text('– over')")
    published(page, 30)
    found = stop(page)
    assert {row["lost"] for row in found.values()} == {"0"}
    assert min(float(row["p99"]) for row in found.values()) > 1000, "what waited for the end of the stall"
    page.context.close()


def test_a_broker_that_is_killed_loses_nothing_once_its_clients_are_back(lab: Pages) -> None:
    page = lab.open("#rtt=20&rate=10&lanes=mqtt-qos0,mqtt-qos1")
    start(page)
    published(page, 5)
    page.click("[data-fault=kill]")
    page.wait_for_selector("#broken:has-text('server killed')")
    page.wait_for_selector("#broken:has-text('– over')")
    page.wait_for_selector("#lanes:not(:has(.away))", state="attached")
    before = {label: int(row["sent"].split(" / ")[0]) for label, row in figures(page).items()}
    published(page, max(before.values()) + 20)
    for label, row in stop(page).items():
        assert int(row["lost"]) <= before[label], "what is published after both are connected again comes"
    page.context.close()


def test_a_closed_lid_and_faults_of_one_lane(lab: Pages) -> None:
    page = lab.open("#rtt=20&rate=5&lanes=websocket,sse")
    start(page)
    published(page, 3)
    page.select_option("#break-where", "sse")
    page.click("[data-fault=lid]")
    page.wait_for_selector("#broken:has-text('lid closed: sse – over')")
    found = stop(page)
    assert found["websocket"]["lost"] == "0"
    assert int(found["sse"]["lost"]) > 0, "what the network took and threw away"
    page.context.close()


@needs("mosquitto")
def test_mosquitto_takes_the_place_of_the_embedded_broker(lab: Pages) -> None:
    page = lab.open("#rtt=20&rate=10&lanes=mqtt-qos0,mqtt-qos1,mqtt-qos2")
    page.select_option("#set-broker", "mosquitto")
    page.wait_for_selector("#state:has-text('starting')", state="attached")
    page.wait_for_selector("#state:not(:has-text('starting'))", state="attached")
    start(page)
    published(page, 10)
    found = stop(page)
    assert {row["lost"] for row in found.values()} == {"0"}
    assert found["mqtt-qos0"]["sent"].endswith("/ –"), "mosquitto does not say what it relayed"
    page.select_option("#set-broker", "embedded")
    page.wait_for_timeout(100)
    page.wait_for_selector("#state:not(:has-text('starting'))", state="attached")
    page.context.close()


def test_all_settings_stand_in_the_address(lab: Pages) -> None:
    page = lab.open("#rate=7&interval=300&payload=64&rtt=30&jitter=5&lanes=sse,websocket")
    for name, value in {"rate": "7", "interval": "300", "payload": "64", "rtt": "30", "jitter": "5"}.items():
        assert page.input_value(f"#set-{name}") == value
    page.fill("#set-rate", "9")
    page.press("#set-rate", "Tab")
    page.uncheck("#show-sse")
    assert {"rate=9", "rtt=30", "lanes=websocket"} <= set(page.url.partition("#")[2].split("&"))
    page.fill("#set-rate", "900")
    page.press("#set-rate", "Tab")
    assert page.inner_text("#notice") == "Messages a second must be from 0.1 to 50"
    other = lab.open("#rate=0&speed=7")
    assert "Messages a second must be from 0.1 to 50; no setting speed" in other.inner_text("#notice")
    for each in (page, other):
        each.context.close()


def test_a_saved_session_is_a_result_and_is_shown_again(lab: Pages, out: Path, rtbench: Any) -> None:
    page = lab.open("#rtt=10&rate=10&lanes=websocket,mqtt-qos1")
    start(page)
    published(page, 10)
    before = stop(page)
    page.click("#save")
    page.wait_for_selector("#notice:has-text('Saved:')")
    (saved,) = out.iterdir()
    shown = rtbench("chart", str(saved), "--chart", "lab-latency", "--format", "svg")
    assert shown.returncode == 0, shown.stderr
    assert Path(shown.stdout.strip()).is_file()
    with running_lab(str(saved)) as address:
        replay = lab.open(address=address)
        replay.wait_for_selector("#reveal:visible")
        after = figures(replay)
        assert replay.is_hidden("#start")
        replay.context.close()
    for label, row in before.items():
        assert {name: after[label][name] for name in row if name != "last"} == {
            name: value for name, value in row.items() if name != "last"
        }
    page.context.close()


def test_six_streams_are_open_and_the_seventh_waits(lab: Pages) -> None:
    page = lab.open("#view=streams")
    for number in range(1, 7):
        page.click("#open-stream")
        page.wait_for_selector(f"#streams li:nth-child({number}):has-text('open after')")
    page.click("#open-stream")
    page.click("#one-fetch")
    page.wait_for_timeout(1000)
    assert page.locator("#streams li:has-text('waiting for a connection')").count() == 2
    page.click("#close-streams")
    page.wait_for_selector("#streams li:nth-child(6):has-text('open after')")
    page.click("[data-view=lanes]")
    page.context.close()


def test_the_keyboard_alone_predicts_starts_and_stops(lab: Pages) -> None:
    page = lab.open("#rtt=10&rate=10&lanes=sse,websocket")
    page.get_by_label("websocket: faster").focus()
    page.keyboard.press("Enter")
    page.focus("#start")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop:focus")
    published(page, 5)
    page.keyboard.press("Enter")
    page.wait_for_selector("#reveal:visible")
    page.focus("#why-websocket")
    page.keyboard.press("Space")
    page.wait_for_selector("#ladder-title:focus")
    page.context.close()


def test_a_page_that_was_hidden_says_so_and_drops_its_times(lab: Pages) -> None:
    page = lab.open("#rate=20&lanes=websocket")
    start(page)
    published(page, 5)
    hide = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s}); document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide % "true")
    page.wait_for_timeout(1000)
    page.evaluate(hide % "false")
    assert page.is_visible("#hidden-banner")
    published(page, 40)
    stop(page)
    page.click("#save")
    page.wait_for_selector("#notice:has-text('Saved:')")
    saved = page.inner_text("#notice").split()[1].rstrip(".")
    (row,) = json.loads((Path(saved) / "result.json").read_text())["trials"]
    assert 10 <= row["hidden"] < row["delivered"]
    (trial,) = rtbench.load(saved).trials
    assert len(trial.latency_ms) == row["delivered"] - row["hidden"]
    page.context.close()


@needs("tcpdump")
def test_the_bytes_are_those_of_a_packet_capture(lab: Pages, tmp_path: Path) -> None:
    page = lab.open("#rtt=20&rate=10&interval=1000")
    lanes = page.evaluate(
        """() => new Promise((resolve) => {
            const socket = new WebSocket(`ws://${location.host}/live`);
            socket.onmessage = (event) => { const told = JSON.parse(event.data); if (told.type === "hello") resolve(told.lanes); };
        })"""
    )
    ports = {lane["label"]: [urlsplit(lane[way]).port for way in ("subscribe", "publish")] for lane in lanes}
    capture = tmp_path / "lo.pcap"
    try:
        tcpdump = start_capture(capture, "tcp")
    except PermissionError as error:
        pytest.skip(str(error))
    start(page)
    published(page, 20)
    stop(page)
    page.click("#save")
    page.wait_for_selector("#notice:has-text('Saved:')")
    page.wait_for_timeout(500)  # tcpdump writes what is on its way
    tcpdump.terminate()
    tcpdump.communicate()
    saved = page.inner_text("#notice").split()[1].rstrip(".")
    found = packets(capture)
    for row in json.loads((Path(saved) / "result.json").read_text())["trials"]:
        own = [packet for packet in found if {packet.source, packet.destination} & set(ports[row["variant"]])]
        seen = sum(packet.ip_bytes for packet in own)
        counted = row["wire_up_bytes"] + row["wire_down_bytes"]
        assert counted <= seen, row["variant"]
        if row["variant"] != "polling":  # its polls go on between the last count of the lab and the end of the capture
            assert 0.93 * seen <= counted, row["variant"]
    page.context.close()


PICTURES = """() => new Promise((resolve) => {
    const canvas = document.querySelector("#lane-websocket canvas"), seen = new Set();
    let frames = 0;
    const look = () => {
        seen.add(canvas.toDataURL());
        if (++frames < 40) requestAnimationFrame(look); else resolve(seen.size);
    };
    requestAnimationFrame(look);
})"""


def test_a_mark_moves_while_its_message_is_under_way_unless_motion_is_unwanted(lab: Pages) -> None:
    drawn = {}
    for motion in ("no-preference", "reduce"):
        page = lab.open("#rtt=1000&rate=1&lanes=websocket", reduced_motion=motion)
        start(page)
        until_at_least(page.locator("#lane-websocket td[data-name=sent]"), 3)
        drawn[motion] = page.evaluate(PICTURES)
        page.context.close()
    assert drawn["reduce"] <= 3, "every thirtieth frame"
    assert drawn["no-preference"] > 2 * drawn["reduce"]
