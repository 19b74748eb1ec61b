"""`rtbench idle`."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtbench.errors import Interrupted, UsageError
from rtbench.settings import SETTINGS

if TYPE_CHECKING:
    from rtbench.idle import Progress
    from rtbench.table import Table

_WIDTH = 100
_CONTENDED_PERCENT = 5.0  # of the time in which the server could run: beyond it, its CPU figure is contention too
_MANY = ("transport", "qos", "server", "option")
_HELP = {"duration": "time observed [10s]"}


def _settings(function: Callable[..., Any]) -> Callable[..., Any]:
    for name in ("duration", "interval", "option", "client", "qos", "server", "transport"):
        setting, many = SETTINGS[name], name in _MANY
        text = _HELP.get(name, setting.help) + (" (repeatable)" if many else "")
        function = click.option(
            setting.flag, name, metavar=setting.metavar, multiple=many, envvar=f"RTBENCH_{name.upper()}", help=text
        )(function)
    tls = SETTINGS["tls"]
    return click.option("--tls/--no-tls", default=tls.default, envvar="RTBENCH_TLS", help=tls.help)(function)


@click.command("idle")
@_settings
@click.option("--connections", metavar="N", default="100", envvar="RTBENCH_CONNECTIONS", help="held at a time [100]")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="write the rows here too: CSV, or JSON for *.json"
)
@click.option("--json", "as_json", is_flag=True, envvar="RTBENCH_JSON", help="print the rows as JSON")
@click.option("--quiet", is_flag=True, envvar="RTBENCH_QUIET", help="no progress")
def command(connections: str, out: Path | None, as_json: bool, quiet: bool, tls: bool, **settings: Any) -> int:
    """Measure what idle connections cost: memory, CPU time, bytes and requests while nothing is sent.

    Every variant has a fresh server, and all its connections one subscription each. All of them, 100 connections and
    10 s each, take a minute and a half. Figures per hour are extrapolated from the time observed.
    """
    from rtbench.idle import measure

    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise UsageError(f"--out {out} cannot be written: {'a directory' if out.is_dir() else 'no such directory'}")
    shown = not quiet and sys.stderr.isatty()
    try:
        table = measure(connections, _show if shown else lambda _: None, tls=tls, **settings)
    except Interrupted as interrupted:
        _clear(shown)
        stopped: Table | None = getattr(interrupted, "table", None)
        if stopped is not None and len(stopped):
            _hand_out(stopped, out, as_json, tls, complete=False)
        raise
    _clear(shown)
    _hand_out(table, out, as_json, tls, complete=True)
    if any(table.column("error")):
        return 1
    return 4 if any(_client_was_busy(row) for row in table) else 0


def _show(progress: Progress) -> None:
    minutes, seconds = divmod(round(progress.left_s), 60)
    text = f"variant {progress.number}/{progress.variants}  {progress.variant:<16}  {minutes}:{seconds:02d} left"
    width = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
    click.echo(f"\r\x1b[K{text[:width]}", err=True, nl=False)


def _clear(shown: bool) -> None:
    if shown:
        click.echo("\r\x1b[K", err=True, nl=False)


def _hand_out(table: Table, out: Path | None, as_json: bool, tls: bool, complete: bool) -> None:
    """Print the rows, and write them when asked to."""
    from rtbench.environment import describe

    status = "complete" if complete else "incomplete"
    content = json.dumps({"status": status, "environment": describe(tls), "idle": list(table)}, indent=1)
    if out is not None:
        part = out.with_name(out.name + ".part")
        try:
            part.write_text(content + "\n" if out.suffix == ".json" else table.to_csv(), encoding="utf-8")
            part.replace(out)
        except OSError as error:
            raise UsageError(f"--out {out} cannot be written: {error.strerror}") from error
    click.echo(content if as_json else report(table))


def report(table: Table) -> str:
    """Return the table and a sentence a variant, for a terminal of 100 columns."""
    from rtbench.table import Table

    lines = [Table([_shown(row) for row in table]).text(left=["variant"]), ""]
    observed_s = max((row["observed_s"] for row in table), default=0.0)
    first = table.rows[0]
    lines.append(
        textwrap.fill(
            f"Each figure is of one connection, of {first['connections']}; {first['link']}. Figures per hour (/h) are "
            f"extrapolated from {observed_s:.3g} s observed. Memory and CPU are the server's; the range of memory is "
            "that of the first and the second half of the connections.",
            _WIDTH,
        )
    )
    lines.append("")
    width = max(len(row["variant"]) for row in table)
    for row in table:
        head = row["variant"].ljust(width) + "  "
        lines.append(textwrap.fill(head + sentence(row), _WIDTH, subsequent_indent=" " * len(head)))
    return "\n".join(lines)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = _kb(row["server_memory_low_bytes"]), _kb(row["server_memory_high_bytes"])
    active = row["active_connections"]
    return {
        "variant": row["variant"],
        "memory kB": _kb(row["server_memory_bytes_per_connection"]),
        "range kB": None if low is None or high is None else f"{low:.1f}–{high:.1f}",
        "CPU ms/h": row["server_cpu_ms_per_connection_hour"],
        "bytes/h": _whole(row["wire_bytes_per_connection_hour"]),
        "requests/h": _whole(row["requests_per_connection_hour"]),
        "opening B": _whole(row["opening_wire_bytes"]),
        "active": None if active is None else f"{active}/{row['connections']}",
    }


def _kb(value: float | None) -> float | None:
    return None if value is None else value / 1e3


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _client_was_busy(row: Mapping[str, Any]) -> bool:
    from rtbench.idle import BUSY_PERCENT

    return (row["client_cpu_percent"] or 0.0) > BUSY_PERCENT


def sentence(row: Mapping[str, Any]) -> str:
    """Say in one sentence what a variant's idle connections did, and what is to be doubted."""
    if row["error"]:
        return f"was not measured: {row['error']}"
    text = _what_it_did(row)
    low, high = row["server_memory_low_bytes"], row["server_memory_high_bytes"]
    if low is not None and high > 2 * max(low, 0):
        text += "; its memory is uncertain, more --connections make it sharper"
    if row["server_memory_kind"] != "private":
        text += "; its memory is RSS, shared pages included"
    waiting = row["server_waiting_percent"]
    if waiting is not None and waiting > _CONTENDED_PERCENT and row["server_cpu_ms_per_connection_hour"]:
        text += f"; the server waited for a core for {waiting:.0f} % of the time in which it could have run"
    if _client_was_busy(row):
        text += f"; not fit to conclude from: the client was busy for {row['client_cpu_percent']:.0f} % of the time"
    return text


def _what_it_did(row: Mapping[str, Any]) -> str:
    observed, wire = f"{row['observed_s']:.3g} s observed", row["wire_bytes_per_connection_hour"]
    if row["requests_per_connection_hour"]:
        each = row["requests_per_connection_hour"] * row["observed_s"] / 3600
        size = f", {wire / row['requests_per_connection_hour']:.0f} bytes each" if wire else ""
        return f"asks though there is nothing new: {each:.3g} requests a connection in the {observed}{size}"
    if wire is None:
        return f"made no request in the {observed}; bytes are not counted on this system"
    if wire == 0:
        waits = "has a request waiting and " if row["requests_waiting"] >= row["connections"] else ""
        return (
            f"{waits}was silent for the {observed}: no keep-alive fell into them, and rarer ones are not in the figures"
        )
    carried = row["application_bytes_per_connection_hour"] * row["observed_s"] / 3600
    total = wire * row["observed_s"] / 3600
    return (
        f"kept alive: in the {observed} {row['active_connections']} of {row['connections']} connections exchanged "
        f"something, on average {carried:.3g} bytes above TCP and {total:.3g} on the wire"
    )
