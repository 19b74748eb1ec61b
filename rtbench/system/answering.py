"""The side of a helper (`rtbench.system.helper`) that answers. It imports little, so that a helper starts fast."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any


def answer_all(answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Answer the questions on standard input, one JSON line each, until it ends: the owner is gone, or asks to end."""
    for line in sys.stdin.buffer:
        try:
            answered = answer(json.loads(line))
        except Exception as error:
            answered = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answered) + "\n")
        sys.stdout.flush()
