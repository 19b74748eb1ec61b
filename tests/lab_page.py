"""The page of the lab in a real browser, for tests: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RTBENCH
from tests.programs import needs, path_of

REPOSITORY = Path(__file__).parents[1]
WITHIN_MS = 20_000
# how the browser itself reports requests that are lost, which tests of faults lose on purpose; it may do so late
LOST = ("net::ERR_", "WebSocket connection to", "has been blocked by CORS policy")
IN_A_BROWSER = [needs("chromium", "npm"), pytest.mark.long]


def page_libraries() -> None:
    """Fetch the libraries of the page, unless they are here; one process at a time."""
    with (REPOSITORY / "rtbench/lab/package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "rtbench/lab/page/vendor/ready"], cwd=REPOSITORY, check=True, capture_output=True)


@contextmanager
def running_lab(*options: str) -> Iterator[str]:
    """Run `rtbench lab`; yield its address."""
    command = [*RTBENCH, "lab", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=WITHIN_MS / 1000)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors


@contextmanager
def chromium() -> Iterator[Any]:
    """Run the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to run as root with it
        browser = playwright.chromium.launch(executable_path=path_of("chromium"), args=sandbox)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Pages:
    """Pages of one lab; what they say on the console is a fault, unless a test says otherwise."""

    browser: Any
    address: str
    said: list[str] = field(default_factory=list)

    def open(self, fragment: str = "", address: str = "", ready: bool = True, **context: Any) -> Any:
        """Open a page in a browser profile of its own."""
        calm = {"viewport": {"width": 1024, "height": 768}, "reduced_motion": "reduce"}  # other tests run meanwhile
        made = self.browser.new_context(**{**calm, **context})
        return self.beside(made, fragment, address, ready)

    def beside(self, context: Any, fragment: str = "", address: str = "", ready: bool = True) -> Any:
        """Open a further page in a profile."""
        page = context.new_page()
        page.set_default_timeout(WITHIN_MS)
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        page.goto((address or self.address) + fragment)
        if ready:
            page.wait_for_selector("html[data-ready=yes]")
        return page


@contextmanager
def pages(*options: str) -> Iterator[Pages]:
    """Run the lab and the browser; nothing may be said on the console of a page."""
    page_libraries()
    with ExitStack() as stack:
        address = stack.enter_context(running_lab(*options))
        made = Pages(stack.enter_context(chromium()), address)
        yield made
        unexpected = [line for line in made.said if not any(word in line for word in LOST)]
        assert unexpected == [], unexpected


def start(page: Any) -> None:
    """Press Start, and wait until it runs."""
    page.click("#start")
    page.wait_for_selector("#stop:visible")


def stop(page: Any) -> dict[str, dict[str, str]]:
    """Press Stop, wait until all has come, and return the figures of each lane by the name of their column."""
    page.click("#stop")
    page.wait_for_selector("#reveal:visible")
    return figures(page)


def figures(page: Any) -> dict[str, dict[str, str]]:
    """Return the figures of each lane that is shown."""
    found = {}
    for row in page.query_selector_all("#lanes tbody tr"):
        if row.is_visible():
            cells = row.query_selector_all("td[data-name]")
            found[row.query_selector("th").inner_text()] = {c.get_attribute("data-name"): c.inner_text() for c in cells}
    return found
