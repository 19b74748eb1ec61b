"""`rtbench chart`: draw the charts of a saved result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtbench.cli.paths import UserPath

if TYPE_CHECKING:
    from rtbench.result.result import Result


USUAL_PRESET = "slides"


@click.command("chart", short_help="Draw the charts of a saved result.")
@click.argument("result", type=UserPath())
@click.option(
    "--chart",
    "charts",
    multiple=True,
    metavar="NAME",
    help="which one; repeatable [all]",
)
@click.option("--preset", default=USUAL_PRESET, metavar="slides|paper|dark", help="size and look [slides]")
@click.option("--format", "formats", multiple=True, metavar="png|svg|pdf", help="file format; repeatable [all]")
@click.option(
    "--notes",
    type=click.Choice(["below", "file", "none"]),
    default="below",
    help="conditions and explanations: below the picture, in NAME.txt beside it, or nowhere [below]; warnings stay",
)
@click.option("--out", type=UserPath(), metavar="DIR", help="write here [RESULT/charts]")
def command(
    result: Path, charts: tuple[str, ...], preset: str, formats: tuple[str, ...], notes: str, out: Path | None
) -> None:
    """Draw the charts of RESULT, a directory that a command that measures wrote (`run`, `compare`, `idle` ...).

    Nothing is measured: the saved result is all it takes. The path of every chart is printed: NAME.png, or
    NAME-PRESET.png for another preset than slides.

    \b
    latency-ecdf           which share of deliveries had arrived after which time
    latency-breakdown      where the time of a delivery goes: publisher, publish hop, delivery hop, client
    latency-percentiles    latency by percentile, as far into the tail as the sample supports
    bytes-per-delivery     bytes on the wire for each delivery, by hop and layer
    server-cpu             the server's CPU time for each delivery
    latency-against-bytes  latency against bytes: the comparison in one picture
    bytes-against-rate     bytes against the update rate: measured points on the line of the format
    age-against-rate       age of the newest message against the update rate
    latency-by-network     median latency over each of several networks, beside the ranges of the course guide
    latency-through-fault  latency over the time of a trial with faults, which are shaded
    messages-through-fault messages under way, and lost in each second, over the time of such a trial
    tier-ratios            latency and CPU over the embedded servers, as multiples of those over nginx or mosquitto
    idle-memory            of idle connections: the server's memory for each
    idle-bytes             of idle connections: bytes on the wire for each in an hour
    protection-connecting  of protected servers: time to connect, as a multiple of the plain server
    protection-delivering  of protected servers: the server's CPU time for a delivery
    guarantees             what is lost and what comes twice under faults, beside what was promised
    sweep-latency          of a sweep: median latency against the parameter, with crossovers
    sweep-bytes            of a sweep: bytes on the wire for each delivery
    sweep-requests         of a sweep: requests for each delivery
    sweep-server-cpu       of a sweep: CPU of the server
    sweep-server-memory    of a sweep: memory of the server
    sweep-hockey-stick     of a sweep over the rate: median and 99th percentile against the load
    cores-forecast         of a sweep over subscribers: the server's cores, and what the fitted costs predict
    scaling-law            of a sweep over subscribers: throughput and the Universal Scalability Law
    capacity               of a search for the capacity: latency against load, and what held and failed
    laws-knee              of the laws: long-polling beside WebSocket, against the delay of the link
    laws-polling           of the laws: how long messages wait for a poll
    laws-qos               of the laws: MQTT from end to end at each QoS
    """
    from rtbench.charts import FORMATS, PRESETS
    from rtbench.errors import UsageError
    from rtbench.experiments import load

    loaded = load(result)
    for flag, given, known in (
        ("--chart", charts, loaded.charts),
        ("--preset", (preset,), tuple(PRESETS)),
        ("--format", formats, FORMATS),
    ):
        for value in given:
            if value not in known:
                raise UsageError(f"{flag} must be one of {', '.join(known)}: got {value!r}")
    assert loaded.path is not None
    directory = out if out is not None else loaded.path / "charts"
    for path in draw_charts(loaded, directory, preset, charts, formats, notes):
        click.echo(str(path))


def draw_charts(
    result: Result[Any],
    directory: Path,
    preset: str = USUAL_PRESET,
    charts: Sequence[str] = (),
    formats: Sequence[str] = (),
    notes: str = "below",
) -> Iterator[Path]:
    """Draw charts, all where none are named, and yield each path as it is written; `notes` as for the command.

    A chart that this result has no data for is skipped, and an error if it was named.

    Raises:
        UsageError: nothing can be drawn, or `directory` cannot be written.
    """
    from rtbench.charts import FORMATS
    from rtbench.errors import UsageError

    _make(directory)
    suffix = "" if preset == USUAL_PRESET else f"-{preset}"  # presets do not overwrite each other
    drawn = False
    for name in dict.fromkeys(charts or result.charts):
        try:
            chart = result.chart(name, preset, notes == "below")
        except UsageError as error:
            if charts:
                raise
            click.echo(f"skipped: {error}", err=True)
            continue
        if notes == "file":
            path = directory / f"{name}{suffix}.txt"
            chart.save_notes(path)
            yield path
        for kind in dict.fromkeys(formats or FORMATS):
            path = directory / f"{name}{suffix}.{kind}"
            chart.save(path)
            drawn = True
            yield path
    if not drawn:
        raise UsageError("this result has nothing that can be drawn")


def _make(directory: Path) -> None:
    from rtbench.errors import UsageError

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {directory} cannot be written: {error.strerror}") from error
