"""A package with a transport `other`, as somebody else would install it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtbench.conformance.case import Case, cases
from rtbench.transports import registry

CACHED = (
    registry.points,
    registry.server,
    registry.client,
    registry.client_settings,
    registry.settings,
    registry.server_options,
)

SERVER = """
import asyncio, importlib.util, os, re, sys, threading, time
from contextlib import asynccontextmanager

spec = importlib.util.find_spec("rtbench.servers.tcp")
tcp = importlib.util.module_from_spec(spec)  # one of its own, to change
spec.loader.exec_module(tcp)

def fail():
    raise KeyError("room")

async def later():
    fail()

TASKS = []

class Connection(tcp.Connection):
    def publish(self, payload):
        {server}
        super().publish(payload)

tcp.Connection = Connection

@asynccontextmanager
async def serve(listener):
    try:
        async with tcp.serve(listener) as url:
            yield url
    finally:
        await asyncio.gather(*TASKS, return_exceptions=True)
"""
CLIENT = """
import asyncio, contextlib
import rtbench.transports
from contextlib import asynccontextmanager
from rtbench.clients import tcp

def fail():
    raise KeyError("room")

async def later():
    fail()

TASKS = []

class Client(tcp.Tcp):
    async def publish(self, topic, payload):
        {publish}
        return await super().publish(topic, payload)

    async def subscribe(self, topic):
        {subscribe}
        return self._deliver(await super().subscribe(topic))

    async def _deliver(self, stream):
        async for message in stream:
            {deliver}
            yield message

@asynccontextmanager
async def connect(url, meter):
    {connect}
    client = Client(url, meter)
    try:
        yield client
    finally:
        await client.close()

def drain_timeout_s():
    return 0.2
"""


def case_of(text: str) -> Case:
    """Return the case of the contract with this sentence."""
    (found,) = [case for case in cases() if case.text == text]
    return found


def modules(server: str = "pass", connect: str = "pass", **methods: str) -> tuple[str, str]:
    """Return a server and a client that work, as bare TCP does, with code put into some of their methods."""
    code = dict.fromkeys(("publish", "subscribe", "deliver"), "pass") | methods
    return SERVER.format(server=server), CLIENT.format(connect=connect, **code)


def place(file: str, text: str) -> str:
    """Return file and line of a text in one of the modules."""
    source = SERVER if file == "other_server.py" else CLIENT
    return f"{file}, line {source[: source.index(text)].count(chr(10)) + 1}"


FAILS = {file: f"KeyError: 'room' ({place(file, 'raise')})" for file in ("other_server.py", "other_client.py")}


def install_points(directory: Path, name: str, points: Mapping[str, Mapping[str, str]]) -> None:
    """Put a distribution with entry points, by group and name, where Python finds it."""
    info = directory / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = [line for group in points for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points[group].items()))]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]))


def install(directory: Path, server: str, client: str) -> None:
    """Put a distribution with a transport `other` where Python finds it."""
    points = {"rtbench.servers": {"other": "other_server"}, "rtbench.clients": {"other": "other_client"}}
    install_points(directory, "other", points)
    (directory / "other_server.py").write_text(server)
    (directory / "other_client.py").write_text(client)


def path_with(directory: Path) -> str:
    """Return a PYTHONPATH on which the directory is."""
    return os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def importable(directory: Path) -> Iterator[None]:
    """Have what is in a directory in this process and in those that it starts."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(directory)
        patch.setenv("PYTHONPATH", path_with(directory))
        for cached in CACHED:
            cached.cache_clear()
        try:
            yield
        finally:
            for name in set(sys.modules) - before:
                if str(getattr(sys.modules[name], "__file__", "")).startswith(str(directory)):
                    del sys.modules[name]
            for cached in CACHED:
                cached.cache_clear()


@contextmanager
def installed(directory: Path, server: str, client: str) -> Iterator[None]:
    """Have the transport `other` in this process and in those that it starts."""
    install(directory, server, client)
    with importable(directory):
        yield
