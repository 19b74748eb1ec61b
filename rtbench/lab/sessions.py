"""A session of a page as a result, and a result as a session."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def save(out: Path, content: Mapping[str, Any]) -> str:
    raise NotImplementedError


def session_of(path: Path) -> Mapping[str, Any]:
    raise NotImplementedError
