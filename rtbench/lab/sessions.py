"""A session of a page as a result, and a result as a session."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtbench.analysis.lab import OF_DELIVERIES, OF_MESSAGES, LaneCounts, LaneTrial, felt_of
from rtbench.errors import UsageError
from rtbench.experiments import load
from rtbench.lab.lanes import LANES, MQTT, NUMBERS
from rtbench.plan.variant import DEFAULT_SERVER, Variant
from rtbench.result.lab import KIND, LabResult
from rtbench.transports import registry

MOST_SUBSCRIBERS, MOST_MESSAGES = 100, 100_000
_COUNTED = tuple(name for name in LaneCounts.__dataclass_fields__ if name not in ("index", "variant", "error"))
_OF_SESSION = ("created", "settings", "prediction", "faults", "pong", "browser", "clock_step_ms")


def save(out: Path, content: Mapping[str, Any]) -> str:
    """Save what a page sent of a session, in a new directory below `out`; return the directory.

    Raises:
        UsageError: it is not what a page of the lab sends, or the directory cannot be written.
    """
    try:
        result, trials = _result_of(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is no session of the lab: {error!r}") from None
    directory = _fresh(out)
    result.save_in(directory)
    for trial in trials:
        result.add(trial)
    result.finish()
    if result.unsaved:
        raise UsageError(f"{directory} cannot be written: {result.unsaved}")
    return str(directory)


def _fresh(out: Path) -> Path:
    stem = f"{KIND}-{datetime.now():%Y%m%d-%H%M%S}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(out / name for name in names if not (out / name).exists())


def _result_of(content: Mapping[str, Any]) -> tuple[LabResult, list[LaneTrial]]:
    session = {name: content[name] for name in _OF_SESSION}
    broker = str(session["settings"].get("broker", DEFAULT_SERVER))
    trials: list[LaneTrial] = []
    for kind in LANES:
        if kind.label not in content["lanes"]:
            continue
        variant = _variant(kind.variant, broker if kind.transport == MQTT else DEFAULT_SERVER, session["browser"])
        row = content["lanes"][kind.label]
        counted: dict[str, Any] = {name: None if row[name] is None else int(row[name]) for name in _COUNTED}
        counts = LaneCounts(index=len(trials), variant=variant.name, error=None, **counted)
        trials.append(LaneTrial(counts, variant, _times(row, counts.subscribers)))
    if not trials:
        raise ValueError("it has no lane")
    felt_of(session["pong"])
    return LabResult.start(KIND, {}, [trial.variant for trial in trials], len(trials), session=session), trials


def _variant(variant: Variant, server: str, browser: str) -> Variant:
    software = registry.server(variant.transport, server).software
    return Variant(**{**vars(variant), "server": server, "server_software": software, "client_software": browser[:200]})


def _times(row: Mapping[str, Any], subscribers: int) -> dict[str, NDArray[np.float64]]:
    """Return the times of a lane; None, as JSON has it, becomes NaN."""
    if not 1 <= subscribers <= MOST_SUBSCRIBERS or len(row["due_ms"]) > MOST_MESSAGES:
        raise ValueError("so many subscribers or messages no page has")
    times = {name: np.array(row[name], dtype=np.float64) for name in OF_MESSAGES}
    times |= {name: np.array(row[name], dtype=np.float64).reshape(subscribers, -1) for name in OF_DELIVERIES}
    messages = len(times["due_ms"])
    if any(array.shape[-1] != messages for array in times.values()):
        raise ValueError("a message without its times")
    return times


def session_of(path: Path) -> dict[str, Any]:
    """Return a saved session as the page shows it.

    Raises:
        UsageError: it is another result.
        ResultError: it is none, or damaged.
    """
    result = load(path)
    if not isinstance(result, LabResult):
        raise UsageError(
            f"{path} is of the kind {result.kind!r}, and the lab shows its own sessions again; "
            "`rtbench chart` draws the others"
        )
    lanes = {trial.variant.label: _lane(trial) for trial in result.trials if trial.variant.label in NUMBERS}
    return {**result.session, "lanes": lanes}


def _lane(trial: LaneTrial) -> dict[str, Any]:
    counts = {name: getattr(trial.counts, name) for name in _COUNTED}
    times = {name: _listed(array) for name, array in trial.times_ms.items()}
    return {**counts, **times}


def _listed(array: NDArray[np.float64]) -> Any:
    if array.ndim > 1:
        return [_listed(row) for row in array]
    return [None if np.isnan(value) else round(float(value), 3) for value in array]
