"""The bytes of every variant against a packet capture of the same trial, to the byte."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rtbench.experiments.compare import load_comparison
from rtbench.result.comparison import Comparison
from tests.capture import connections, packets, repeated_by_server
from tests.conftest import RTBENCH
from tests.programs import missing, needs
from tests.sharing import made_once

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="bytes are counted on Linux only")


def _own_network() -> list[str]:
    """Return what runs a program in a network namespace of its own; nothing where there may be none.

    Not in a user namespace too: there tcpdump fails to give up the privileges that it does not have.
    """
    alone = ["unshare", "-n"]
    if shutil.which("unshare") and subprocess.run([*alone, "true"], check=False, capture_output=True).returncode == 0:
        return alone
    return []


def _servers() -> list[str]:
    return ["embedded", *([] if missing(["mosquitto"]) else ["mosquitto"])]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(flags, id=name, marks=pytest.mark.long) for name, flags in (("plain", []), ("TLS", ["--tls"]))
    ],
)
def captured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """Every variant measured once, with the capture of all of it.

    Now and then the kernel gives two servers the same port, one after the other. Their connections could not be told
    apart, so all is measured again.
    """

    def make(directory: Path) -> None:
        for attempt in itertools.count():
            kept = directory / str(attempt)
            kept.mkdir()
            result = _capture(kept, request.param)
            if result is None:
                return
            ports = [_port(result, v.name) for v in result.variants]
            if len(set(ports)) == len(ports):
                return

    directory = made_once(tmp_path_factory, f"captured{''.join(request.param)}", make)
    kept = max(directory.iterdir(), key=lambda path: int(path.name))
    if not (kept / "out").exists():
        pytest.skip((kept / "refused").read_text())
    return load_comparison(kept / "out"), kept / "lo.pcap"


def _port(result: Comparison, variant: str) -> int:
    return int(result.trial_table[variant]["server_url"].rsplit(":", 1)[1])


def _capture(directory: Path, options: list[str]) -> Comparison | None:
    """Measure and capture; return None, and leave the reason in a file, where capturing is not allowed."""
    capture, out = directory / "lo.pcap", directory / "out"
    flags = ["--trials", "1", "--duration", "500ms", "--warmup", "100ms", "--interval", "200ms", "--out", str(out)]
    servers = [word for server in _servers() for word in ("--server", server)]
    program = [*RTBENCH, "compare", "--no-sparse", "--no-repeat", *flags, *servers, *options]
    script = Path(__file__).with_name("capture.py")
    done = subprocess.run(
        [*_own_network(), sys.executable, str(script), str(capture), *program],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if "cannot capture" in done.stderr:
        (directory / "refused").write_text(done.stderr.strip().splitlines()[-1])
        return None
    assert done.returncode == 0, done.stderr
    return load_comparison(out)


@on_linux
@needs("tcpdump", "mosquitto")
@pytest.mark.process
@pytest.mark.long
@pytest.mark.parametrize("client", ["library", "lean"])
def test_a_capture_of_a_run_at_a_broker_of_others_has_as_many_bytes_too(tmp_path: Path, client: str) -> None:
    configuration, capture, out = (tmp_path / name for name in ("mosquitto.conf", "lo.pcap", "out"))
    configuration.write_text("listener PORT 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n")
    quick = ["--trials", "1", "--duration", "500ms", "--warmup", "0s", "--no-repeat", "--client", client]
    program = [*RTBENCH, "run", "--transport", "mqtt", "--qos", "1", "--url", "mqtt://127.0.0.1:PORT", *quick]
    tests = Path(__file__).parent
    done = subprocess.run(
        [
            *(*_own_network(), sys.executable, str(tests / "capture.py"), str(capture)),
            *(sys.executable, str(tests / "beside.py"), str(configuration), *program, "--out", str(out)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "cannot capture" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    result = load_comparison(out)
    (row,) = result.trial_table
    setup = result.trials[0].counts.setup_wire
    assert setup is not None
    port = int(row["server_url"].rsplit(":", 1)[1])
    ours = connections(packets(capture), port)[-setup.connections :]  # those before only look whether it answers
    assert len(ours) == 11
    assert sum(row[part] for part in PARTS) == sum(p.ip_bytes for one in ours for p in one)
    assert row["server_cpu_us_per_delivery"] is None


VARIANTS = ["polling", "long-polling", "sse", "websocket", "mqtt-qos0", "mqtt-qos1", "mqtt-qos2", "tcp"]
OF_MOSQUITTO = [f"mqtt-qos{qos} (mosquitto)" for qos in range(3)]
PARTS = (
    "setup_wire_bytes",
    "publisher_wire_bytes",
    "subscriber_wire_bytes",
    "closing_wire_bytes",
)


@on_linux
@needs("tcpdump")
@pytest.mark.parametrize(
    "variant", [*VARIANTS, *(pytest.param(name, marks=needs("mosquitto")) for name in OF_MOSQUITTO)]
)
@pytest.mark.process
def test_a_capture_has_as_many_bytes_as_the_columns(captured: tuple[Comparison, Path], variant: str) -> None:
    result, capture = captured
    row = result.trial_table[variant]
    counts = next(t.counts for t in result.trials if t.counts.variant == variant)
    assert counts.setup_wire is not None
    port = _port(result, variant)
    # mosquitto's first is the look whether it answers
    exchanged = connections(packets(capture), port)[-counts.setup_wire.connections :]
    repeated = sum(repeated_by_server(one, port) for one in exchanged)  # 0, unless the machine has other work
    assert sum(row[part] for part in PARTS) == sum(p.ip_bytes for one in exchanged for p in one) - repeated
    assert row["server_retransmitted_bytes"] <= repeated


@on_linux
@needs("tcpdump")
@pytest.mark.process
def test_no_variant_is_left_out(captured: tuple[Comparison, Path]) -> None:
    expected = [*VARIANTS, *(OF_MOSQUITTO if "mosquitto" in _servers() else [])]
    assert {v.name for v in captured[0].variants} == set(expected)
