"""Report: the table and the sentences that are printed after a run, for a terminal of 60 columns or more."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rtbench.analysis import ranking, tiers
from rtbench.analysis.disturbance import counted, disturbance
from rtbench.analysis.verdict import INVALID
from rtbench.plan.network import LOOPBACK, network_shown
from rtbench.table import LEAST_WIDTH, WIDTH, Table, significant
from rtbench.units import plain
from rtbench.wire.traffic import REPORTED_DIFFERENCE_PERCENT

if TYPE_CHECKING:
    from rtbench.analysis.view import Comparison

_P90, _P99 = "p90 ms", "p99 ms"  # the table has the highest one that all variants have
_DROPPED = ("CPU us", "req/msg", _P90, _P99, "interval", "app ms")  # in this order, if the terminal is narrow
_WAITED = 2.0  # report the wait if latency from due is at least this many times the latency from sent


def overview(result: Comparison) -> Table:
    """Return the most important columns of the summary, with short names."""
    rows = [_overview_row(row) for row in _in_order(result)]
    unused = _P90 if all(row[_P99] != "–" for row in rows) else _P99
    return Table([{key: value for key, value in row.items() if key != unused} for row in rows])


def _overview_row(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["arrived_p50_low_ms"], row["arrived_p50_high_ms"]
    sparse_hz = row["sparse_rate_hz"]
    sparse = {} if sparse_hz is None else {f"at {sparse_hz:g}/s": _rounded(row["sparse_data_bytes_per_delivery"])}
    return {
        "variant": row["variant"],
        "net+srv": row["arrived_p50_ms"],
        "interval": f"{significant(low, 2)}–{significant(high, 2)}" if low is not None else "–",
        "app ms": row["latency_p50_ms"],
        _P90: row["latency_p90_ms"],
        _P99: significant(row["latency_p99_ms"]),
        "B/msg": _rounded(row["data_bytes_per_delivery"]),
        **sparse,
        "req/msg": significant(row["requests_per_delivery"], 2) if row["requests_per_delivery"] else "0",
        "CPU us": row["server_cpu_us_per_delivery"],
        "lost": _lost(row),
        "verdict": row["verdict"],
    }


def _lost(row: Mapping[str, Any]) -> str:
    """Return what went wrong with messages, in words: `3, 2 twice, 1 corrupt, 4 foreign`."""
    others = {"duplicated": "twice", "corrupt": "corrupt", "unexpected": "foreign"}
    return ", ".join([str(row["lost"]), *(f"{row[column]} {word}" for column, word in others.items() if row[column])])


def _in_order(result: Comparison) -> list[Mapping[str, Any]]:
    """Return the rows of the summary, fastest first: by network and server, if that is known for all."""
    return ranking.ranked(list(result.summary))


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def report(result: Comparison, width: int = WIDTH) -> str:
    """Return the text that is printed after a run: table, conditions and sentences."""
    width = max(width, LEAST_WIDTH)
    table, lost = overview(result).fitted(width, _DROPPED)
    lines = [table.text(left=["variant"]), "", _conditions(result, lost, width), ""]
    longest = max(len(variant.name) for variant in result.variants)
    for row in _in_order(result):
        name = row["variant"]
        sentence = result.observations.get(name) or "was not completely measured"
        lines.append(_hanging(name.ljust(longest), sentence, width))
        for remark in remarks(row):
            lines.append(_hanging(" " * longest, remark, width))
    for said in (
        [*_links(result), *_faults(result)],
        [*_causes(result), *_disturbances(result)],
        [*ranking.sentences(result), *ranking.bytes_sentences(result), *tiers.sentences(result)],
        result.precision.sentences() if result.precision is not None else [],
    ):
        lines += [""] * bool(said) + [_paragraph(text, width) for text in said]
    return "\n".join(lines)


def _links(result: Comparison) -> Iterator[str]:
    """Yield what was measured of each emulated network, over its trials."""
    for network in dict.fromkeys(v.network for v in result.variants if v.link != LOOPBACK):
        names = {v.name for v in result.variants if v.network == network}
        counts = [t.counts for t in result.trials if t.counts.variant in names and t.counts.link_rtt_ms is not None]
        if not counts:
            continue
        seen = [f"round trip {significant(float(np.median([c.link_rtt_ms for c in counts])))} ms"]
        losses = [c.link_loss for c in counts if c.link_loss is not None]
        seen += [f"{100 * float(np.mean(losses)):.2g} % of the pings lost"] if losses else []
        for way, rates in (("down", [c.link_down_bps for c in counts]), ("up", [c.link_up_bps for c in counts])):
            if known := [bps for bps in rates if bps is not None]:
                seen.append(f"{significant(float(np.median(known)) / 1e6)} Mbit/s {way}")
        yield f"Measured before the trials over {network_shown(network)}: {', '.join(seen)} (medians)."


def _faults(result: Comparison) -> Iterator[str]:
    """Yield what was seen of each fault, in the first trial that had it."""
    seen = {e.fault: e for trial in reversed(result.trials) for e in trial.counts.faults}
    for evidence in sorted(seen.values(), key=lambda e: e.planned_ns):
        if evidence.began_ns is not None:
            yield f"Fault {evidence.fault}: seen at {evidence.began_ns / 1e9:.3f} s; {evidence.seen}."


def _causes(result: Comparison) -> Iterator[str]:
    """Yield each cause of a verdict once, with the variants that it concerns."""
    concerned: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for variant in result.variants:
        for finding in result.findings[variant.name]:
            cause = (finding.verdict, finding.cause, finding.advice)
            concerned.setdefault(cause, {}).setdefault(finding.seen, []).append(variant.name)
    for (verdict, reason, advice), seen in sorted(concerned.items(), key=lambda item: item[0][0] != INVALID):
        found = "; ".join(f"{', '.join(names)}: {words}" for words, names in seen.items())
        yield f"{verdict}: {reason}: {found}." + (f" Advice: {advice}." if advice else "")


def _disturbances(result: Comparison) -> Iterator[str]:
    """Yield a sentence that names the disturbed trials, which no figure includes."""
    found: dict[str, list[str]] = {}
    figures = {t.counts.index for v in result.variants for t in counted(result.trials_of(v.name))}
    for trial in result.trials:
        if (words := disturbance(trial.counts)) and trial.counts.index not in figures:
            found.setdefault(words, []).append(f"{trial.counts.index} ({trial.counts.variant})")
    if found:
        named = "; ".join(f"{words} in trial {', '.join(trials)}" for words, trials in found.items())
        yield f"Disturbed trials, run again and not part of any figure: {named}."


def remarks(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield remarks on a variant that are no verdict."""
    due, sent = row["latency_p99_ms"], row["latency_from_sent_p99_ms"]
    held_back = due is not None and row["lag_p99_ms"] >= _WAITED * row["generator_lag_p99_ms"]
    if held_back and due >= _WAITED * sent:
        yield (
            f"messages waited for their turn, because of the in-flight limit: p99 is {significant(due)} ms from due to "
            f"received, and {significant(sent)} ms from sent to received, as a closed-loop tool would report it"
        )
    if row["recover_p50_ms"] is not None:
        yield (
            f"after a fault, subscribers noticed in {significant(row['detect_p50_ms'])} ms that their connection was "
            f"lost, and had messages again after {significant(row['recover_p50_ms'])} ms (medians; the longest "
            f"{significant(row['recover_max_ms'])} ms)"
        )
    if row["unrecovered"]:
        yield f"{row['unrecovered']} subscribers lost their connection to a fault and received nothing after it"
    percent = row["above_tcp_difference_percent"]
    if percent is not None and abs(percent) > REPORTED_DIFFERENCE_PERCENT:
        yield _prediction_remark(row, percent)


