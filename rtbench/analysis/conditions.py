"""Which entries of the recorded environment must be equal if two measurements are compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# recorded, but not a condition of a measurement: they help to find why two results differ
_NO_CONDITION = frozenset(
    {
        "memory_bytes",
        "memory_limit_bytes",
        "clock.function",
        "clock.resolution_ns",
        "limits.open_files",
        "limits.open_files_hard",
        "packages_sha256",
        "missing",
    }
)


def entries(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a nested description as a flat dict: `{"clock": {"source": ...}}` gives `clock.source`."""
    found: dict[str, Any] = {}
    for name, value in environment.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": one for inner, one in entries(value).items()}
        else:
            found[name] = value
    return found


def conditions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that must be equal in two measurements that are compared.

    Of the libraries only rtbench itself is a condition: the libraries that a variant uses are part of its software.
    """
    return {name: value for name, value in entries(environment).items() if not _is_free(name)}


def _is_free(name: str) -> bool:
    return name in _NO_CONDITION or (name.startswith("libraries.") and name != "libraries.rtbench")
