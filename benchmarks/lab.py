"""What does the page of the lab cost, and how close are its figures to those of `rtbench run`?

    python benchmarks/lab.py                 first paint, frames a second, CPU, p50 of each lane
    python benchmarks/lab.py --minutes 60    memory of the page and of the lab, once a minute

Needs Chromium, and the libraries of the page (`make lab`). The browser is started without any tool attached to it,
since such a tool costs as much as the page; its figures are read at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright

BROWSER = "chromium"
DEBUGGING_PORT = 9333
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-sync"),
)
SECONDS = 10.0


@contextlib.contextmanager
def open_page(fragment: str) -> Iterator[psutil.Process]:
    """Run the lab and a browser on its page; yield the process that holds both."""
    command = [str(Path(sys.executable).with_name("rtbench")), "lab", "--port", "0"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lab,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        assert lab.stdout is not None
        address = lab.stdout.readline().strip()
        debugging = [
            f"--user-data-dir={profile}",
            f"--remote-debugging-port={DEBUGGING_PORT}",
            "--window-size=1024,768",
        ]
        with subprocess.Popen([BROWSER, *QUIET, *debugging, address + fragment], stderr=subprocess.DEVNULL) as browser:
            yield psutil.Process()
            browser.terminate()
        lab.terminate()


def read() -> tuple[float, str, dict[str, str]]:
    """Return the first paint in ms, what stands at the top of the page, and the p50 of each lane."""
    with sync_playwright() as playwright:
        page = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{DEBUGGING_PORT}").contexts[0].pages[0]
        about = page.inner_text(".about")
        rows = page.query_selector_all("#lanes tbody tr")
        cells: list[tuple[Any, Any]] = [
            (row.query_selector("th"), row.query_selector("[data-name=p50]")) for row in rows
        ]
        p50 = {name.inner_text(): value.inner_text() for name, value in cells}
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        return float(paint), about, p50


def memory_mb(owner: psutil.Process) -> tuple[float, float]:
    """Return the private memory of the browser, and that of the lab with its servers and links."""
    sums = {True: 0.0, False: 0.0}
    for process in owner.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            sums[BROWSER in process.exe()] += process.memory_full_info().uss / 1e6
    return sums[True], sums[False]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=0)
    parser.add_argument("--rate", type=float, default=10.0)
    minutes, rate = vars(parser.parse_args()).values()
    for each in [rate] if minutes else [rate, 50.0]:
        with open_page(f"#rate={each:g}&rtt=100&interval=500&start=now") as owner:
            time.sleep(5)
            for minute in range(minutes + 1 if minutes else 0):
                print(
                    f"minute {minute}: browser {memory_mb(owner)[0]:.0f} MB, lab {memory_mb(owner)[1]:.0f} MB",
                    flush=True,
                )
                time.sleep(60)
            psutil.cpu_percent()
            time.sleep(SECONDS)
            busy = psutil.cpu_percent()
            paint_ms, about, p50 = read()
            print(
                f"{each:g} messages a second a lane: first paint {paint_ms:.0f} ms, {about}, {busy:.0f} % of all cores"
            )
            print("   p50 in ms:", ", ".join(f"{name} {value}" for name, value in p50.items()))


if __name__ == "__main__":
    main()
