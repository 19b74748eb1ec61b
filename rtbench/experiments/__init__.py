"""What a user asks for, one file an experiment, all on one runner.

    runner.py    runs the steps of an experiment: order, progress, interruption, saving, resuming
    progress.py  how far an experiment is, and the line that shows it
    external.py  servers that run already: which may be measured, how much, with which login
    limits.py    the limits of open files, ports and memory that an experiment meets
    together.py  trials that run at once
    compare.py   run and compare: the trials of one variant or of several
    idle.py      what connections cost while nothing is sent
    security.py  what protecting a server costs, and whether it keeps out whom it should
    sweep.py     a comparison at each level of a parameter
    capacity.py  the highest load that a server sustains
    laws.py      what is known of the transports beforehand, reproduced over a link
    guarantees.py  what is lost and what comes twice, beside what is promised
    rerun.py     a saved result measured again, and whether the two agree

An experiment is an object with the members of `runner.Experiment`, listed in `EXPERIMENTS` of its module. It is found
there, and its results are read with it. A command in `rtbench/cli` makes it available on the command line.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtbench.errors import ResultError, UsageError
from rtbench.result import storage
from rtbench.result.lab import KIND as LAB
from rtbench.result.lab import LabResult
from rtbench.result.schema import first_error, schema_of

if TYPE_CHECKING:
    from rtbench.experiments.runner import Experiment
    from rtbench.plan.settings import Setting
    from rtbench.result.result import Result


@cache
def experiments() -> dict[str, Experiment[Any, Any]]:
    """Return every experiment by its kind."""
    found = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for experiment in getattr(importlib.import_module(module.name), "EXPERIMENTS", ()):
            found[experiment.kind] = experiment
    return found


def experiment_of(result: Result[Any]) -> Experiment[Any, Any]:
    """Return the experiment that measured a result.

    Raises:
        UsageError: none did: it is a session of the lab.
    """
    if result.kind == LAB:
        raise UsageError("this is a session of the lab, which no command measures; `rtbench lab RESULT` shows it again")
    return experiments()[result.kind]


def result_types() -> dict[str, type[Result[Any]]]:
    """Return the class of the results of every kind: those of the experiments, and the sessions of the lab."""
    return {**{kind: experiment.result_type for kind, experiment in experiments().items()}, LAB: LabResult}


def load(path: str | Path) -> Result[Any]:
    """Read a saved result of any experiment, also one that was stopped half-way.

    Raises:
        ResultError: there is none, another rtbench wrote it, or it is not as it was written.
    """
    directory = storage.directory_of(path)
    content = storage.read_description(directory)
    known = result_types()
    try:
        kind = content["kind"]
        if not isinstance(kind, str) or kind not in known:
            raise ResultError(f"{directory} is of the kind {kind!r}, and this rtbench has {', '.join(known)}")
        if wrong := first_error(_schema(), content):
            raise ResultError(f"{directory}/result.json was not written by rtbench: {wrong}; {storage.REMEDY}")
        result: Result[Any] = known[content["kind"]].load(content, directory)
        return result
    except storage.BROKEN as error:
        raise storage.damaged(directory, error) from None


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the result.json of every experiment."""
    return _schema({name: setting for e in experiments().values() for name, setting in e.settings().items()})


def _schema(settings: Mapping[str, Setting] | None = None) -> dict[str, Any]:
    return schema_of(settings, result_types())
