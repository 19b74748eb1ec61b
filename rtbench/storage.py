"""Storage: a result as a directory.

A result directory is complete in itself: `load` needs neither the machine nor the transports it was measured with.

    result.json     settings with their sources, environment, variants, trials, verdicts; written anew after each trial
    samples/        every message and every delivery, one compressed file a trial
    summary.csv     a row a variant
    trials.csv      a row a trial; both are derived, for whoever has no rtbench
    charts/         where `rtbench chart` draws

Each file is written at once or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.errors import ResultError, UsageError
from rtbench.figures import Measured, TrialFigures
from rtbench.ledger import Deliveries, Publishes
from rtbench.meter import Wire
from rtbench.settings import Given
from rtbench.variant import Variant
from rtbench.workload import Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rtbench.results import Result

SCHEMA = 1


def write_description(path: Path, description: Mapping[str, Any]) -> None:
    """Write result.json."""
    write_text(path / "result.json", json.dumps(description, indent=1) + "\n")


def write_samples(path: Path, trial: Measured) -> None:
    """Write every message and every delivery of a trial."""
    columns = {f"publish_{k}": v for k, v in _columns(trial.publishes).items()}
    columns |= {f"delivery_{k}": v for k, v in _columns(trial.deliveries).items()}
    whole = path / samples_name(trial)
    whole.parent.mkdir(exist_ok=True)
    part = whole.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]
    part.replace(whole)


def _columns(data: Publishes | Deliveries) -> dict[str, NDArray[Any]]:
    return {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}


def samples_name(trial: Measured) -> str:
    """Return where the samples of a trial are, within the result."""
    return f"samples/{trial.figures.index:03d}.npz"


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader finds the old content or the new, never a part."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(part).chmod(0o644)
    Path(part).replace(path)


def claim(path: Path) -> None:
    """Make the directory of a new result.

    Raises:
        UsageError: it cannot be written, or holds something already.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"--out {path} is a file; give a directory that is new or empty")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise UsageError(f"--out {path} is not empty; give a directory that is new or empty")
        write_text(path / "result.json", "{}\n")
    except OSError as error:
        raise UsageError(f"--out {path} cannot be written: {error.strerror}") from error


def load(path: str | Path) -> Result:
    """Read a saved result.

    Raises:
        ResultError: there is none, it is damaged, or a later rtbench wrote it.
    """
    directory = Path(path)
    if directory.name == "result.json":
        directory = directory.parent
    try:
        content = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{directory} holds no result (no result.json in it)") from None
    except (OSError, ValueError) as error:
        raise ResultError(f"{directory}/result.json cannot be read: {error}") from None
    if content.get("schema") != SCHEMA:
        raise ResultError(f"{directory}/result.json has schema {content.get('schema')}; this rtbench reads {SCHEMA}")
    try:
        return _from_description(content, directory)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ResultError(f"{directory} is damaged: {type(error).__name__}: {error}") from None


def _from_description(content: Mapping[str, Any], directory: Path) -> Result:
    from rtbench.results import Result

    workload = Workload(**content["workload"])
    names = [f.name for f in dataclasses.fields(Variant)]
    return Result(
        kind=content["kind"],
        settings={name: Given(**given) for name, given in content["settings"].items()},
        workload=workload,
        variants=[Variant(**{name: variant[name] for name in names}) for variant in content["variants"]],
        environment=content["environment"],
        created=content["created"],
        trials=[_trial(directory, dict(trial), workload) for trial in content["trials"]],
        status=content["status"],
        planned_trials=content["planned_trials"],
        observations={variant["name"]: variant["observation"] for variant in content["variants"]},
        path=directory,
    )


def _trial(directory: Path, content: dict[str, Any], workload: Workload) -> Measured:
    with np.load(directory / content.pop("samples"), allow_pickle=False) as samples:
        publishes = Publishes(*(samples[f"publish_{f.name}"] for f in dataclasses.fields(Publishes)))
        deliveries = Deliveries(*(samples[f"delivery_{f.name}"] for f in dataclasses.fields(Deliveries)))
    for name, value in content.items():
        if name.endswith("_wire") and value is not None:
            content[name] = Wire(**value)
    return Measured(TrialFigures(**content), workload, publishes, deliveries)
