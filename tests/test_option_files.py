"""Files of options (`--config`): whatever is wrong with one is said in one line, with the key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.refusing import refused

FILES = {  # content: what is said
    b"transport = 5": "--transport must be a text: got 5 (--transport is from the key transport of bench.toml)",
    b"rate = -3": "(--rate is from the key rate of bench.toml)",
    b"rate = []": "--rate is an empty list; give a value, or leave it out",
    b"rate = [1, 2]": "--rate takes one value: got 1, 2",
    b"qos = []": "--qos is an empty list",
    b"qos = true": "--qos must be one of 0, 1, 2: got True",
    b"server = [['embedded']]": "--server must be a text: got ['embedded']",
    b"server = { name = 'embedded' }": "--server must be a text: got {'name': 'embedded'}",
    b"[rate]\na = 1": "--rate must be a number: got {'a': 1}",
    b"rate = 2020-01-01": "--rate must be a number: got datetime.date(2020, 1, 1)",
    b"rate = true": "--rate must be a number: got True",
    b"rate = inf": "--rate must be a number: got inf",
    b"duration = nan": "--duration: nan is not a time",
    b"duration = true": "--duration: True is not a time",
    b"duration = -1": "--duration must be above 0s, up to 168h: got -1s",
    b"payload = 1e9": "--payload must be 39 to 16776192 bytes: got 1000000000",
    b"trials = 2.5": "--trials must be a whole number: got 2.5",
    b"tls = 'maybe'": "--tls: 'maybe' is not yes or no",
    b'transport = "a\\u001b[31m"': "unknown transport 'a\\x1b[31m'",
    b'"ra\\u001bte" = 1': "has an unknown key 'ra\\x1bte'",
    b"raet = 1": "did you mean rate?",
    b"out = 'x'": "has an unknown key 'out'",
    b"rate = 1\nrate = 2": "is not TOML",
    b"rate": "is not TOML",
    b"\xff\xfe": "is not TOML",
    b"seed = " + b"9" * 5000: "is not TOML",
    b"rate = " + b"[" * 5000 + b"]" * 5000: "is nested too deep",
    b"#" * (2**20 + 1): "is larger than 1048576 bytes, the most for a file of options",
}


@pytest.mark.process
@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize(("content", "said"), FILES.items(), ids=[content[:30].decode("latin-1") for content in FILES])
def test_a_wrong_file_of_options_is_named_with_its_key(
    directory: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "bench.toml").write_bytes(content)
    line = refused(
        ["run", "--config", "bench.toml", *(["--transport", "mqtt"] if b"transport" not in content else [])], capsys
    )
    assert said in line


@pytest.mark.parametrize("path", ["directory", "fifo", os.devnull])
def test_what_is_no_file_is_not_read_for_options(
    directory: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "directory").mkdir()
    if path == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this platform has no FIFO")
        os.mkfifo("fifo")
    assert f"--config {path} is no file" in refused(["run", "--config", path], capsys)
