"""docker-compose.yml without a container engine: what it says, and its commands run as they stand, each on a free port."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import RTBENCH, Program
from tests.programs import needs

ROOT = Path(__file__).parents[1]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
SERVERS = {name: service for name, service in SERVICES.items() if name != "bench"}
BENCH: list[str] = SERVICES["bench"]["command"]


def given(flag: str) -> list[str]:
    return [word.removeprefix(f"--{flag}=") for word in BENCH if word.startswith(f"--{flag}=")]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_limits_and_no_privilege(name: str) -> None:
    service = SERVICES[name]
    assert (service["cpus"], service["mem_limit"]) == (1, "512m")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"ports", "privileged", "network_mode", "cap_add", "devices", "pid"}
    assert service["networks"] == ["bench"]
    assert FILE["networks"]["bench"] == {"internal": True}
    assert ("healthcheck" in service) == (name != "bench")


def test_the_bench_waits_for_every_server_and_measures_it() -> None:
    hosts = {re.sub(r".*//(.*):8000.*", r"\1", url) for url in given("url")}
    assert hosts == set(given("allow-host")) == set(SERVERS) == set(SERVICES["bench"]["depends_on"])
    assert all(how == {"condition": "service_healthy"} for how in SERVICES["bench"]["depends_on"].values())


def test_each_server_answers_to_its_own_name() -> None:
    for name, service in SERVERS.items():
        command = service["command"]
        if service["image"] == "rtbench" and "mqtt" not in command:  # it speaks HTTP
            assert command[command.index("--allow-host") + 1] == name
        assert "8000" in json.dumps(service["healthcheck"])


def test_mosquitto_is_configured_as_rtbench_configures_it() -> None:
    told = FILE["configs"]["mosquitto"]["content"]
    for line in ("set_tcp_nodelay true", "max_queued_messages 1000000", "max_inflight_messages 20", "listener 8000"):
        assert line in told


def test_the_image_has_what_its_services_run() -> None:
    dockerfile, install = (ROOT / "Dockerfile").read_text(), (ROOT / "docker/install").read_text()
    assert "RUN /src/docker/install /src" in dockerfile
    assert re.search(r"^USER bench$", dockerfile, re.M)
    for package in ("mosquitto", "nginx-light", "libnginx-mod-nchan"):
        assert package in install
    assert {service.get("image") for service in SERVICES.values()} == {"rtbench", "eclipse-mosquitto:2"}


@needs("nginx", "nchan")
@pytest.mark.process
@pytest.mark.long
def test_the_commands_run_as_they_stand(rtbench: Program) -> None:
    """The servers of our image, each on a free port; mosquitto's stands in `test_mosquitto_is_configured...`."""
    with ExitStack() as stack:
        places = {}
        for name, service in SERVERS.items():
            if service["image"] != "rtbench":
                continue
            command = [*RTBENCH, *("0" if word == "8000" else word for word in service["command"])]
            running = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
            stack.callback(running.terminate)
            assert running.stdout is not None
            places[name] = json.loads(running.stdout.readline())["url"].partition("#")[0].rpartition(":")[2]
        for name, port in places.items():
            if "mqtt" not in name:
                asked = HTTPConnection("127.0.0.1", int(port), timeout=10)
                method = (
                    "GET" if "websocket" in name else "POST"
                )  # which only upgrades: any answer but a refusal will do
                asked.request(method, "/room", headers={"Host": f"{name}:8000"})
                assert asked.getresponse().status not in (403, 421), name
        words = []
        for word in BENCH:
            host = re.search(r"//(.*):8000", word)
            if word.startswith(("--allow-host", "--out")) or (host and host[1] not in places):
                continue
            words.append(word.replace(f"{host[1]}:8000", f"localhost:{places[host[1]]}") if host else word)
        done = rtbench(*words, "--out", "out", "--trials", "1", "--duration", "300ms", "--warmup", "0s", "--qos", "0")
        assert done.returncode == 0, done.stderr
    content = json.loads((rtbench.directory / "out" / "result.json").read_text())
    assert len(content["variants"]) == 9
    assert [trial["error"] for trial in content["trials"]] == [None] * 9
