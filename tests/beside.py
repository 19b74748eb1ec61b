"""Runs a program while a broker runs beside it: `python tests/beside.py CONFIGURATION PROGRAM ARGUMENT...`.

The port of the broker stands in the place of `PORT` in the configuration and in the arguments.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

WITHIN_S = 10.0


def main(configuration: Path, program: list[str]) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration.write_text(configuration.read_text().replace("PORT", str(port)))
    with subprocess.Popen(["mosquitto", "-c", str(configuration)]) as broker:
        try:
            until_s = time.monotonic() + WITHIN_S
            while time.monotonic() < until_s:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.02)
            return subprocess.run([word.replace("PORT", str(port)) for word in program], check=False).returncode
        finally:
            broker.terminate()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
