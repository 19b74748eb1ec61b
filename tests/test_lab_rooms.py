"""Pong, the class, and that nobody is shut out of the lab, in a real browser."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from rtbench.lab.lab import address_of_this_machine
from rtbench.lab.lanes import LANES, LOOPBACK
from tests.lab_page import IN_A_BROWSER, REPOSITORY, Pages, figures, pages, start, stop
from tests.programs import needs

pytestmark = IN_A_BROWSER
LABELS = [kind.label for kind in LANES]
AXE = REPOSITORY / "rtbench/lab/node_modules/axe-core/axe.min.js"
STUDENTS = 10


@pytest.fixture(scope="module")
def lab() -> Iterator[Pages]:
    with pages("--class", "--max-clients", str(STUDENTS)) as made:
        yield made


def told(page: Any, words: str) -> None:
    page.wait_for_selector(f"#pong-games [role=status]:has-text('{words}')", state="attached")


@needs("mosquitto_sub")
def test_pong_between_two_windows_and_a_terminal_that_listens(lab: Pages) -> None:
    first = lab.open("#view=pong&rtt=40&pong-role=p1&pong-id=two")
    second = lab.beside(first.context, "#view=pong&pong-role=p2&pong-id=two")
    first.click("#pong-start")
    told(first, "waiting for the other player")
    second.click("#pong-start")
    for page in (first, second):
        told(page, "playing")
    command = shlex.split(second.inner_text("#pong-links code"))
    heard = subprocess.run([*command, "-W", "2"], capture_output=True, text=True, check=False).stdout.splitlines()
    topics = {line.split()[0] for line in heard}
    assert topics == {"pong/game/two/ball", "pong/game/two/p1/paddle", "pong/game/two/p2/paddle"}
    assert {"x", "y", "score", "n", "at"} == json.loads(next(x for x in heard if "/ball" in x).split(" ", 1)[1]).keys()
    second.keyboard.down("ArrowUp")
    second.wait_for_selector("#pong-felt:not([hidden])")
    second.keyboard.up("ArrowUp")
    lane, rtt, _, distance, _, late, _ = second.inner_text("#pong-felt tbody tr").split("\t")
    assert (lane, rtt) == ("mqtt-qos0", "40 ms")
    assert float(late.removesuffix(" ms")) > 40, "half a round trip up, and half down"
    assert float(distance.removesuffix(" px")) > 4
    second.close()
    told(first, "waiting for the other player")
    first.context.close()


def test_pong_pauses_and_connects_again_when_a_connection_drops(lab: Pages) -> None:
    page = lab.open("#view=pong&rtt=20&pong-id=cut&pong-beside=sse")
    lanes = lab.open("#rtt=20")
    page.click("#pong-start")
    page.wait_for_selector("#pong-games section:nth-child(2) [role=status]:has-text('playing')")
    lanes.click("[data-fault=cut]")
    told(page, "paused: connection lost")
    page.wait_for_selector("#pong-games section:nth-child(1) [role=status]:has-text('playing')")
    page.wait_for_selector("#pong-games section:nth-child(2) [role=status]:has-text('playing')")
    for each in (page, lanes):
        each.context.close()


@pytest.mark.parametrize("lane", LABELS)
def test_pong_is_played_over_any_lane(lab: Pages, lane: str) -> None:
    page = lab.open(f"#view=pong&rtt=0&interval=50&pong-id=any&pong-lane={lane}")
    page.click("#pong-start")
    page.wait_for_selector("#pong-felt:not([hidden])")
    assert page.inner_text("#pong-felt tbody tr").startswith(lane)
    assert page.locator("#pong-chart canvas").count() == 1
    page.click("#pong-stop")
    page.context.close()


needs_a_network = pytest.mark.skipif(
    address_of_this_machine() == LOOPBACK, reason="this machine has no address beside loopback"
)


def class_address(lab: Pages) -> str:
    page = lab.open("#view=class")
    address = page.inner_text("#class-address strong")
    assert page.locator("#class-address svg path").count() == 1, "the QR code"
    page.context.close()
    return str(address)


@needs_a_network
def test_a_class_of_ten_shares_the_lanes_and_the_lecturer_sees_everyone(lab: Pages) -> None:
    address = class_address(lab)
    lecturer = lab.open("#view=class&rtt=20")
    students = [lab.open("#rate=2&lanes=websocket,mqtt-qos1", address=address) for _ in range(STUDENTS)]
    full = lab.open(address=address, ready=False)
    full.wait_for_selector("#notice:has-text('The class is full: 10 pages are open.')")
    full.context.close()
    for page in students:
        assert page.is_disabled("#set-rtt")
        assert page.is_disabled("[data-fault=cut]")
        assert urlsplit(page.url).path == "/", "the token is out of sight"
        page.click("#start")
    lecturer.wait_for_selector("#class-table tbody tr:first-child td:nth-child(2):text-is('10')")
    row = lecturer.inner_text("#class-table tbody tr:first-child").split("\t")
    assert row[:2] == ["websocket", "10"]
    assert lecturer.inner_text("#class-pages") == "10 of at most 10 pages are open"
    for page in students:
        page.click("#stop")
    for page in students:
        page.wait_for_selector("#reveal:visible")
        found = figures(page)
        assert {each["lost"] for each in found.values()} == {"0"}
        sent, relayed = found["websocket"]["sent"].split(" / ")
        assert sent == relayed
        page.context.close()
    lecturer.context.close()


@needs_a_network
def test_who_has_no_token_gets_nothing_from_another_machine(lab: Pages) -> None:
    address = class_address(lab)
    host = urlsplit(address).netloc
    page = lab.browser.new_context().new_page()
    assert page.goto(f"http://{host}/").status == 401
    assert page.goto(f"http://{host}/class/guessed").status == 403
    assert page.goto(f"http://{host}/main.js").status == 401
    page.context.close()


@needs_a_network
def test_a_student_cannot_change_the_lab(lab: Pages) -> None:
    page = lab.open(address=class_address(lab))
    answer = page.evaluate(
        """() => new Promise((resolve) => {
            const socket = new WebSocket(`ws://${location.host}/live`);
            socket.onmessage = (event) => { const told = JSON.parse(event.data); if (told.id === 7) resolve(told.error); };
            socket.onopen = () => socket.send(JSON.stringify({id: 7, do: "kill", servers: ["mqtt"], for_s: 1}));
        })"""
    )
    assert answer == "in a class, only the lecturer changes the network and the servers"
    assert page.evaluate("fetch('/sessions', {method: 'POST', body: '{}'}).then((answer) => answer.status)") == 403
    page.context.close()
    lab.said[:] = [line for line in lab.said if "403" not in line]


# everyone


VIOLATIONS = """axe.run().then((result) => result.violations.map((each) => [each.id, each.nodes.map((n) => n.html.slice(0, 90))]))"""


@pytest.mark.parametrize("view", ["lanes", "streams", "pong", "class"])
def test_a_view_shuts_nobody_out_and_fits_a_phone(lab: Pages, view: str) -> None:
    page = lab.open(f"#view={view}&rtt=0", color_scheme="light")
    if view == "lanes":
        start(page)
        page.wait_for_timeout(500)
        stop(page)
        page.click("#why-polling")
        page.wait_for_selector("#ladder:visible")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(300)
        assert page.evaluate(VIOLATIONS) == [], scheme
    for width in (1024, 360):
        page.set_viewport_size({"width": width, "height": 768})
        page.wait_for_timeout(300)  # a chart is drawn anew
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()


def test_the_page_loads_nothing_from_elsewhere(lab: Pages) -> None:
    context = lab.browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(urlsplit(request.url).netloc))
    page = lab.beside(context)
    start(page)
    stop(page)
    assert {place.partition(":")[0] for place in asked} <= {"127.0.0.1"}
    context.close()
