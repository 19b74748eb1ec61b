"""Transports of other packages that print or are broken: measured all the same, or named with file and line."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Program
from tests.plugins import install, path_with

QUICK = ("--duration", "200ms", "--warmup", "0", "--trials", "1", "--subscribers", "1")
PRINTS = "print('a word that nobody asked for')\n"
SERVER = "from rtbench.servers.tcp import serve\n"
CLIENT = "from rtbench.clients.tcp import connect\n"


@pytest.mark.process
def test_a_module_that_prints_breaks_nothing(rtbench: Program) -> None:
    installed = rtbench.directory / "installed"
    install(installed, PRINTS + SERVER, PRINTS + CLIENT)
    done = rtbench("run", "--transport", "other", *QUICK, "--json", "--out", "out", PYTHONPATH=path_with(installed))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["variants"][0]["name"] == "other"


@pytest.mark.process
@pytest.mark.parametrize(
    ("server", "client", "said"),
    [
        (SERVER, "\n\nimport nowhere\n" + CLIENT, "No module named 'nowhere' (other_client.py, line 3)"),
        (SERVER, CLIENT + "\n1 / 0\n", "ZeroDivisionError: division by zero (other_client.py, line 3)"),
        (SERVER, CLIENT + "\ndef (:\n", "SyntaxError: invalid syntax (other_client.py, line 3)"),
        (SERVER + "\nraise ValueError('no')\n", CLIENT, "ValueError: no (other_server.py, line 3)"),
    ],
    ids=["an import", "an exception", "no Python", "a server"],
)
def test_a_broken_plugin_is_named_with_its_line(rtbench: Program, server: str, client: str, said: str) -> None:
    installed = rtbench.directory / "installed"
    install(installed, server, client)
    environment = {"PYTHONPATH": path_with(installed)}
    alone = rtbench("run", "--transport", "other", *QUICK, "--out", "alone", **environment)
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 1)
    assert said in alone.stderr
    listed = rtbench("transports", **environment)
    assert said in listed.stdout


@pytest.mark.process
@pytest.mark.long
def test_a_broken_plugin_is_left_out_of_a_comparison_of_everything(rtbench: Program) -> None:
    installed, said = rtbench.directory / "installed", "ZeroDivisionError: division by zero (other_client.py, line 3)"
    install(installed, SERVER, CLIENT + "\n1 / 0\n")
    environment = {"PYTHONPATH": path_with(installed)}
    compared = rtbench("compare", "--no-sparse", *QUICK, "--out", "compared", **environment)
    assert compared.returncode == 0, compared.stderr
    assert "rtbench: other is left out: the " in compared.stderr
    assert said in compared.stderr
    names = [v["name"] for v in json.loads((rtbench.directory / "compared" / "result.json").read_text())["variants"]]
    assert "websocket" in names
    assert "other" not in names


@pytest.mark.process
def test_an_exception_of_a_server_that_starts_stands_in_the_message(rtbench: Program) -> None:
    installed = rtbench.directory / "installed"
    broken = "async def serve(listener):\n    yield {}['url']\n"
    install(installed, "from contextlib import asynccontextmanager\n\n\n@asynccontextmanager\n" + broken, CLIENT)
    done = rtbench("run", "--transport", "other", *QUICK, "--out", "out", PYTHONPATH=path_with(installed))
    assert done.returncode == 1
    assert "KeyError: 'url' (other_server.py, line 6)" in " ".join(done.stdout.split())
