"""A result in memory: the part that the results of all experiments share. Each kind of result is a subclass of it.

A result grows: `start` makes an empty one, `add` adds a trial and saves it, `finish` marks the result complete. What is
saved is whole at any time, so that an interrupted result can be read and resumed.
"""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from rtbench.errors import UsageError
from rtbench.plan.settings import Given
from rtbench.plan.variant import Variant
from rtbench.result import storage
from rtbench.system.environment import describe
from rtbench.table import WIDTH, Table

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from rtbench.charts import Chart

UNFIT = 4  # the exit code, with --strict, of what was measured but is not fit to conclude from
COMPLETE, INCOMPLETE = "complete", "incomplete"


class Counts(Protocol):
    """What every trial has counted, whatever the experiment: a dataclass whose fields are described for the schema."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def index(self) -> int:
        """Its place in the order of the trials, from 0."""

    @property
    def variant(self) -> str:
        """The name of the variant."""

    @property
    def error(self) -> str | None:
        """Why it failed; None if it did not."""


class MeasuredTrial(Protocol):
    """A trial as a result keeps it."""

    @property
    def counts(self) -> Any:
        """What it counted: some `Counts`."""


Trial = TypeVar("Trial", bound=MeasuredTrial)


@dataclass(repr=False)
class Result(ABC, Generic[Trial]):
    """What an experiment gave. `path` is where it is saved, None if it is not; `unsaved` is why that failed."""

    kind: str
    settings: Mapping[str, Given]
    variants: list[Variant]
    environment: Mapping[str, Any]
    created: str
    planned_trials: int
    trials: list[Trial] = field(default_factory=list)
    status: str = INCOMPLETE
    observations: dict[str, str] = field(default_factory=dict)
    path: Path | None = None
    unsaved: str = ""

    # what an experiment says of its results

    counts: ClassVar[type[Any]]  # the dataclass of what its trials count
    other_counts: ClassVar[tuple[type[Any], ...]] = ()  # dataclasses of what is counted beside the trials
    charts: ClassVar[tuple[str, ...]] = ()  # the names that `chart` takes
    sampled: ClassVar[bool] = False  # whether its trials keep samples
    own_fields: ClassVar[tuple[str, ...]] = ()  # what `more` returns: fields that every result.json of its kind has

    @classmethod
    @abstractmethod
    def load(cls, content: Mapping[str, Any], path: Path) -> Self:
        """Make a result of the content of its result.json, and of its samples."""

    @property
    @abstractmethod
    def summary(self) -> Table:
        """One row a variant: the columns of summary.csv."""

    @property
    @abstractmethod
    def trial_table(self) -> Table:
        """One row a trial: the columns of trials.csv."""

    @property
    @abstractmethod
    def problem(self) -> int:
        """0 fine, 1 a trial failed, 3 a check did not hold, 4 measured but not fit to conclude."""

    def exit_code(self, strict: bool = False) -> int:
        """Return the exit code of the command that measured it; 4 only if `strict`."""
        return 0 if self.problem == UNFIT and not strict else self.problem

    @abstractmethod
    def report(self, width: int = WIDTH) -> str:
        """Return the table and the sentences that end the experiment, at most `width` columns wide (60 or more)."""

    @abstractmethod
    def overview(self) -> Table:
        """Return the table of the report: the most important columns, with short names."""

    def _repr_html_(self) -> str:
        return self.overview()._repr_html_()

    @abstractmethod
    def observe(self) -> dict[str, str]:
        """Return one sentence on each variant, by its name."""

    @abstractmethod
    def draw(self, name: str, preset: str, notes: bool) -> Chart:
        """Draw one of `charts`."""

    def samples_of(self, trial: Trial) -> Mapping[str, NDArray[Any]]:
        """Return the samples of a trial, which are saved beside its counts where results are `sampled`."""
        raise NotImplementedError

    def more(self) -> dict[str, Any]:
        """Return what result.json holds of this experiment beside the common part."""
        return {}

    @abstractmethod
    def about(self, variant: Variant) -> dict[str, Any]:
        """Return what result.json says about a variant beside its options: `verdict` and `reasons`."""

    @property
    def steps(self) -> tuple[int, int]:
        """How many steps of the experiment are done, and how many are planned so far."""
        return len(self.trials), self.planned_trials

    @property
    def missing(self) -> str:
        """What an interruption left, in words; empty if the result is complete."""
        return "" if self.status == COMPLETE else f"{len(self.trials)} of {self.planned_trials} trials"

    # how it grows

    @classmethod
    def start(
        cls, kind: str, settings: Mapping[str, Given], variants: Sequence[Variant], planned_trials: int, **more: Any
    ) -> Self:
        """Return a result without trials, measured here and now."""
        return cls(
            kind=kind,
            settings=settings,
            variants=list(variants),
            environment=describe("tls" in settings and settings["tls"].value),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            planned_trials=planned_trials,
            **more,
        )

    def tables(self) -> dict[str, Table]:
        """Return what is derived from a finished result, by the name of the file."""
        return {"summary.csv": self.summary, "trials.csv": self.trial_table}

    def sample_files(self) -> Iterator[tuple[str, Trial]]:
        """Yield the name of each file of samples, and the trial whose samples are in it."""
        for trial in self.trials if self.sampled else ():
            yield storage.samples_name(trial.counts.index), trial

    def save_in(self, path: Path) -> None:
        """Save it in a directory from now on.

        Raises:
            UsageError: the directory cannot be written, or holds something already.
        """
        description = self.description()  # before the directory is made, so that it is not left without
        storage.claim(path)
        self.path = path
        storage.write_description(path, description)

    def add(self, trial: Trial) -> None:
        """Take in a trial and save it."""
        self.trials.append(trial)
        self.forget_tables()
        self.save()

    def save(self) -> None:
        """Save what is not yet saved; where that fails, say so, and go on: the next call tries it again.

        What was measured stays in memory all the while. `unsaved` says why the last call failed.
        """
        if self.path is None:
            return
        try:
            if not self.path.exists():
                warnings.warn(f"{self.path} is gone; what was measured is saved there again", stacklevel=2)
            for name, trial in self.sample_files():
                if not (self.path / name).exists():
                    storage.write_samples(self.path / name, self.samples_of(trial))
            storage.write_description(self.path, self.description())
            for name, table in self.tables().items() if self.observations else ():
                storage.write_text(self.path / name, table.to_csv())
        except OSError as error:
            if not self.unsaved:
                warnings.warn(
                    f"{self.path} cannot be written now: {error.strerror}; the measurement goes on", stacklevel=2
                )
            self.unsaved = error.strerror or str(error)
        else:
            self.unsaved = ""

    def finish(self, status: str = COMPLETE) -> None:
        """Mark the result complete (or left incomplete) and write what is derived from it."""
        self.status = status
        self.observations = self.observe()
        self.save()

    def forget_tables(self) -> None:
        """Compute the tables anew when they are next asked for: a trial was added, or replaced."""
        for name, value in vars(type(self)).items():
            if isinstance(value, cached_property):
                self.__dict__.pop(name, None)

    # what can be had from it

    def trials_of(self, variant: str) -> list[Trial]:
        """Return the trials of a variant, failed ones too."""
        return [t for t in self.trials if t.counts.variant == variant]

    def check_name(self, variant: str) -> None:
        """Refuse the name of a variant that the result does not have.

        Raises:
            UsageError: there is no such variant.
        """
        names = [v.name for v in self.variants]
        if variant not in names:
            raise UsageError(f"no variant {variant!r} in this result; it has {', '.join(names)}")

    def chart(self, name: str, preset: str = "slides", notes: bool = True) -> Chart:
        """Draw one of the charts of this kind of result by its name, with notes below it or without.

        Raises:
            UsageError: no such chart or preset, or the result has nothing to draw in it.
        """
        if name not in self.charts:
            raise UsageError(f"no chart {name!r}; the charts are {', '.join(self.charts)}")
        return self.draw(name, preset, notes)

    def __repr__(self) -> str:
        return f"<{self.kind} of {', '.join(v.name for v in self.variants)}: {len(self.trials)} trials, {self.status}>"

    def __str__(self) -> str:
        return self.report()

    # on disk

    @staticmethod
    def common_of(content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that all results share, read from the content of a result.json."""
        return {
            "kind": content["kind"],
            "settings": {name: Given(**given) for name, given in content["settings"].items()},
            "variants": [storage.made(Variant, _of_variant(variant)) for variant in content["variants"]],
            "environment": content["environment"],
            "created": content["created"],
            "status": content["status"],
            "planned_trials": content["planned_trials"],
            "observations": {variant["name"]: variant["observation"] for variant in content["variants"]},
        }

    def description(self) -> dict[str, Any]:
        """Return the content of result.json."""
        return {
            "schema": storage.SCHEMA,
            "kind": self.kind,
            "status": self.status,
            "created": self.created,
            "planned_trials": self.planned_trials,
            "settings": {name: asdict(given) for name, given in self.settings.items()},
            **self.more(),
            "environment": dict(self.environment),
            "variants": [
                {
                    **asdict(variant),
                    "name": variant.name,
                    **self.about(variant),
                    "observation": self.observations.get(variant.name, ""),
                }
                for variant in self.variants
            ],
            "trials": [self.trial_description(trial) for trial in self.trials],
        }

    def trial_description(self, trial: Trial, part: str = "") -> dict[str, Any]:
        """Return what result.json says about a trial; `part` is the beginning of the name of its samples."""
        counts = {f.name: _plain(getattr(trial.counts, f.name)) for f in dataclasses.fields(trial.counts)}
        return counts | ({"samples": storage.samples_name(trial.counts.index, part)} if self.sampled else {})


def _of_variant(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of what result.json says about a variant that makes it, without what is derived."""
    return {f.name: content[f.name] for f in dataclasses.fields(Variant) if f.name in content}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
