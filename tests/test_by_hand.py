"""The walks of docs/by-hand.md, typed in a terminal: what is said to come, comes.

A block ```` ```console a ```` is typed in terminal a, with a server of the section's transport; one without a line to
type is what that terminal shows next. Blocks of other names are for a reader only.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from rtbench.transports.serving import serve
from tests.programs import needs

TEXT = (Path(__file__).parents[1] / "docs" / "by-hand.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```console (?P<terminal>[ab])\n(?P<lines>.*?)^```$", re.M | re.S)
PORT = re.compile(r"(?<=127\.0\.0\.1[:/])\d{4}|(?<=-p )\d{4}")
RUN = re.compile(r"[0-9a-f]{4}(?=-\d)")  # what an ETag or an event id begins with: another for each run of a server
BOLD = re.compile(r"\x1b\[\d*m")  # curl prints names of headers in bold
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
WITHIN_S = 20.0


class Terminal:
    """A terminal in which the lines of a block are typed."""

    def __init__(self, typed: str) -> None:
        self._shown, theirs = os.openpty()  # as in a real terminal, programs show each line at once
        self._process = subprocess.Popen(
            ["bash", "-c", typed],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"PATH": PATH, "no_proxy": "*"},
            start_new_session=True,
        )
        os.close(theirs)
        self._text = ""

    async def shows(self, lines: list[str]) -> None:
        """Read until all lines have come, in this order."""
        for line in lines:
            while line not in self._text:
                self._text += await self._more(line)
            self._text = self._text.partition(line)[2]

    async def _more(self, awaited: str) -> str:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._shown, readable.set)
        try:
            await readable.wait()
            return BOLD.sub("", os.read(self._shown, 4096).decode())
        except (OSError, asyncio.CancelledError) as ended:  # the program ended, or the time is over
            raise AssertionError(f"it did not show {awaited!r}; the rest was {self._text!r}") from ended
        finally:
            loop.remove_reader(self._shown)

    def close(self) -> None:
        """End what still runs in it."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._shown)


async def walk(transport: str, section: str) -> None:
    terminals: dict[str, Terminal] = {}
    async with asyncio.timeout(WITHIN_S), serve(transport) as url:
        section = PORT.sub(str(urlsplit(url).port), section)
        section = RUN.sub(await run_of(url), section) if url.startswith("http") else section
        try:
            for block in BLOCK.finditer(section):
                await follow(block["terminal"], block["lines"].splitlines(), terminals)
        finally:
            for terminal in terminals.values():
                terminal.close()


async def follow(name: str, lines: list[str], terminals: dict[str, Terminal]) -> None:
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    if typed:
        if name in terminals:
            terminals.pop(name).close()
        terminals[name] = Terminal("\n".join(typed))
    await terminals[name].shows([line for line in lines if line.strip() and not line.startswith("$ ")])


async def run_of(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.head(f"{url}/room") as response:
        return response.headers["ETag"].strip('"').partition("-")[0]


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.*)\n", TEXT, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.process
@pytest.mark.parametrize(
    ("transport", "heading"),
    [
        pytest.param("polling", "Polling", marks=needs("bash", "curl")),
        pytest.param("long-polling", "Long-polling", marks=needs("bash", "curl")),
        pytest.param("sse", "Server-Sent Events", marks=needs("bash", "curl")),
        pytest.param("websocket", "WebSocket", marks=needs("bash")),
        pytest.param("mqtt", "MQTT", marks=needs("bash", "mosquitto_sub", "mosquitto_pub")),
        pytest.param("tcp", "Bare TCP", marks=needs("bash")),
    ],
)
def test_what_is_typed_shows_what_is_said(transport: str, heading: str) -> None:
    section = sections()[heading]
    assert f"$ rtbench serve {transport} --port" in section
    assert BLOCK.search(section)
    asyncio.run(walk(transport, section))
