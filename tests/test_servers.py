"""Where the server of a trial comes from: one that runs already, and one that rtbench starts with options."""

from __future__ import annotations

import asyncio
import csv
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtbench.transports.serving import serve
from tests.conftest import RTBENCH, Program
from tests.connecting import has_ipv6

SMALL = ("--trials", "1", "--rate", "100", "--duration", "400ms", "--warmup", "0s", "--out", "out")
LOAD = ("server_cpu_us_per_delivery", "server_cpu_percent", "server_rss_mb", "server_waiting_us_per_delivery")


@contextmanager
def served(rtbench: Program, *arguments: str) -> Iterator[str]:
    """Have `rtbench serve` run; yield its URL."""
    process = rtbench.start("serve", *arguments)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
        assert process.poll() is None, "it is left as it is"
    finally:
        process.terminate()
        process.communicate()


def summary(rtbench: Program) -> dict[str, dict[str, str]]:
    with (rtbench.directory / "out" / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["variant"]: row for row in csv.DictReader(file)}


def described(rtbench: Program) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((rtbench.directory / "out" / "result.json").read_text())
    return content


@pytest.mark.parametrize("arguments", [("websocket",), ("websocket", "--host", "::1"), ("mqtt",)], ids=" ".join)
@pytest.mark.process
def test_a_server_that_runs_already_is_measured_without_its_load(rtbench: Program, arguments: tuple[str, ...]) -> None:
    if "::1" in arguments and not has_ipv6():
        pytest.skip("this machine has no ::1")
    with served(rtbench, *arguments) as url:
        done = rtbench("run", "--transport", arguments[0], "--url", url, *SMALL)
        assert done.returncode == 0, done.stderr
        (row,) = summary(rtbench).values()
        assert row["server"] == "external"
        assert int(row["delivered"]) == int(row["expected"]) == 400
        assert row["lost"] == row["duplicated"] == row["reordered"] == "0"
        assert {column: row[column] for column in LOAD} == dict.fromkeys(LOAD, "")
        assert "the server" not in row["reasons"].replace("let the server keep", "")  # advice on a busy disk
        assert float(row["latency_p50_ms"]) > 0
        assert float(row["wire_bytes_per_delivery"]) > 100
        assert url in json.dumps(described(rtbench))


@pytest.mark.long
@pytest.mark.process
def test_a_comparison_with_a_url_has_no_control(rtbench: Program) -> None:
    with served(rtbench, "mqtt") as url:
        done = rtbench("compare", "--no-sparse", "--transport", "mqtt", "--url", url, *SMALL)
        assert done.returncode == 0, done.stderr
    assert list(summary(rtbench)) == [f"mqtt-qos{qos} (external)" for qos in range(3)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ("--transport", "sse", "--url", "http://192.0.2.1:80"),
            "name it again with --allow-host 192.0.2.1",
            id="another machine",
        ),
        pytest.param(
            ("--transport", "mqtt", "--url", "mqtt://ann:secret@127.0.0.1:1883"),
            "must not have a user name or a password",
            id="a password",
        ),
        pytest.param(("--transport", "sse", "--url", "http://127.0.0.1"), "a scheme, a host and a port", id="no port"),
        pytest.param(("--transport", "sse", "--url", "127.0.0.1:80"), "a scheme, a host and a port", id="no scheme"),
        pytest.param(("--transport", "sse", "--url", "http://127.0.0.1:x"), "is no URL", id="no number for a port"),
        pytest.param(
            ("--transport", "mqtt", "--server", "embedded", "--url", "mqtt://127.0.0.1:1"),
            "leave out --server",
            id="a server too",
        ),
        pytest.param(("--url", "mqtt://127.0.0.1:1"), "--transport", id="no transport"),
        pytest.param(
            ("--transport", "mqtt", "--url", "mqtt://127.0.0.1:1", "--server-option", "capacity=5"),
            "--server-option is for a server that rtbench starts",
            id="an option for a server that runs",
        ),
        pytest.param(
            ("--transport", "mqtt", "--url", "mqtts://127.0.0.1:1", "--tls"), "--tls", id="a certificate for it"
        ),
        pytest.param(
            ("--transport", "websocket", "--server-option", "colour=red"),
            "the server embedded of websocket has no such option; it has allow_host, allow_origin, capacity",
            id="an unknown option of a server",
        ),
        pytest.param(("--transport", "websocket", "--server-option", "capacity"), "NAME=VALUE", id="no value"),
        pytest.param(
            ("--transport", "sse", "--server-option", "capacity=5", "--server-option", "capacity=6"),
            "give one value for capacity, not 5, 6",
            id="two values of one option in a run",
        ),
        pytest.param(
            ("--transport", "sse", "--url", "http://127.0.0.1:1/a?token=b"),
            "must end after the port",
            id="a token in it",
        ),
        pytest.param(
            ("--transport", "websocket", "--server-option", "capacity=many"), "--capacity", id="a value of another type"
        ),
    ],
)
@pytest.mark.process
def test_what_cannot_be_is_refused_in_one_line(rtbench: Program, arguments: tuple[str, ...], said: str) -> None:
    done = rtbench("run", *arguments, *SMALL)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert list(rtbench.directory.iterdir()) == []


