"""Are verdicts right? Comparisons on this machine as it is, and with every core kept busy on purpose, in turns.

    python benchmarks/verdicts.py
    python benchmarks/verdicts.py --turns 10 --busy 1

Wanted: as it is (leave it alone meanwhile), nine of ten valid; busy, all invalid. One line a variant and comparison.
`--busy N` keeps N cores busy instead of all; what else is given goes to `rtbench compare`. Four minutes.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RTBENCH = str(Path(sys.executable).with_name("rtbench"))
SHORT = ("--trials", "2", "--duration", "1s", "--warmup", "200ms")  # 1,000 deliveries a variant: enough for p99


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Have a process spin for each of so many cores."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def verdicts(options: list[str]) -> list[tuple[str, str, str]]:
    """Compare once; return variant, verdict and reasons."""
    with tempfile.TemporaryDirectory() as directory:
        command = [RTBENCH, "compare", "--quiet", *SHORT, *options, "--out", "out"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        if done.returncode not in (0, 1, 4):
            raise SystemExit(done.stderr)
        with (Path(directory) / "out" / "summary.csv").open(encoding="utf-8", newline="") as file:
            return [(row["variant"], row["verdict"], row["reasons"]) for row in csv.DictReader(file)]


def main() -> None:
    """Compare in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, metavar="CORES")
    arguments, options = parser.parse_known_args()
    counts: dict[str, Counter[str]] = {"as it is": Counter(), "busy": Counter()}
    for turn in range(arguments.turns):
        for state, count in counts.items():
            with busy(arguments.busy if state == "busy" else 0):
                found = verdicts(options)
            for variant, verdict, reasons in found:
                count[verdict] += 1
                print(f"{turn + 1:3}  {state:8}  {variant:14}  {verdict:8} {reasons}", flush=True)
    for state, wanted in (("as it is", "valid"), ("busy", "invalid")):
        each = ", ".join(f"{number} {verdict}" for verdict, number in counts[state].most_common())
        share = counts[state][wanted] / counts[state].total()
        print(f"{state:8}  {each}: {share:.0%} {wanted}")


if __name__ == "__main__":
    main()
