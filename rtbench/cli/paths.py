"""Paths that users type."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from rtbench.errors import UsageError


class UserPath(click.Path):
    """A path; refused is one that no system call takes: empty, too long, or with a NUL in it."""

    def __init__(self, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        wrong = _what_is_wrong(os.fspath(value))
        if wrong and param is not None:
            name = param.opts[0] if isinstance(param, click.Option) else str(param.name).upper()
            raise UsageError(f"{name}: the path {wrong}")
        return super().convert(value, param, ctx)


def _what_is_wrong(path: str | bytes) -> str:
    if not path:
        return "is empty"
    try:
        os.lstat(path)
    except ValueError as error:
        return f"cannot be: {error}"
    except OSError as error:
        return f"cannot be: {error.strerror}" if len(path) > 255 and not isinstance(error, FileNotFoundError) else ""
    return ""