@pytest.mark.process
def test_every_transport_has_a_url(rtbench: Program) -> None:
    done = rtbench(
        "compare", "--no-sparse", "--transport", "mqtt", "--transport", "sse", "--url", "mqtt://127.0.0.1:1", *SMALL
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "--url: none is of sse, whose begin with http://" in done.stderr


@pytest.mark.process
def test_a_url_where_nothing_answers_fails_the_trial(rtbench: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    done = rtbench("run", "--transport", "sse", "--url", f"http://127.0.0.1:{port}", *SMALL)
    assert done.returncode == 1, done.stderr
    assert f"nothing answers at http://127.0.0.1:{port}" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.process
def test_an_option_reaches_the_server_and_stands_in_the_result(rtbench: Program) -> None:
    """Of the fifty messages between two polls the server keeps five."""
    polling = ("--transport", "polling", "--interval", "500ms")
    done = rtbench("run", *polling, "--server-option", "capacity=5", *SMALL)
    assert done.returncode in (0, 1, 4), done.stderr
    (row,) = summary(rtbench).values()
    assert row["variant"] == "polling (capacity=5)"
    assert int(row["lost"]) > int(row["expected"]) / 2
    (variant,) = described(rtbench)["variants"]
    assert variant["server_options"] == {"capacity": 5}
    assert described(rtbench)["settings"]["server_option"] == {"value": ["capacity=5"], "source": "flag"}


@pytest.mark.long
@pytest.mark.process
def test_a_comparison_has_a_variant_for_each_value_of_an_option_where_the_server_has_it(rtbench: Program) -> None:
    chosen = ("--transport", "websocket", "--transport", "mqtt", "--qos", "0", "--no-control")
    done = rtbench(
        "compare", "--no-sparse", *chosen, "--server-option", "capacity=50", "--server-option", "capacity=500", *SMALL
    )
    assert done.returncode == 0, done.stderr
    assert list(summary(rtbench)) == ["websocket (capacity=50)", "websocket (capacity=500)", "mqtt-qos0"]


@pytest.mark.process
def test_a_server_that_is_closed_before_it_accepts_again_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def close_too_early() -> None:
        async with serve("tcp"):
            loop = asyncio.get_running_loop()
        for message in ("Exception in callback BaseSelectorEventLoop._start_serving(...)", "another"):
            loop.call_exception_handler({"message": message, "exception": ValueError("Invalid file descriptor: -1")})

    asyncio.run(close_too_early())
    assert [record.message for record in caplog.records] == ["another"]


@pytest.mark.process
def test_a_server_without_a_file_for_a_connection_says_so_once(tmp_path: Path) -> None:
    few = ["bash", "-c", f"ulimit -n 100; exec {RTBENCH[0]} serve polling"]
    with subprocess.Popen(few, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        port = json.loads(server.stdout.readline())["url"].rpartition(":")[2]
        connections = [socket.create_connection(("127.0.0.1", int(port))) for _ in range(110)]
        said = server.stderr.readline()
        assert said.startswith("rtbench: the server raised OSError: [Errno 24] Too many open files")
        for connection in connections:
            connection.close()
        server.terminate()
        assert server.stderr.read() == ""
        assert server.wait() == 0
