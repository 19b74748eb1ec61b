"""Secrets: read from a file or a variable, so that none stands on a command line or in a result."""

from __future__ import annotations

import os
from pathlib import Path

from rtbench.errors import UsageError


def read_secret(name: str, path: Path | None) -> str | None:
    """Return the first line of the file that `--NAME-file` names; without one, RTBENCH_NAME; None without either.

    Raises:
        UsageError: the file cannot be read, or has nothing on its first line.
    """
    if path is None:
        return os.environ.get(variable(name))
    flag = f"--{name.replace('_', '-')}-file"
    if secret := read_text(flag, path).split("\n", 1)[0]:
        return secret
    raise UsageError(f"{flag} {path} has no {name} on its first line")


def variable(name: str) -> str:
    """Return the name of the environment variable of a secret."""
    return f"RTBENCH_{name.upper()}"


def read_text(flag: str, path: Path) -> str:
    """Return the text of a file that a flag names.

    Raises:
        UsageError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{flag} {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{flag} {path} is not a text in UTF-8") from None
