"""Which entries of the recorded environment must be alike where two measurements are compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# recorded, but no condition of a measurement: they say where to look when two differ for no visible reason
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
    """Return the entries of a description on one level: `{"clock": {"source": ...}}` has the entry `clock.source`."""
    found: dict[str, Any] = {}
    for name, value in environment.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": one for inner, one in entries(value).items()}
        else:
            found[name] = value
    return found


def conditions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that must be the same in two measurements that are to be compared.

    Of the libraries only rtbench itself is one: the libraries that a variant uses are its software.
    """
    return {name: value for name, value in entries(environment).items() if not _is_free(name)}


def _is_free(name: str) -> bool:
    return name in _NO_CONDITION or (name.startswith("libraries.") and name != "libraries.rtbench")
