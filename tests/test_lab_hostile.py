"""A hostile page that is open in the same browser as the lab: it can neither read nor publish."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.lab_page import IN_A_BROWSER, pages
from tests.programs import needs

pytestmark = IN_A_BROWSER

HOSTILE = """<!doctype html><title>prizes</title>"""
ATTACK = """async ({lanes, lab, login}) => {
    const found = {};
    const socket = (url, protocols) => new Promise((resolve) => {
        const s = new WebSocket(url, protocols);
        s.binaryType = "arraybuffer";
        s.onopen = () => {  // a CONNECT of MQTT, without a password
            s.send(new Uint8Array([16, 13, 0, 4, 77, 81, 84, 84, 4, 2, 0, 60, 0, 1, 104]));
            setTimeout(() => resolve("silent"), 1000);
        };
        s.onmessage = (event) => resolve(new Uint8Array(event.data)[3] === 0 ? "open" : "refused");
        s.onclose = () => resolve("refused");
    });
    const stream = (url) => new Promise((resolve) => {
        const s = new EventSource(url);
        s.onopen = () => { s.close(); resolve("open"); }; s.onerror = () => { s.close(); resolve("refused"); };
    });
    const read = (url) => fetch(url).then(() => "read", () => "refused");
    found.page = await read(lab);
    found.live = await socket(lab.replace("http", "ws") + "live");
    found.save = await fetch(lab + "sessions", {method: "POST", body: "{}"}).then(() => "read", () => "refused");
    await fetch(lab + "sessions", {method: "POST", body: "{}", mode: "no-cors"}).catch(() => 0);
    await Promise.all(lanes.map(async (lane) => {
        const http = lane.replace("ws:", "http:"), ws = lane.replace("http:", "ws:");
        const post = fetch(http + "/hostile", {method: "POST", body: "hostile", mode: "no-cors"}).catch(() => 0);
        found[lane] = await Promise.all([read(http + "/lab/1/sse"), stream(http + "/lab/1/sse"), socket(ws + "/lab/1/sse"),
            socket(ws + "/mqtt", "mqtt")]);
        await post;
    }));
    return found;
}"""


@contextmanager
def foreign_site() -> Iterator[str]:
    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(HOSTILE.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("broker", ["embedded", pytest.param("mosquitto", marks=needs("mosquitto"))])
def test_a_hostile_page_in_the_same_browser_gets_nothing_and_publishes_nothing(broker: str) -> None:
    with pages("--mqtt-server", broker) as lab, foreign_site() as site:
        page = lab.open("#lanes=polling,long-polling,sse")
        described = page.evaluate(
            """() => new Promise((resolve) => {
                const socket = new WebSocket(`ws://${location.host}/live`);
                socket.onmessage = (event) => { const told = JSON.parse(event.data); if (told.type === "hello") resolve(told); };
            })"""
        )
        lanes = [url for lane in described["lanes"] for url in (lane["subscribe"], lane["publish"])]
        hostile = page.context.new_page()
        hostile.goto(site)
        found = hostile.evaluate(ATTACK, {"lanes": lanes, "lab": lab.address})
        opened = {name for name, result in found.items() if "open" in result or "read" in result}
        silent = {name for name, result in found.items() if "silent" in result}
        assert opened == set()
        assert not silent or broker == "mosquitto", (
            "it takes every origin, and wants the password that only the page knows"
        )
        for transport in ("polling", "long-polling"):
            (url,) = {lane["subscribe"] for lane in described["lanes"] if lane["transport"] == transport}
            assert page.evaluate("(url) => fetch(url + '/hostile').then((answer) => answer.status)", url) == 204
        assert hostile.evaluate("(url) => fetch(url, {mode: 'no-cors'}).then(() => 1, () => 0)", lab.address) == 0
        page.context.close()
        assert all("hostile" not in line for line in lab.said)
        lab.said.clear()
