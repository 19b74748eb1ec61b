"""rtbench measures, side by side, the ways a message gets from a server to the people waiting for it.

    import rtbench

    result = rtbench.compare(trials=5)          # or rtbench.run(transport="mqtt", qos=2), or rtbench.load(DIR)
    print(result)                               # the table and the sentences
    result.latency_ecdf().save("latency.svg")   # every chart is a method
    result.latency_ms("websocket")              # the samples, as numpy arrays

The map of the program, in reading order:

    What is measured
      payload.py      the content of every message
      workload.py     who publishes what to whom
      schedule.py     when each message is due
      transport.py    what a transport is, and where the installed ones are found
      variant.py      a transport with everything about it fixed
    How it is measured
      serving.py      a server in a process of its own
      generator.py    what the client processes do; pacer.py wakes the publisher, meter.py counts the bytes
      tls.py          the certificate of a measurement, who trusts it, and what TLS adds
      process.py      what the server's processes cost; kernel.py: waiting, and what was turned away
      malloc.py       the same price of a read in every process
      gate.py         how the processes of a trial start and stop together; conductor.py leads them
      trial.py        one variant measured once
      comparison.py   all trials, in which order; precision.py says when they are enough
      idle.py         what connections cost while nothing is sent; holder.py holds them
      executor.py     where the work runs
    What comes out
      ledger.py       the fate of every message
      stats.py        figures with their doubt
      prediction.py   the bytes that a wire format needs, to be held against those measured
      age.py          how old the newest is that a subscriber has
      verdict.py      whether a run is fit to conclude from
      measured.py     a trial with its samples; figures.py makes a row a trial, a row a variant
      results.py      the result and what can be had from it; storage.py keeps it on disk
      difference.py   two results, or the variants of one, by ratios
      rerun.py        a saved result measured again, and whether it agrees
      hgrm.py         a distribution for HdrHistogram's plotter; result.schema.json describes result.json
      report.py       the table and the sentences; table.py lays out rows
      charts/         the pictures
    How it is asked for
      settings.py     every option once
      cli/            one file a command
    What it stands on
      errors.py, units.py, environment.py, feed.py (what the servers store), wire/ (formats without I/O)

`servers/` and `clients/`, beside this folder in the repository, hold one file a transport. They are installed as
`rtbench.servers` and `rtbench.clients`, and the program reaches them only through their entry points, as it does a
stranger's. Arrows point one way: servers, clients -> rtbench; in it cli -> charts, results, trial -> stats, ledger,
schedule -> wire.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtbench.results import Result

__version__ = "0.1.0"
__all__ = ["compare", "load", "run"]


def run(out: str | Path | None = None, **settings: Any) -> Result:
    """Measure one variant: `rtbench.run(transport="mqtt", qos=2)`.

    Args:
        out: a new or empty directory to save the result in; None keeps it in memory.
        **settings: the options of `rtbench run`, e.g. `rate=100`, `duration="5s"`, `trials=5`.

    Raises:
        UsageError: an option that does not exist, or cannot be.
    """
    return _measure("run", out, settings)


def compare(out: str | Path | None = None, **settings: Any) -> Result:
    """Measure several variants, all by default: `rtbench.compare(transport=["sse", "websocket"])`.

    Args and errors as those of `run`; `transport`, `qos` and `server` also take a list.
    """
    return _measure("comparison", out, settings)


def load(path: str | Path) -> Result:
    """Read a saved result.

    Raises:
        ResultError: there is none, or it is damaged.
    """
    from rtbench.storage import load

    return load(path)


def _measure(kind: str, out: str | Path | None, settings: dict[str, Any]) -> Result:
    from rtbench.comparison import measure
    from rtbench.settings import resolve

    given = {name: (value, "argument") for name, value in settings.items()}
    return measure(resolve(given), kind, Path(out) if out is not None else None)
