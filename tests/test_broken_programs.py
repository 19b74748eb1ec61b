"""Programs that are too old, broken or do not answer: the trial says what they said, and nothing is left running."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import rtbench
from rtbench.transports import registry
from tests.programs import needs, path_of

QUICK: dict[str, Any] = {"trials": 1, "duration": 0.2, "warmup": 0.0, "repeat": False}

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform != "linux", reason="a shell script as a program")]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that is first on PATH, for programs of a test."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    forget_what_is_installed()
    yield tmp_path
    forget_what_is_installed()


def forget_what_is_installed() -> None:
    for transport, server in (("mqtt", "mosquitto"), ("sse", "nchan")):
        registry.points("server")[transport, server].load().software.cache_clear()
    registry.server.cache_clear()


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@needs("mosquitto")
def test_what_an_old_mosquitto_says_of_the_configuration_is_told(programs: Path) -> None:
    script(
        programs / "mosquitto",
        'case "$1" in -h) echo mosquitto version 1.4.8; exit 3;; esac\n'
        "echo 'Error: Unknown configuration variable \"set_tcp_nodelay\".' >&2; exit 3",
    )
    result = rtbench.run("mqtt", qos=0, server="mosquitto", **QUICK)
    assert result.variants[0].server_software == "mosquitto 1.4.8"
    assert str(result.trials[0].counts.error).endswith(
        'mosquitto ended with code 3: Error: Unknown configuration variable "set_tcp_nodelay".'
    )
    assert result.exit_code() == 1


@needs("nginx", "nchan")
def test_what_an_nginx_of_another_version_than_its_module_says_is_told(programs: Path) -> None:
    said = "nginx: [emerg] module 'ngx_nchan_module.so' version 1022001 instead of 1018000"
    script(
        programs / "nginx",
        f'case "$1" in -v) echo nginx version: nginx/1.18.0 >&2; exit 0;; esac\necho "{said}" >&2; exit 1',
    )
    result = rtbench.run("sse", server="nchan", **QUICK)
    error = str(result.trials[0].counts.error)
    assert "nginx ended with code 1: nginx: [emerg] module" in error
    assert error.endswith("version 1022001 instead of 1018000")


@needs("mosquitto")
@pytest.mark.long
def test_a_program_that_takes_no_connection_is_ended(programs: Path) -> None:
    mark = programs / "pid"
    script(
        programs / "mosquitto",
        f'case "$1" in -h) exec {path_of("mosquitto")} -h;; esac\necho $$ > {mark}; exec sleep 1000',
    )
    result = rtbench.run("mqtt", qos=0, server="mosquitto", **QUICK)
    assert "took no connection within 10 s" in str(result.trials[0].counts.error)
    assert not psutil.pid_exists(int(mark.read_text()))
