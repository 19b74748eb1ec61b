"""nginx with nchan as a server: what is missing is said, nothing is left behind, and the two tiers are compared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import rtbench
from rtbench.analysis import tiers
from rtbench.errors import MissingProgram, UsageError
from rtbench.transports import registry
from tests.builders import variant
from tests.conftest import RTBENCH
from tests.programs import needs

TRANSPORTS = ["polling", "long-polling", "sse", "websocket"]


def module() -> Any:
    loaded = registry.points("server")["sse", "nchan"].load()
    return sys.modules[type(loaded).__module__]


@pytest.mark.parametrize("program", ["nginx", "nchan"])
def test_what_is_missing_is_named_with_what_installs_it(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nchan = module()
    (tmp_path / "ngx_nchan_module.so").touch()
    monkeypatch.setattr(nchan, "MODULES", [str(tmp_path / "none" if program == "nchan" else tmp_path)])
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    nchan.software.cache_clear()
    with pytest.raises(MissingProgram, match=f"{program}.*: `sudo apt-get install nginx-light libnginx-mod-nchan`"):
        nchan.software()
    nchan.software.cache_clear()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_its_tier_and_its_differences_are_known_without_the_program(transport: str) -> None:
    assert registry.tier(transport, "nchan") == "native"
    assert registry.tier(transport, "embedded") == "embedded"
    assert registry.has_own_format(replace(variant(transport), server="nchan"))
    assert bool(registry.differs(transport, "nchan")) == (transport in ("sse", "websocket"))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"tier": "fast"}, "--tier must be one of embedded, native: got 'fast'"),
        ({"tier": "native", "server": "embedded"}, "leave out --server"),
        ({"tier": "native", "transport": "tcp"}, "no server of tcp is of it"),
    ],
)
def test_tiers_that_cannot_be_measured_are_refused(flags: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        rtbench.compare(**{"control": False, **flags})  # type: ignore[arg-type]


@needs("nginx", "nchan", "mosquitto")
@pytest.mark.process
@pytest.mark.long
def test_both_tiers_are_compared() -> None:
    result = rtbench.compare(
        tier=["embedded", "native"], trials=2, duration=0.3, warmup=0.0, sparse=False, control=False, repeat=False
    )
    assert [row["failed_trials"] for row in result.summary] == [0] * 14
    assert len(list(tiers.pairs(result))) == 7
    (cpu,) = [text for text in tiers.sentences(result) if "CPU" in text]
    assert all(name in cpu for name in [*TRANSPORTS, "mqtt-qos0", "mqtt-qos1", "mqtt-qos2"])


@needs("nginx", "nchan")
@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_it(number: signal.Signals) -> None:
    command = [*RTBENCH, "serve", "sse", "--server", "nchan"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as serving:
        assert serving.stdout is not None
        assert json.loads(serving.stdout.readline())["url"].startswith("http://127.0.0.1:")
        (nginx,) = [p for p in psutil.Process(serving.pid).children(recursive=True) if p.name() == "nginx"]
        os.kill(serving.pid, number)
        serving.wait(10)
        psutil.wait_procs([nginx], timeout=10)
        assert not nginx.is_running()
