"""What does the page of the lab cost, and how close are its figures to those of `rtbench run`?

    python benchmarks/lab.py                 first paint, frames a second, CPU, p50 of each lane
    python benchmarks/lab.py --minutes 60    memory of the page and of the lab, once a minute, and what was lost;
                                             then the memory after a forced garbage collection

Needs Chromium, and the libraries of the page (`make lab`). Two expressions are evaluated in the page, before and after
the measurement; no tool stays attached to the browser meanwhile, since it would cost as much as the page.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
from websockets.sync.client import ClientConnection, connect

BROWSER = "chromium"
DEBUGGING_PORT = 9333
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-sync"),
)
SECONDS = 10.0
COUNT_FRAMES = """{
  window.times = [];
  const seen = (at_ms) => { times.push(at_ms); requestAnimationFrame(seen); };
  requestAnimationFrame(seen);
}"""
READ = """({
  paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
  frames_hz: (1000 * (times.length - 1)) / (times.at(-1) - times[0]),
  lanes: [...document.querySelectorAll("#lanes tbody tr")].map((row) =>
    [row.querySelector("th"), ...["p50", "lost", "requests"].map((name) => row.querySelector(`[data-name=${name}]`))]
      .map((cell) => cell.innerText)),
})"""


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


class DevTools:
    """A connection with the page by the Chrome DevTools Protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.asked = 0
        self.workers: list[str] = []  # their sessions

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Return the result of a method, of the page or of a Worker."""
        self.asked += 1
        of_worker = {} if session is None else {"sessionId": session}
        self.socket.send(json.dumps({"id": self.asked, "method": method, "params": parameters, **of_worker}))
        while (told := json.loads(self.socket.recv())).get("id") != self.asked:
            if told.get("method") == "Target.attachedToTarget":
                self.workers.append(told["params"]["sessionId"])
        return told["result"]

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def collect_garbage(self) -> None:
        """Have the page and its Workers free the objects that they no longer use."""
        self._free_of(None)
        for session in self.workers:  # it grows meanwhile: a Worker may have Workers
            self._free_of(session)

    def _free_of(self, session: str | None) -> None:
        self.ask("Target.setAutoAttach", session, autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        self.ask("HeapProfiler.collectGarbage", session)


@contextlib.contextmanager
def dev_tools() -> Iterator[DevTools]:
    """Connect with the page."""
    with urlopen(f"http://127.0.0.1:{DEBUGGING_PORT}/json/list") as answer:
        address = next(each["webSocketDebuggerUrl"] for each in json.load(answer) if each["type"] == "page")
    with connect(address, max_size=None) as socket:
        yield DevTools(socket)


def memory(owner: psutil.Process) -> str:
    """Return the private memory of the browser, and that of the lab with its servers and links, as text."""
    sums = {True: 0.0, False: 0.0}
    for process in owner.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            sums[BROWSER in process.exe()] += process.memory_full_info().uss / 1e6
    return f"browser {sums[True]:.0f} MB, lab {sums[False]:.0f} MB"


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
                print(f"minute {minute}: {memory(owner)}", flush=True)
                time.sleep(60)
            with dev_tools() as page:
                page.evaluate(COUNT_FRAMES)
            psutil.cpu_percent()
            time.sleep(SECONDS)
            busy = psutil.cpu_percent()
            with dev_tools() as page:
                read = page.evaluate(READ)
            print(f"{each:g} messages a second a lane: first paint {read['paint_ms']:.0f} ms, ", end="")
            print(f"{read['frames_hz']:.1f} frames a second, {busy:.0f} % of all cores")
            for name, p50_ms, lost, requests in read["lanes"]:
                print(f"    {name:14} p50 {p50_ms:>5} ms, {lost} lost, {requests} requests")
            if minutes:
                with dev_tools() as page:
                    page.collect_garbage()
                time.sleep(SECONDS)  # the browser returns memory to the kernel a moment later
                print(f"after a garbage collection: {memory(owner)}")


if __name__ == "__main__":
    main()
