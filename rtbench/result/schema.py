"""The JSON Schema of result.json: the fixed part in schema.json, and what code defines: settings, kinds, and counts.

The description of a setting is its help; that of a count stands at its field (`rtbench.analysis.counts.described`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from rtbench.plan.settings import Setting

if TYPE_CHECKING:
    from rtbench.result.result import Result

_TYPES: Mapping[str, Mapping[str, Any]] = {  # of a field's annotation
    "str": {"type": "string"},
    "int": {"type": "integer", "minimum": 0},
    "float": {"type": "number", "minimum": 0},
    "str | None": {"type": ["string", "null"]},
    "int | None": {"type": ["integer", "null"], "minimum": 0},
    "float | None": {"type": ["number", "null"], "minimum": 0},
    "Wire | None": {"anyOf": [{"$ref": "#/$defs/wire"}, {"type": "null"}]},
    "Predicted | None": {"anyOf": [{"$ref": "#/$defs/predicted"}, {"type": "null"}]},
    "tuple[int, ...]": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    "tuple[Evidence, ...]": {"type": "array", "items": {"$ref": "#/$defs/evidence"}},
    "tuple[Episode, ...]": {"type": "array", "items": {"$ref": "#/$defs/episode"}},
    "tuple[Outage, ...]": {"type": "array", "items": {"$ref": "#/$defs/outage"}},
    "Mapping[str, int]": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}},
    "Load | None": {"anyOf": [{"$ref": "#/$defs/load"}, {"type": "null"}]},
}
_MOST_CHARACTERS = 160  # of what is wrong: it holds the value
_TEXT = "^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f]*$"  # no control characters but tab and new line
_SAMPLES = {
    "description": "File of its messages and deliveries, within the result",
    "type": "string",
    "pattern": r"^samples/(sparse-)?[0-9]{3,}\.npz$",
}


def first_error(schema: Mapping[str, Any], content: Any) -> str:
    """Return what is wrong with the content of a result.json, in one short sentence; empty if nothing is."""
    import jsonschema  # here, since whoever reads a result needs it, and nobody else

    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
    if error is None:
        return ""
    place = "/".join(str(part) for part in error.absolute_path) or "the file"
    message = error.message if len(error.message) <= _MOST_CHARACTERS else f"{error.message[:_MOST_CHARACTERS]} ..."
    return f"{place}: {message}"


def schema_of(settings: Mapping[str, Setting] | None, kinds: Mapping[str, type[Result[Any]]]) -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12).

    `kinds` are the experiments, each with the class of its results. Without `settings` a result may have any, such as
    those of transports that are not installed here.
    """
    found: dict[str, Any] = json.loads(files("rtbench.result").joinpath("schema.json").read_text(encoding="utf-8"))
    properties = found["properties"]
    properties["kind"]["enum"] = list(kinds)
    if settings is None:
        properties["settings"]["additionalProperties"] = {"$ref": "#/$defs/given"}
    else:
        properties["settings"]["properties"] = {name: _setting(setting) for name, setting in settings.items()}
    for result in kinds.values():
        found["$defs"][result.counts.__name__] = _counts(result.counts, result.sampled)
        found["$defs"] |= {counts.__name__: _counts(counts, False) for counts in result.other_counts}
    found["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}}},
            "then": {
                "properties": {"trials": {"items": {"$ref": f"#/$defs/{result.counts.__name__}"}}},
                "required": list(result.own_fields),
            },
        }
        for kind, result in kinds.items()
    ]
    _bound(found)
    return found


def _bound(part: Any) -> None:
    """Let no text have control characters, which could write over what a terminal shows, and no number be too large."""
    if isinstance(part, list):
        for inner in part:
            _bound(inner)
    elif isinstance(part, dict):
        kinds = part.get("type", ())
        if "string" in kinds:
            part.setdefault("pattern", _TEXT)
        if "integer" in kinds:
            part.setdefault("maximum", 2**63 - 1)
        for inner in part.values():
            _bound(inner)


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
