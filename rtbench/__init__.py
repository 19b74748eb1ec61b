"""rtbench measures, side by side, the ways a message gets from a server to the people waiting for it.

    import rtbench

    result = rtbench.compare(trials=5)          # or rtbench.run(transport="mqtt", qos=2), or rtbench.load(DIR)
    print(result)                               # the table and the sentences
    result.latency_ecdf().save("latency.svg")   # every chart is a method
    result.latency_ms("websocket")              # the samples, as numpy arrays

The map of the program, in reading order; the first lines of each package list its files:

    plan/          what is asked for: settings, workload, schedule, payload, variant (pure)
    wire/          wire formats: bytes in, values out (pure)
    system/        what the operating system tells and gives: bytes, CPU time, memory, TLS, environment
    transports/    what a transport needs and what it must define: contract, options, registry, feed
    links/         the network between clients and server, emulated, with faults
    trial/         the processes of one trial, and how they are led
    analysis/      computations on recorded data: ledger, statistics, metrics, verdict (pure)
    charts/        the pictures
    result/        a result in memory and on disk, and what is printed of it
    experiments/   what a user asks for, one file each, on one runner
    conformance/   whether a transport keeps its contract: the cases, and how they are run
    lab/           the lab: a page in the browser whose lanes are real transports
    cli/           one file a command
    errors.py      every error, and what it means for the exit code
    keywords.py    the types of the options in Python
    table.py       rows as text, HTML and CSV; units.py reads and writes times

`servers/` and `clients/`, beside this folder in the repository, hold one file a transport. They are installed as
`rtbench.servers` and `rtbench.clients`, and the program reaches them only through their entry points, as it reaches
those of other packages. The packages are layers: each imports only from some of those above it in this list
(docs/architecture.md; `make lint` checks it).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from rtbench.analysis.forecast import Forecast
    from rtbench.conformance.watching import Outcome
    from rtbench.experiments.runner import AnyResult, Experiment
    from rtbench.keywords import (
        CapacityKeywords,
        CompareKeywords,
        GuaranteesKeywords,
        IdleKeywords,
        LawsKeywords,
        Names,
        RunKeywords,
        SecurityKeywords,
        SweepKeywords,
    )
    from rtbench.result.capacity import CapacityResult
    from rtbench.result.comparison import Comparison
    from rtbench.result.guarantees import GuaranteesResult
    from rtbench.result.idle import IdleResult
    from rtbench.result.laws import LawsResult
    from rtbench.result.result import Result
    from rtbench.result.security import SecurityResult
    from rtbench.result.sweep import SweepResult

__version__ = "0.1.0"
__all__ = [
    "capacity",
    "compare",
    "contract",
    "forecast",
    "guarantees",
    "idle",
    "laws",
    "load",
    "run",
    "security",
    "sweep",
]


def run(
    transport: str | None = None,
    *,
    out: str | Path | None = None,
    progress: bool | None = None,
    **settings: Unpack[RunKeywords],
) -> Comparison:
    """Measure one variant: `rtbench.run("mqtt", qos=2)`.

    Args:
        transport: its name; `rtbench transports` lists the installed ones.
        out: a new or empty directory to save the result in; None keeps it in memory.
        progress: whether a line shows how far the measurement is; None shows it on a terminal and in a notebook.
        **settings: the options of `rtbench run`, e.g. `rate=100`, `duration="5s"`, `trials=5` (`rtbench.keywords`).

    Raises:
        UsageError: an option that does not exist, or a value that is not possible.
    """
    from rtbench.experiments.compare import RUN

    return _measure(RUN, out, progress, {"transport": transport, **settings})


def compare(
    transport: Names | None = None,
    *,
    out: str | Path | None = None,
    progress: bool | None = None,
    **settings: Unpack[CompareKeywords],
) -> Comparison:
    """Measure several variants, all by default: `rtbench.compare(["sse", "websocket"])`.

    Args and errors as those of `run`; `transport`, `qos` and `server` also take a list.
    """
    from rtbench.experiments.compare import COMPARISON

    return _measure(COMPARISON, out, progress, {"transport": transport, **settings})


def idle(
    transport: Names | None = None,
    *,
    out: str | Path | None = None,
    progress: bool | None = None,
    **settings: Unpack[IdleKeywords],
) -> IdleResult:
    """Measure what idle connections cost: `rtbench.idle(["sse", "mqtt"], connections=500)`.

    Args and errors as those of `run`, with the options of `rtbench idle`.
    """
    from rtbench.experiments.idle import IDLE

    return _measure(IDLE, out, progress, {"transport": transport, **settings})


def security(
    transport: Names | None = None,
    *,
    out: str | Path | None = None,
    progress: bool | None = None,
    **settings: Unpack[SecurityKeywords],
) -> SecurityResult:
    """Measure what protecting a server costs, and try to get in: `rtbench.security("mqtt", server="mosquitto")`.

    Args and errors as those of `run`, with the options of `rtbench security`.
    """
    from rtbench.experiments.security import SECURITY

    return _measure(SECURITY, out, progress, {"transport": transport, **settings})


def sweep(
    vary: Names,
    *,
    out: str | Path | None = None,
    progress: bool | None = None,
    **settings: Unpack[SweepKeywords],
) -> SweepResult:
    """Measure variants at several levels: `rtbench.sweep("subscribers=1,10,100", transport=["sse", "mqtt"], qos=0)`.

    Args and errors as those of `compare`; `vary` takes one parameter with its values, or two.
    """
    from rtbench.experiments.sweep import SWEEP

    return _measure(SWEEP, out, progress, {"vary": vary, **settings})


def capacity(
    transport: Names | None = None,
    *,
    out: str | Path | None = None,
    progress: bool | None = None,
    **settings: Unpack[CapacityKeywords],
) -> CapacityResult:
    """Find the highest load that holds: `rtbench.capacity("mqtt", qos=0, slo="p99<50ms, lost=0", subscribers=100)`.

    Args and errors as those of `run`, with the options of `rtbench capacity`.
    """
    from rtbench.experiments.capacity import CAPACITY

    return _measure(CAPACITY, out, progress, {"transport": transport, **settings})


def guarantees(
    transport: Names | None = None,
    *,
    out: str | Path | None = None,
    progress: bool | None = None,
    **settings: Unpack[GuaranteesKeywords],
) -> GuaranteesResult:
    """Count what is lost and what comes twice under faults: `rtbench.guarantees("mqtt", qos=1, fault="cut")`.

    Args and errors as those of `run`, with the options of `rtbench guarantees`.
    """
    from rtbench.experiments.guarantees import GUARANTEES

    return _measure(GUARANTEES, out, progress, {"transport": transport, **settings})


def laws(
    law: Names | None = None,
    *,
    out: str | Path | None = None,
    progress: bool | None = None,
    **settings: Unpack[LawsKeywords],
) -> LawsResult:
    """Reproduce what is known of the transports over an emulated link: `rtbench.laws(["L3", "L5"], rtt="50ms")`.

    Args and errors as those of `run`, with the options of `rtbench laws`; `law` takes one or several, None all.
    """
    from rtbench.experiments.laws import ALL_LAWS

    return _measure(ALL_LAWS, out, progress, {"law": law, **settings})


def contract(
    transport: str, *, server: str = "embedded", client: str = "library", server_option: Sequence[str] = ()
) -> list[Outcome]:
    """Test whether a transport keeps its contract: `all(case.state == "passed" for case in rtbench.contract("sse"))`.

    Each outcome has the sentence of the `case`, its `state` (`passed`, `failed`, `skipped`, `not run`) and the `reason`
    for it.

    Raises:
        UsageError: no such transport, server, client or option, or it cannot be loaded.
    """
    from rtbench.conformance.subject import subjects_of
    from rtbench.conformance.watching import outcomes

    subjects = subjects_of(transport, server, client, server_option)
    return [outcome for subject in subjects for outcome in outcomes(subject)]


def forecast(
    sweep: str | Path | Sequence[Mapping[str, Any]],
    *,
    subscribers: int,
    publishers: int | None = None,
    rate: float | None = None,
) -> Forecast:
    """Extrapolate a sweep over subscribers: `rtbench.forecast("results/sweep", subscribers=1_000_000)`.

    `sweep` is the directory of its result, or the rows of its `summary`. `rtbench.result.forecast.text` has the result
    as the command prints it.

    Raises:
        ResultError: there is no such result.
        UsageError: it is no sweep over subscribers, or has too few levels for this forecast.
    """
    from rtbench.analysis.forecast import forecast as of_rows

    rows = list(load(sweep).summary) if isinstance(sweep, str | Path) else list(sweep)
    return of_rows(rows, subscribers, rate, publishers)


def load(path: str | Path) -> Result[Any]:
    """Read a saved result.

    Raises:
        ResultError: there is none, or it is damaged.
    """
    from rtbench.experiments import load

    return load(path)


def _measure(
    experiment: Experiment[AnyResult, Any],
    out: str | Path | None,
    progress: bool | None,
    settings: Mapping[str, Any],
) -> AnyResult:
    from rtbench.experiments.progress import progress_line
    from rtbench.experiments.runner import run
    from rtbench.plan.settings import resolve

    given = {name: (value, "argument") for name, value in settings.items()}
    directory = Path(out) if out is not None else None
    with progress_line(progress) as watch:
        return run(experiment, resolve(given, experiment.settings()), directory, watch)
