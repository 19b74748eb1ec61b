"""The JSON Schema of result.json: what it allows is what is written."""

from __future__ import annotations

import copy
import getpass
import hashlib
import importlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

from rtbench.experiments import schema
from rtbench.experiments.compare import load_comparison
from rtbench.result import storage
from rtbench.result.result import INCOMPLETE
from rtbench.system.environment import describe, packages_sha256, ranges
from tests.builders import REFERENCE, save
from tests.conftest import Program

jsonschema = importlib.import_module("jsonschema")  # has no type hints

SCHEMA = schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def saved(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "result.json").read_text(encoding="utf-8"))
    return content


def properties(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        for name, inner in part.get("properties", {}).items():
            yield f"{path}/{name}", inner
        for key, value in part.items():
            if key not in ("if", "then"):  # which say what belongs to which kind
                yield from properties(value, f"{path}/{key}")
    elif isinstance(part, list):
        for item in part:
            yield from properties(item, path)


def test_it_is_a_schema_of_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == storage.SCHEMA


def test_every_property_is_described() -> None:
    found = dict(properties(SCHEMA))
    assert len(found) > 100
    assert [path for path, schema in found.items() if len(schema.get("description", "")) < 4] == []


@pytest.mark.process
def test_a_fresh_result_is_valid(comparison: Path) -> None:
    CHECK.validate(saved(comparison))


@pytest.mark.process
@pytest.mark.long
def test_a_result_of_idle_connections_is_valid(rtbench: Program) -> None:
    few = ("--transport", "sse", "--transport", "polling", "--connections", "4", "--duration", "500ms")
    done = rtbench("idle", *few, "--out", "out")
    assert done.returncode == 0, done.stderr
    content = saved(rtbench.directory / "out")
    CHECK.validate(content)
    assert content["kind"] == "idle"
    del content["trials"][0]["idle_wire"]
    assert not CHECK.is_valid(content)


def test_the_reference_is_valid() -> None:
    CHECK.validate(saved(REFERENCE))


def test_an_incomplete_result_is_valid(tmp_path: Path) -> None:
    result = load_comparison(REFERENCE)
    result.status, result.trials = INCOMPLETE, []
    CHECK.validate(saved(save(result, tmp_path / "incomplete")))


def test_the_environment_is_described_whole() -> None:
    environment = json.loads(json.dumps(describe()))
    assert list(environment) == list(SCHEMA["properties"]["environment"]["properties"])


def at(*keys: Any, value: Any = ...) -> Callable[[dict[str, Any]], None]:
    """A change of one place; without a value, what stands there is taken out."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        if value is ...:
            del content[keys[-1]]
        else:
            content[keys[-1]] = value

    return change


WRONG = [
    ("another schema", at("schema", value=1)),
    ("no sum", at("sha256")),
    ("a sum that is none", at("sha256", value="0" * 63)),
    ("a status that does not exist", at("status", value="done")),
    ("a property that nobody knows", at("colour", value="red")),
    ("a setting without its source", at("settings", "rate", "source")),
    ("a setting of another type", at("settings", "rate", "value", value="fast")),
    ("a source that does not exist", at("settings", "rate", "source", value="guess")),
    ("a rate of 0", at("workload", "rate_hz", value=0)),
    ("no kernel", at("environment", "kernel")),
    ("a host name", at("environment", "host", value="example")),
    ("no variants", at("variants", value=[])),
    ("a verdict that does not exist", at("variants", 0, "verdict", value="fine")),
    ("a count below 0", at("trials", 0, "deliveries", value=-1)),
    ("a count that is none", at("trials", 0, "deliveries", value=1.5)),
    ("wire without its segments", at("trials", 0, "subscriber_run_wire", "down", "segments")),
    ("samples elsewhere", at("trials", 0, "samples", value="../secret.npz")),
    ("a file without its size", at("files", "samples/000.npz", "bytes")),
]


@pytest.mark.parametrize("change", [row[1] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_result_is_not_valid(change: Callable[[dict[str, Any]], None]) -> None:
    content = copy.deepcopy(saved(REFERENCE))
    change(content)
    assert not CHECK.is_valid(content)


def test_every_library_that_rtbench_needs_is_in_the_environment() -> None:
    needed = [text for text in requires("rtbench") or [] if "extra ==" not in text]
    names = {re.split(r"[^\w-]", text)[0] for text in needed}
    assert len(names) > 5
    assert names <= set(describe()["libraries"])


def test_the_sum_of_packages_is_of_normalized_sorted_lines() -> None:
    expected = hashlib.sha256(b"a-b==1\nc==2.0\n").hexdigest()
    assert packages_sha256([("C", "2.0"), ("A_.b", "1"), ("a-b", "1")]) == expected
    assert packages_sha256([("C", "2.1"), ("a-b", "1")]) != expected


def test_the_environment_names_nobody() -> None:
    text = json.dumps(describe())
    assert str(Path.home()) not in text
    assert socket.gethostname() not in text.split('"')
    assert getpass.getuser() not in text.split('"')


@pytest.mark.parametrize(
    ("cores", "text"), [([], ""), ([3], "3"), ([0, 1], "0-1"), ([0, 1, 2, 3, 8], "0-3,8"), ([0, 2, 3], "0,2-3")]
)
def test_cores_are_written_as_taskset_writes_them(cores: list[int], text: str) -> None:
    assert ranges(cores) == text
