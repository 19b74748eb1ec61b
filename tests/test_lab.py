"""The lab without a browser: the command, who may ask for what, the counts, the packets and the sessions."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import rtbench
from rtbench.errors import UsageError
from rtbench.lab import ladder, page_server
from rtbench.lab.command import Wanted, opened, run
from rtbench.lab.lab import Lab, address_of_this_machine, laboratory
from rtbench.lab.lanes import LANES, LOOPBACK
from rtbench.lab.relayed import Relayed, publisher_of
from rtbench.lab.room import Room, is_lecturer
from rtbench.lab.sessions import save, session_of
from rtbench.plan import payload
from rtbench.wire import mqtt, websocket
from tests.lab_page import page_libraries
from tests.programs import needs

HTTP = ("polling", "long-polling", "sse")


# the command


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the libraries of the page were here: what is tested needs none of them."""
    monkeypatch.setattr(page_server, "LIBRARIES", ())


def test_without_its_libraries_the_page_is_not_served_and_the_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, nothing_starts: None
) -> None:
    monkeypatch.setattr(page_server, "LIBRARIES", ("no-such-library.js",))
    with pytest.raises(UsageError, match=r"the page needs no-such-library.js: in a checkout, `make lab` fetches them"):
        run(Wanted())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--host", "10.0.0.1"], "--host is for --class"),
        (["--mqtt-server", "hivemq"], "no broker 'hivemq'; the brokers are embedded, mosquitto"),
        (["--network", "rtt=10ms,loss=1%"], "which cannot lose packets"),
        (["no-such-result"], "no-such-result"),
        (["--max-clients", "3"], "--max-clients is for --class"),
        (["no-such-result", "--class"], "--class is for a lab that runs"),
        (["no-such-result", "--network", "3g"], "--network is for a lab that runs"),
        (["--port", "99999"], "99999"),
    ],
)
@pytest.mark.process
def test_what_is_not_possible_is_refused_in_one_line(rtbench: Any, arguments: list[str], line: str) -> None:
    done = rtbench("lab", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert line in done.stderr or "the page needs" in done.stderr


@pytest.mark.process
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        signal.SIGKILL,
    ],
)
def test_nothing_is_left_when_the_lab_ends(how: signal.Signals, tmp_path: Path) -> None:
    program = (
        "from rtbench.lab import page_server; page_server.LIBRARIES = ();"
        "from rtbench.lab.command import Wanted, run; run(Wanted())"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 5 + len(LANES), "servers and links"
    process.send_signal(how)
    assert process.wait(20) == (-how if how is signal.SIGKILL else 0)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []


# who may ask for what


@asynccontextmanager
async def page(**wanted: Any) -> AsyncIterator[str]:
    async with opened(Wanted(**wanted)) as made:
        yield made.address


@pytest.mark.process
def test_the_page_is_for_itself_alone(libraries: None) -> None:
    async def main() -> None:
        async with page() as address, aiohttp.ClientSession() as session:
            own = address.rstrip("/")

            async def status(method: str, path: str = "/", **headers: str) -> int:
                async with session.request(method, own + path, headers=headers) as answer:
                    return answer.status

            async with session.get(address) as answer:
                assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self';" in policy
            assert "unsafe" not in policy
            assert "*" not in policy
            assert await status("GET") == 200
            assert await status("GET", Host="rebound.example") == 421
            assert await status("GET", Host="127.0.0.1:1") == 421
            assert await status("GET", Origin="http://evil.example") == 403
            assert await status("POST", "/sessions") == 403, "without an origin"
            assert await status("POST", "/sessions", Origin="http://evil.example") == 403
            assert await status("POST", "/sessions", Origin=own) == 422, "no session, but it may ask"
            assert await status("GET", "/live") == 403
            for outside in ("/../lab.py", "/..%2flab.py", "/lanes/..%2f..%2flab.py", "/vendor/ready", "/.npmrc"):
                assert await status("GET", outside) == 404
            with pytest.raises(InvalidStatus):
                async with connect(address.replace("http", "ws") + "live", origin="http://evil.example"):  # type: ignore[arg-type]
                    pass

    asyncio.run(main())


@pytest.mark.process
def test_the_lanes_are_for_the_page_alone(libraries: None) -> None:
    async def main() -> None:
        async with page() as address, aiohttp.ClientSession() as session:
            hello = await told(address)
            for lane in hello["lanes"]:
                for url in (lane["subscribe"], lane["publish"]):
                    if lane["transport"] in HTTP:
                        async with session.get(url + "/room", headers={"Origin": "http://evil.example"}) as answer:
                            assert answer.status == 403
                        async with session.get(url + "/", headers={"Origin": address.rstrip("/")}) as answer:
                            assert answer.status == 200
                            assert answer.headers["Access-Control-Allow-Origin"] == address.rstrip("/")
                    else:
                        with pytest.raises(InvalidStatus):
                            async with connect(url + "/room", origin="http://evil.example"):  # type: ignore[arg-type]
                                pass

    asyncio.run(main())


async def told(address: str) -> dict[str, Any]:
    """Return what the lab says to a page first."""
    async with connect(address.replace("http", "ws") + "live", origin=address.rstrip("/")) as live:  # type: ignore[arg-type]
        hello: dict[str, Any] = json.loads(await live.recv())
        return hello


@pytest.mark.process
def test_what_a_page_asks_wrongly_is_answered_in_a_sentence(libraries: None) -> None:
    asked = {
        '{"id": 1, "do": "network", "rtt_ms": -1, "jitter_ms": 0}': "the round-trip time must be from 0 to 2000 ms",
        '{"id": 1, "do": "network", "rtt_ms": 10, "jitter_ms": 20}': "the jitter at most as much",
        '{"id": 1, "do": "fault", "fault": "flood", "lanes": [], "for_s": 1}': "no fault 'flood'; the faults are cut",
        '{"id": 1, "do": "fault", "fault": "cut", "lanes": ["tcp"], "for_s": 0}': "no lane 'tcp'; the lanes are polling",
        '{"id": 1, "do": "fault", "fault": "stall", "lanes": [], "for_s": 1e9}': "a fault may last up to 60 s",
        '{"id": 1, "do": "kill", "servers": ["http"], "for_s": 1}': "no server of 'http'; the transports are polling",
        '{"id": 1, "do": "kill", "servers": ["sse"], "for_s": -1}': "a server may be down for up to 60 s",
        '{"id": 1, "do": "broker", "server": "hivemq"}': "no broker 'hivemq'",
        '{"id": 1, "do": "explode"}': "the lab does not understand",
        '{"id": 1, "do": "trace"}': "the lab does not understand",
        "nonsense": "the lab does not understand 'nonsense'",
    }

    async def main() -> None:
        async with page() as address:
            url, origin = address.replace("http", "ws") + "live", address.rstrip("/")
            async with connect(url, origin=origin) as live:  # type: ignore[arg-type]
                for text, sentence in asked.items():
                    await live.send(text)
                    while "error" not in (answer := json.loads(await live.recv())):
                        pass
                    assert sentence in answer["error"]

    asyncio.run(main())


@pytest.mark.process
def test_who_asks_for_the_counts_gets_those_of_now_and_not_of_the_last_tick(
    libraries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtbench.lab.live.COUNT_EVERY_S", 1e6)

    async def main() -> None:
        async with page() as address, aiohttp.ClientSession() as session:
            origin = address.rstrip("/")
            async with connect(address.replace("http", "ws") + "live", origin=origin) as live:  # type: ignore[arg-type]
                hello = json.loads(await live.recv())

                async def ask(do: str) -> Any:
                    await live.send(json.dumps({"id": 1, "do": do}))
                    return json.loads(await live.recv())

                begun = await ask("begin")
                url = next(lane["publish"] for lane in hello["lanes"] if lane["label"] == "sse")
                for sequence in range(20):
                    body = payload.build(begun["publishers"]["sse"], sequence, 0, 60)
                    async with session.post(f"{url}/room", data=body, headers={"Origin": origin}) as answer:
                        assert answer.status == 204
                    assert (await ask("counts"))["relayed"]["sse"] == sequence + 1

    asyncio.run(main())


@pytest.mark.process
@pytest.mark.skipif(address_of_this_machine() == LOOPBACK, reason="this machine has no address beside loopback")
def test_the_lanes_of_a_class_are_for_machines_that_showed_the_token(libraries: None) -> None:
    async def main() -> None:
        async with opened(Wanted(is_class=True)) as made, aiohttp.ClientSession() as session:
            (lane, *_) = (await told(made.address))["lanes"]
            url = f"http://{address_of_this_machine()}:{lane['subscribe'].rpartition(':')[2]}/"

            async def is_let_in() -> bool:
                try:
                    async with session.get(url) as answer:
                        return answer.status == 200
                except aiohttp.ClientConnectionError:
                    return False

            assert not await is_let_in()
            async with session.get(made.class_address + "x", allow_redirects=False) as answer:
                assert answer.status == 403
            assert not await is_let_in()
            async with session.get(made.class_address, allow_redirects=False) as answer:
                assert answer.status == 303
            assert await is_let_in()

    asyncio.run(main())


def test_a_class_has_one_token_and_room_for_so_many() -> None:
    room, other = Room(most_clients=2), Room()
    assert room.token != other.token
    assert room.knows(room.token)
    assert not room.knows(other.token)
    assert not room.knows("")
    room.pages |= {1, 2}
    assert room.is_full
    room.figures[1] = {}
    room.leave(1)
    assert not room.is_full
    assert room.figures == {}
    assert room.token not in repr(room)


@pytest.mark.parametrize(
    ("address", "is_one"),
    [("127.0.0.1", True), ("::1", True), ("192.168.1.7", False), (None, False), ("fe80::1%eth0", False)],
)
def test_who_comes_from_this_machine_is_the_lecturer(address: str | None, is_one: bool) -> None:
    assert is_lecturer(address) == is_one


# the servers and the links


async def counted(lab: Lab, page: int, lane: int, count: int) -> int:
    for _ in range(500):
        await lab.count()
        if lab.relayed.of(page, lane) >= count:
            break
        await asyncio.sleep(0.02)
    return lab.relayed.of(page, lane)


def message(page: int, lane: int, sequence: int) -> bytes:
    return payload.build(publisher_of(page, lane), sequence, 0, 60)


@pytest.mark.process
def test_the_servers_count_what_they_relay_by_page_and_lane_also_after_a_kill() -> None:
    async def main() -> None:
        async with laboratory(["http://127.0.0.1:1"]) as lab, aiohttp.ClientSession() as session:
            lane = lab.lanes["polling"]
            url = f"http://127.0.0.1:{lane.publish_port}/room"

            async def post(page: int, sequence: int) -> None:
                async with session.post(url, data=message(page, 0, sequence)) as answer:
                    assert answer.status == 204

            for sequence in range(3):
                await post(7, sequence)
            await post(8, 0)
            assert await counted(lab, 7, 0, 3) == 3
            assert lab.relayed.of(8, 0) == 1
            before = dict((await lab.passed())["polling"]["up"])
            await lab.kill("polling", 0)
            await post(7, 3)
            assert await counted(lab, 7, 0, 4) == 4
            after = (await lab.passed())["polling"]["up"]
            assert after["wire_bytes"] > before["wire_bytes"] + 60
            lab.relayed.forget(7)
            assert lab.relayed.of(7, 0) == 0

    asyncio.run(main())


@pytest.mark.process
def test_a_link_is_slowed_down_while_it_runs() -> None:
    async def main() -> None:
        async with laboratory(["http://127.0.0.1:1"]) as lab, aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{lab.lanes['sse'].publish_port}/"

            async def round_trip_s() -> float:
                began = time.monotonic()
                async with session.get(url):
                    return time.monotonic() - began

            await round_trip_s()
            await lab.change(300, 0)
            assert await round_trip_s() >= 0.3
            with pytest.raises(UsageError):
                await lab.change(5000, 0)
            assert lab.network.rtt_s == 0.3

    asyncio.run(main())


def test_a_page_has_a_publisher_for_each_lane() -> None:
    numbers = {publisher_of(page, lane) for page in range(100) for lane in range(len(LANES))}
    assert len(numbers) == 100 * len(LANES)
    rows = b"".join(bytes(8) + message(3, 2, sequence)[: payload.HEADER_BYTES] for sequence in (0, 1, payload.PROBE))
    relayed = Relayed()
    relayed.add(rows + rows[: payload.HEADER_BYTES + 8] + b"cut short")
    assert relayed.of(3, 2) == 3
    relayed.add(bytes(8) + b"p12345 of somebody else, not a message.")
    assert relayed.of(1234, 5) == 0


# the packets of a message


def noted(*chunks: tuple[int, bool, bytes]) -> list[dict[str, Any]]:
    return [
        {
            "at_ns": 1_000_000 * number,
            "connection": port,
            "port": port,
            "up": up,
            "bytes": len(data),
            "data": base64.b64encode(data).decode(),
        }
        for number, (port, up, data) in enumerate(chunks)
    ]


def test_the_ladder_of_mqtt_has_a_step_for_each_packet() -> None:
    publish = mqtt.encode(mqtt.Publish("room", b"hello", 1, packet_id=7))
    both = websocket.frame(websocket.BINARY, mqtt.encode(mqtt.Puback(7)) + publish)
    up = websocket.masked_frame(websocket.BINARY, publish, b"mask")
    steps = ladder.steps("mqtt", 1, noted((1, True, up[:5]), (1, True, up[5:]), (2, False, both)))
    assert [(s["title"], s["who"], s["up"], s["at_ms"]) for s in steps] == [
        ("PUBLISH", "publisher", True, 1.0),
        ("PUBACK", "subscriber", False, 2.0),
        ("PUBLISH", "subscriber", False, 2.0),
    ]
    assert [s["bytes"] for s in steps] == [len(up), 2 + 4, len(publish)]
    assert "payload: hello" in steps[0]["text"]


def test_the_ladder_of_http_has_heads_and_bodies_and_no_password_is_shown() -> None:
    head = b"GET /room HTTP/1.1\r\nHost: here\r\n\r\n"
    steps = ladder.steps("polling", 1, noted((2, True, head), (2, False, b"HTTP/1.1 304 Not Modified\r\n\r\n")))
    assert [s["title"] for s in steps] == ["GET /room", "304 Not Modified"]
    connect_packet = mqtt.encode(mqtt.Connect("me", username="lab", password=b"secret"))
    frame = websocket.masked_frame(websocket.BINARY, connect_packet, b"mask")
    (step,) = ladder.steps("mqtt", 1, noted((1, True, frame)))
    assert "lab" in step["text"]
    assert "secret" not in step["text"]


def test_what_cannot_be_read_is_a_step_that_says_so() -> None:
    (step,) = ladder.steps("websocket", 1, noted((1, True, websocket.frame(websocket.BINARY, b"x"))))
    assert step["title"] == "not read"


# sessions


def session(**changed: Any) -> dict[str, Any]:
    lane = {
        **dict.fromkeys(
            ("acked", "failed", "duplicated", "lost", "hidden", "requests", "missed_told", "disconnections"), 0
        ),
        "subscribers": 2,
        "published": 3,
        "delivered": 5,
        "relayed": 3,
        "wire_up_bytes": 900,
        "wire_down_bytes": None,
        "due_ms": [0, 100, 200],
        "sent_ms": [0.5, 100.25, 201],
        "acked_ms": [None, None, None],
        "got_ms": [[50, 150, None], [51, 149, 250.125]],
        "was_hidden": [[0, 0, 0], [0, 1, 0]],
    }
    felt = {"distance_p50_px": 20.0, "distance_p90_px": 30.0, "age_p50_ms": 80.0, "age_p90_ms": 90.0}
    return {
        "created": "2026-01-01T00:00:00.000Z",
        "settings": {"rate": 10, "rtt": 100, "payload": 60, "broker": "embedded"},
        "prediction": None,
        "faults": [{"fault": "cut", "lanes": ["websocket"], "from_ms": 10, "to_ms": 11}],
        "pong": [{"lane": "websocket", "rtt_ms": 100, "jitter_ms": 0, "interval_ms": 1000, "frames": 600, **felt}],
        "browser": "a browser",
        "clock_step_ms": 0.005,
        "lanes": {"websocket": lane},
        **changed,
    }


def test_a_session_is_a_result_and_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = Path(save(tmp_path, session()))
    again = Path(save(tmp_path, session()))
    assert saved != again
    result = rtbench.load(saved)
    (row,) = result.summary
    assert (row["variant"], row["client"], row["expected"], row["delivered"]) == ("websocket", "browser", 6, 5)
    assert row["latency_p50_ms"] == 50.0, "of 50, 50, 51 and 50.125; one was hidden"
    assert result.exit_code() == 0
    assert "10 messages a second" in result.report()
    back = session_of(saved)
    assert back["lanes"]["websocket"] == session()["lanes"]["websocket"]
    assert {name: back[name] for name in ("settings", "faults", "pong")} == {
        name: session()[name] for name in ("settings", "faults", "pong")
    }
    np.testing.assert_array_equal(result.trials[0].times_ms["got_ms"][1], [51, 149, 250.125])


@pytest.mark.parametrize("name", ["lab-latency", "lab-pong"])
def test_a_session_has_charts(tmp_path: Path, name: str) -> None:
    result = rtbench.load(save(tmp_path, session()))
    chart = result.chart(name)
    assert "websocket" in chart.alt
    nothing = {"got_ms": [[None] * 3] * 2, "delivered": 0, "lost": 6}
    empty = rtbench.load(
        save(tmp_path, session(pong=[], lanes={"websocket": {**session()["lanes"]["websocket"], **nothing}}))
    )
    with pytest.raises(UsageError):
        empty.chart(name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lanes": {"websocket": {}}},
        {"lanes": {"websocket": {**session()["lanes"]["websocket"], "got_ms": [[1], [2]]}}},
        {"lanes": {"websocket": {**session()["lanes"]["websocket"], "subscribers": 10**9}}},
        {"lanes": []},
        {"pong": [{}]},
        {"settings": None},
    ],
)
def test_what_is_no_session_is_not_saved(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="this is no session of the lab"):
        save(tmp_path, session(**wrong))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_a_session_is_not_measured_again_and_other_results_are_not_shown(
    tmp_path: Path, rtbench: Any, comparison: Path
) -> None:
    saved = save(tmp_path, session())
    for command in ("rerun", "resume"):
        done = rtbench(command, saved)
        assert done.returncode == 2
        assert "session of the lab" in done.stderr or "takes a run or a comparison" in done.stderr
    with pytest.raises(UsageError, match="the lab shows its own sessions again"):
        session_of(comparison)


def test_the_values_of_a_session_are_within_the_schema(tmp_path: Path) -> None:
    from rtbench.experiments import schema
    from rtbench.result.schema import first_error

    content = json.loads((Path(save(tmp_path, session())) / "result.json").read_text())
    assert first_error(schema(), content) == ""


def test_the_page_names_every_file_it_has() -> None:
    names = sorted(path.name for path in page_server.PAGE.glob("*.js"))
    loaded = "".join(
        path.read_text(encoding="utf-8") for path in page_server.PAGE.rglob("*.js") if "vendor" not in path.parts
    )
    loaded += (page_server.PAGE / "index.html").read_text(encoding="utf-8")
    assert [name for name in names if name not in loaded] == []


@pytest.mark.long
@needs("npm")
def test_the_types_in_the_page_are_right() -> None:
    page_libraries()
    done = subprocess.run(
        ["make", "types"], cwd=page_server.PAGE.parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
