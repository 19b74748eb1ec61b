"""Parse times (`500ms`, `2s`, `1m30s`, `250us`) and sizes (`64MiB`), and format them and numbers for sentences."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from numbers import Real
from typing import Any

from rtbench.errors import UsageError

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]+)?)\s*(ns|us|µs|ms|s|min|m|h)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def parse_number(value: Any) -> float:
    """Return a finite number, or a text of one in ASCII digits.

    Raises:
        ValueError: it is none.
    """
    is_text = isinstance(value, str) and _NUMBER.fullmatch(value.strip()) is not None
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    try:
        number = float(value) if is_text or is_number else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a number")
    return number


def parse_seconds(text: Any) -> float:
    """Return a time in seconds. A text needs a unit, unless it is zero; a number that is no text is in seconds.

    Raises:
        UsageError: the text is not a time.
    """
    try:
        number = parse_number(text)
    except ValueError:
        return _sum_of_parts(text)
    if isinstance(text, str) and number != 0:
        stripped = text.strip()
        raise UsageError(f"{text!r} has no unit; write {stripped}ms, {stripped}s or {stripped}m")
    return number


def _sum_of_parts(text: Any) -> float:
    stripped = text.strip() if isinstance(text, str) else ""
    if stripped.startswith("-"):
        raise UsageError(f"{text!r} is negative; a time is 0 or more")
    parts = _PART.findall(stripped)
    sizes = [_SECONDS[unit] for _, unit in parts]
    if not parts or "".join(_PART.split(stripped)[::3]).strip() or sizes != sorted(set(sizes), reverse=True):
        raise UsageError(f"{text!r} is not a time; write it with ns, us, ms, s, m or h, such as 500ms, 2s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_bytes(text: str | int) -> int:
    """Return a size in bytes. A text may have a unit: `4096`, `500kB`, `64MiB`.

    Raises:
        UsageError: the text is not a size.
    """
    found = re.fullmatch(r"([0-9]+)\s*([A-Za-z]*)", str(text).strip())
    if found is None or found[2] not in _BYTES:
        raise UsageError(f"{text!r} is not a size; write bytes, or a number with kB, MB, GB, KiB, MiB or GiB")
    return int(found[1]) * _BYTES[found[2]]


def parse_yes_or_no(text: str | bool) -> bool:
    """Return True for yes, true or 1, and False for no, false or 0 (in any case).

    Raises:
        ValueError: the text is none of these.
    """
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(text).lower() not in known:
        raise ValueError(f"{text!r} is not yes or no")
    return known[str(text).lower()]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 trial`, `3 trials`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def format_seconds(seconds: float) -> str:
    """Return a time with three significant digits and the unit that fits it: `0.512 s` is `512 ms`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size or unit == "us":
            return f"{plain(seconds / size)} {unit}"
    raise AssertionError


def format_bytes(size: int) -> str:
    """Return a size as `parse_bytes` reads it, in the largest binary unit that divides it: `64MiB`, `1500`."""
    unit = next((unit for unit in ("GiB", "MiB", "KiB") if size and size % _BYTES[unit] == 0), "")
    return f"{size // _BYTES[unit]}{unit}"


def clock(seconds: float) -> str:
    """Return a time as a clock shows it: `0:05`, `12:34`, `1:30:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def plain(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, never with an exponent: `990`, `0.00005`."""
    return format(Decimal(f"{value:.{digits}g}"), "f")
