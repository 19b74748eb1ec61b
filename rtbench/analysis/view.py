"""The parts of a result that reports, charts and comparisons read, as Protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtbench.analysis.crossover import Crossover
    from rtbench.analysis.guarantees import Cell
    from rtbench.analysis.lab import Felt, LaneTrial
    from rtbench.analysis.law_check import Seen
    from rtbench.analysis.measured import Measured
    from rtbench.analysis.precision import Precision
    from rtbench.analysis.security import Row
    from rtbench.analysis.steady import Law
    from rtbench.analysis.verdict import Finding
    from rtbench.plan.objective import Objective
    from rtbench.plan.sweep import Axis
    from rtbench.plan.variant import Variant
    from rtbench.plan.workload import Workload
    from rtbench.table import Table


class Drawn(Protocol):
    """The parts of a result of any experiment that the texts of a chart use."""

    variants: list[Variant]
    environment: Mapping[str, Any]
    status: str

    @property
    def missing(self) -> str:
        """What an interruption left, in words; empty if the result is complete."""

    @property
    def summary(self) -> Table:
        """The rows of summary.csv, with `variant`, `verdict` and `reasons`."""

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement, as phrases."""


class Secured(Drawn, Protocol):
    """What protection costs. `rtbench.result.security.SecurityResult` is one."""

    @property
    def rows(self) -> list[Row]:
        """One for each variant and protection."""


class Session(Drawn, Protocol):
    """A session of the lab. `rtbench.result.lab.LabResult` is one."""

    @property
    def trials(self) -> Sequence[LaneTrial]:
        """The lanes."""

    @property
    def felt(self) -> list[Felt]:
        """What Pong felt like, by lane and round-trip time."""


class Guarantees(Drawn, Protocol):
    """What variants promise under faults. `rtbench.result.guarantees.GuaranteesResult` is one."""

    @property
    def cells(self) -> list[Cell]:
        """Every variant under every fault."""


class Laws(Drawn, Protocol):
    """The laws, measured."""

    @property
    def seen(self) -> Seen:
        """What was measured in each set-up."""


class Capacity(Drawn, Protocol):
    """The loads that were tried for each variant."""

    @property
    def of(self) -> str:
        """What was varied."""

    @property
    def objective(self) -> Objective:
        """What the server must keep to."""

    @property
    def trial_table(self) -> Table:
        """One row a trial, with `load` and `broken`."""


class Sweep(Drawn, Protocol):
    """Comparisons at several levels."""

    @property
    def axes(self) -> list[Axis]:
        """The parameters that are varied."""

    @property
    def fixed(self) -> list[dict[str, float]]:
        """The values of the second parameter; one empty mapping without a second one."""

    @property
    def crossovers(self) -> list[tuple[dict[str, float], Crossover]]:
        """Where two variants cost the same, with the value of the second parameter."""


class Comparison(Protocol):
    """A run or a comparison, finished or not. `rtbench.result.comparison.Comparison` is one."""

    kind: str
    workload: Workload
    variants: list[Variant]
    environment: Mapping[str, Any]
    created: str
    status: str
    observations: dict[str, str]
    trials: list[Measured]
    laws: dict[str, Law]

    @property
    def missing(self) -> str:
        """What an interruption left, in words; empty if the result is complete."""

    @property
    def blocks(self) -> int:
        """The number of planned trials of each variant."""

    @property
    def conditions(self) -> list[str]:
        """The conditions of the measurement, as phrases."""

    @property
    def beside(self) -> list[str]:
        """What other clients do meanwhile, in phrases."""

    @property
    def between(self) -> list[str]:
        """What lies between clients and server, in phrases."""

    @property
    def client_rule(self) -> str:
        """The rule that chose the kind of client; empty where the user did."""

    @property
    def precision(self) -> Precision | None:
        """The requested precision, and how far each variant is from it; None if none was requested."""

    @property
    def summary(self) -> Table:
        """The rows of summary.csv."""

    @property
    def findings(self) -> Mapping[str, list[Finding]]:
        """What the verdict on each variant rests on."""

    @property
    def rate_table(self) -> Table:
        """The rows of rates.csv."""

    @property
    def trial_table(self) -> Table:
        """The rows of trials.csv."""

    def trials_of(self, variant: str) -> list[Measured]:
        """Return the trials of a variant, failed ones included."""

    def latency_ms(self, variant: str) -> NDArray[np.float64]:
        """Return the latencies of a variant in milliseconds, shape (delivered,)."""
