"""How long does the first command take? `rtbench compare` with default options, and `rtbench --help`.

python benchmarks/compare.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RTBENCH = str(Path(sys.executable).with_name("rtbench"))


def seconds(*command: str) -> float:
    """Return the wall time of a command that must succeed."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    interpreter = [seconds(sys.executable, "-c", "import click") for _ in range(11)]
    helps = [seconds(RTBENCH, "--help") for _ in range(11)]
    print(f"rtbench --help    {statistics.median(helps):5.2f} s, at most 0.2 wanted")
    print(f"  of which Python and click: {statistics.median(interpreter):.2f} s")
    print(f"rtbench compare   {seconds(RTBENCH, 'compare'):5.1f} s, at most 75 wanted")


if __name__ == "__main__":
    main()