def _prediction_remark(row: Mapping[str, Any], percent: float) -> str:
    """Return a sentence on the direction whose bytes above TCP differ most from the prediction, and on causes."""
    found = {}
    for direction, words in (("up", "client to server"), ("down", "server to client")):
        columns = ("framing", "tls")
        measured, predicted = (
            row[f"payload_{direction}_bytes_per_delivery"]
            + sum(row[f"{p}{c}_{direction}_bytes_per_delivery"] for c in columns)
            for p in ("", "predicted_")
        )
        if predicted:
            found[words] = (measured, predicted)
    words = max(found, key=lambda words: abs(found[words][0] / found[words][1] - 1))
    meaning = (
        "server or library write what the format does not need, or more messages were sent than were counted"
        if percent > 0
        else "server or library write less than the format needs, or messages did not get onto the wire"
    )
    return (
        f"bytes above TCP, {words}: {plain(found[words][0], 5)} per delivery measured, "
        f"{plain(found[words][1], 5)} predicted from "
        f"the wire format ({percent:+.1f} %): {meaning}"
    )


def _paragraph(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _hanging(head: str, text: str, width: int) -> str:
    return textwrap.fill(text, width, initial_indent=f"{head}  ", subsequent_indent=" " * (len(head) + 2))


def _conditions(result: Comparison, lost: Sequence[str], width: int) -> str:
    w = result.workload
    trials = result.blocks
    text = (
        f"{w.pattern}, {w.publishers} publisher{'s' * (w.publishers > 1)}, {w.subscribers} subscriber"
        f"{'s' * (w.subscribers > 1)}, {w.rate_hz:g} messages/s each ({w.arrivals}), {w.payload_bytes} bytes, "
        f"{w.duration_s:g} s after {w.warmup_s:g} s of warm-up; {trials} trial{'s' * (trials > 1)}; "
        f"{', '.join([*result.beside, *result.between])}; {_implementations(result)}."
    )
    text += (
        " net+srv: median from due to the receive stamp of the kernel, in ms, with its 95 % interval; app: median "
        "until the application had it; B/msg: bytes on the wire for each delivery, without segments that carry only an "
        "acknowledgement; CPU us: CPU time of the server for each delivery."
    )
    if result.missing:
        text = f"INCOMPLETE: {result.missing}. {text}"
    if lost:
        text += f" Left out, because the terminal is narrow: {', '.join(lost)}."
    return textwrap.fill(text, width)


def _implementations(result: Comparison) -> str:
    servers: dict[str, list[str]] = {}
    for variant in result.variants:
        servers.setdefault(f"{variant.server} ({variant.server_software})", []).append(variant.transport)
    clients = sorted({f"{variant.client} ({variant.client_software})" for variant in result.variants})
    rule = f" ({result.client_rule})" if result.client_rule else ""
    return f"servers {', '.join(servers)}; clients {', '.join(clients)}{rule}{_not_defaults(result)}"


def _not_defaults(result: Comparison) -> str:
    """Say which settings of programs that users run are not their own defaults, once for each program."""
    found: dict[str, dict[str, str]] = {}
    for variant in result.variants:
        found.setdefault(variant.server, {}).update(variant.server_settings)
    said = (
        f"{server} with {', '.join(f'{name} {value}' for name, value in settings.items())}"
        for server, settings in found.items()
        if settings
    )
    return "".join(f"; {text}" for text in said)
