"""The JSON Schema of result.json: the fixed part in schema.json, and what code defines: settings, kinds, and counts.

The description of a setting is its help; that of a count stands at its field (`rtbench.analysis.counts.described`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from rtbench.plan.settings import Setting

_TYPES: Mapping[str, Mapping[str, Any]] = {  # of a field's annotation
    "str": {"type": "string"},
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number", "minimum": 0},
    "str | None": {"type": ["string", "null"]},
    "int | None": {"type": ["integer", "null"], "minimum": 0},
    "float | None": {"type": ["number", "null"], "minimum": 0},
    "Wire | None": {"anyOf": [{"$ref": "#/$defs/wire"}, {"type": "null"}]},
    "Predicted | None": {"anyOf": [{"$ref": "#/$defs/predicted"}, {"type": "null"}]},
    "Load | None": {"anyOf": [{"$ref": "#/$defs/load"}, {"type": "null"}]},
}
_SAMPLES = {
    "description": "File of its messages and deliveries, within the result",
    "type": "string",
    "pattern": r"^samples/(sparse-)?[0-9]{3,}\.npz$",
}


def schema(settings: Mapping[str, Setting], kinds: Mapping[str, type[Any]], sampled: Iterable[str]) -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12).

    `kinds` are the experiments, each with the dataclass of what its trials count; those in `sampled` keep samples.
    """
    found: dict[str, Any] = json.loads(files("rtbench.result").joinpath("schema.json").read_text(encoding="utf-8"))
    properties = found["properties"]
    properties["kind"]["enum"] = list(kinds)
    properties["settings"]["properties"] = {name: _setting(setting) for name, setting in settings.items()}
    counted = {kind: counts.__name__ for kind, counts in kinds.items()}
    with_samples = {counted[kind] for kind in sampled}
    for counts in kinds.values():
        found["$defs"][counts.__name__] = _counts(counts, counts.__name__ in with_samples)
    found["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}}},
            "then": {
                "properties": {"trials": {"items": {"$ref": f"#/$defs/{name}"}}},
                "required": ["workload", "precision", "sparse", "laws"] if name in with_samples else [],
            },
        }
        for kind, name in counted.items()
    ]
    return found


def _setting(setting: Setting) -> dict[str, Any]:
    value = {"description": "The value", **setting.schema}
    return {"description": setting.help, "$ref": "#/$defs/given", "properties": {"value": value}}


def _counts(counts: type[Any], samples: bool) -> dict[str, Any]:
    fields = dataclasses.fields(counts)
    properties = {f.name: {"description": f.metadata["description"], **_TYPES[str(f.type)]} for f in fields}
    optional = [f.name for f in fields if f.default is not dataclasses.MISSING]
    if samples:
        properties["samples"] = _SAMPLES
    return {
        "description": "What a trial counted",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }
