"""Progress: where an experiment stands, how long it still takes, and the line that says so while it is measured."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rtbench.units import clock

_USUAL_WIDTH = 80


@dataclass(frozen=True)
class Progress:
    """Where an experiment stands: the step under way (from 1), what it measures, and the time left in seconds.

    `steps` are planned so far; where there may be more, `most_steps` says how many at most. `phase` says in a few words
    how far the step is (`measuring 1,250 of 4,000`).
    """

    name: str
    step: int
    steps: int
    most_steps: int
    phase: str
    left_s: float

    def line(self) -> str:
        """Return it as a line; what matters most stands first, for a narrow terminal."""
        more = self.most_steps > self.steps
        most, least = (f" (at most {self.most_steps})", "at least ") if more else ("", "")
        return f"trial {self.step}/{self.steps}{most}, {least}{clock(self.left_s)} left: {self.name}, {self.phase}"


Watch = Callable[[Progress], None]


@dataclass
class Durations:
    """How long steps take: as those of the same name took, else what is expected and what others took beyond that."""

    _taken_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _beyond_s: list[float] = field(default_factory=list)

    def add(self, name: str, expected_s: float, taken_s: float) -> None:
        """Note how long a step took."""
        self._taken_s[name].append(taken_s)
        self._beyond_s.append(taken_s - expected_s)

    def of(self, name: str, expected_s: float) -> float:
        """Return about how long a step will take."""
        if taken := self._taken_s.get(name):
            return sum(taken) / len(taken)
        beyond_s = sum(self._beyond_s) / len(self._beyond_s) if self._beyond_s else 0.0
        return max(expected_s + beyond_s, 0.0)


@contextmanager
def progress_line(shown: bool | None = None) -> Iterator[Watch]:
    """Yield a function that shows progress on one line, which is written over, and erase the line at the end.

    By default it is shown on a terminal (standard error) and in a notebook (standard output: it is not red there).
    """
    stream = sys.stdout if _is_notebook(sys.stdout) else sys.stderr
    if shown is False or (shown is None and not (_is_notebook(stream) or stream.isatty())):
        yield lambda _: None
        return
    length = 0

    def write(text: str) -> None:
        nonlocal length
        text = text[: _width(stream) - 1]
        stream.write(f"\r{text.ljust(length)}")
        stream.flush()
        length = len(text)

    try:
        yield lambda progress: write(progress.line())
    finally:
        stream.write(f"\r{' ' * length}\r")
        stream.flush()


def _is_notebook(stream: TextIO) -> bool:
    """Whether what is written appears below a cell: then Jupyter's kernel has put its own stream in place."""
    return type(stream).__module__.startswith("ipykernel.")


def _width(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):  # it is no terminal, or no file
        return _USUAL_WIDTH
