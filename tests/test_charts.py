"""Charts: drawn from results made up here, looked at through matplotlib's own objects."""

from __future__ import annotations

import base64
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from numpy.typing import NDArray

from rtbench.analysis import statistics, tiers
from rtbench.analysis.measured import Measured
from rtbench.charts import CHARTS, FORMATS, IDLE_CHARTS, PRESETS, SECURITY_CHARTS, Chart, draw
from rtbench.charts.placement import column
from rtbench.charts.scale import minor_ticks, plain, span, ticks
from rtbench.charts.style import COLOURS, Preset, contrast_of, look
from rtbench.cli.chart import command
from rtbench.errors import UsageError
from rtbench.plan.faults import Evidence
from rtbench.plan.records import Deliveries
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result.comparison import Comparison
from rtbench.result.idle import IdleResult
from rtbench.wire.tcp import Direction, Wire
from rtbench.wire.traffic import Flow, Predicted
from tests import builders
from tests.builders import change, comparison, idle_result, save, security_result, trial, variant, with_sparse_part

MESSAGES, SUBSCRIBERS, WARMUP_S = 60, 5, 0.1
DELIVERIES = MESSAGES * SUBSCRIBERS

# label, transport, slot, shade, median latency in ms, framing bytes, server CPU in us
SEVEN = (
    ("polling", "polling", 0, 0, 250.0, 56, 82),
    ("long-polling", "long-polling", 1, 0, 4.1, 378, 237),
    ("sse", "sse", 2, 0, 2.9, 56, 108),
    ("websocket", "websocket", 3, 0, 1.5, 3, 51),
    ("mqtt-qos0", "mqtt", 4, 0, 2.2, 14, 38),
    ("mqtt-qos1", "mqtt", 4, 1, 2.9, 21, 69),
    ("mqtt-qos2", "mqtt", 4, 2, 3.9, 30, 93),
)
Row = tuple[str, str, int, int, float, int, int]


def variant_of(row: Row, server: str = "embedded", client: str = "library") -> Variant:
    label, transport, slot, shade = row[:4]
    software = {"server_software": f"{server} 1.0", "client_software": f"{client} 1.0"}
    return variant(label, transport, server=server, client=client, slot=slot, shade=shade, **software)


def measured(workload: Workload, of: Variant, row: Row, number: int, **counts: Any) -> Measured:
    """One trial: every message reaches every subscriber, at latencies spread around the median of `row`."""
    random = np.random.default_rng(zlib.crc32(of.name.encode()) + number)
    latency_ns = np.round(row[4] * 1e6 * random.lognormal(0, 0.25, DELIVERIES))
    usual = {
        "publisher_run_wire": Wire(up=Direction(MESSAGES * workload.payload_bytes, 600, 100, 600 * 52, 100 * 52)),
        "subscriber_run_wire": Wire(
            down=Direction((workload.payload_bytes + row[5]) * DELIVERIES, 2400, 500, 2400 * 52, 500 * 52)
        ),
        "server_cpu_ns": round(row[6] * DELIVERIES * 1000 * random.uniform(0.9, 1.1)),
    }
    return trial(workload, MESSAGES, latency_ns, stamped=True, **{**usual, **counts})


def result_of(
    variants: Sequence[tuple[Variant, Row]], trials: int = 3, changed: dict[str, dict[str, Any]] | None = None
) -> Comparison:
    """A complete result; `changed` holds other counts for the trials of some variants."""
    names = [v.name for v, _ in variants]
    rows = {v.name: row for v, row in variants}

    def made(workload: Workload, of: Variant, block: int) -> Measured:
        number = block * len(names) + names.index(of.name)
        return measured(workload, of, rows[of.name], number, **(changed or {}).get(of.name, {}))

    result = comparison([v for v, _ in variants], made, trials, warmup=WARMUP_S)
    return with_sparse_part(result, {v.name: made(result.sparse_workloads[0], v, 0) for v, _ in variants})


def seven(**changed: dict[str, Any]) -> Comparison:
    return result_of([(variant_of(row), row) for row in SEVEN], changed=changed)


def twelve() -> Comparison:
    """Seven variants, MQTT on a second server, and two transports by a second client."""
    variants = [(variant_of(row), row) for row in SEVEN]
    variants += [(variant_of(row, server="mosquitto"), row) for row in SEVEN[4:]]
    variants += [(variant_of(row, client="lean"), row) for row in SEVEN[2:4]]
    return result_of(variants)


def one() -> Comparison:
    return result_of([(variant_of(SEVEN[3]), SEVEN[3])], trials=1)


def networks() -> Comparison:
    """Seven variants over three networks; every round trip adds to the latency."""
    pairs = []
    for name, rtt_ms in (("loopback", 0), ("slow4g", 150), ("rtt=500ms", 500)):
        for row in SEVEN:
            pairs.append((replace(variant_of(row), network=name), (*row[:4], row[4] + rtt_ms, *row[5:])))
    return result_of(pairs)


def faulted() -> Comparison:
    """Seven variants through a stall that was seen; the last messages of MQTT at QoS 0 are lost."""
    evidence = Evidence("stall@300ms for 200ms", 300_000_000, 301_000_000, 502_000_000, "pings paused")
    names = [variant_of(row).name for row in SEVEN]
    result = result_of(
        [(variant_of(row), row) for row in SEVEN], changed={name: {"faults": (evidence,)} for name in names}
    )
    for each in result.trials_of("mqtt-qos0"):
        each.deliveries = Deliveries(**{name: column[:-40] for name, column in vars(each.deliveries).items()})
    return result


SHARED = {"one": one, "seven": seven, "twelve": twelve, "networks": networks, "faulted": faulted}
OWN = {  # charts that need more than a usual result, and what they need
    "latency-by-network": "networks",
    "latency-through-fault": "faulted",
    "messages-through-fault": "faulted",
    "tier-ratios": "twelve",
}
USUAL = [name for name in CHARTS if name not in OWN]


@cache
def shared(which: str) -> Comparison:
    return SHARED[which]()


@cache
def drawn_once(which: str, name: str, preset: str) -> Chart:
    return draw(CHARTS, shared(which), name, preset)


def drawn(which: str, name: str, preset: str = "slides") -> Chart:
    return drawn_once(which, name, preset)


@pytest.fixture
def result() -> Comparison:
    return shared("seven")


@pytest.fixture
def crowd() -> Comparison:
    return shared("twelve")


def words_of(chart: Chart) -> list[Text]:
    """Every text of a chart that is drawn; an axis keeps ticks in store that lie beyond its ends."""
    axes = chart.figure.axes[0]
    beyond = {
        id(t) for t in axes.get_xticklabels() if not axes.get_xlim()[0] <= t.get_position()[0] <= axes.get_xlim()[1]
    }
    found = [t for t in chart.figure.findobj(Text) if isinstance(t, Text) and t.get_text() and t.get_visible()]
    return [t for t in found if id(t) not in beyond]


def renderer_of(chart: Chart) -> Any:
    return FigureCanvasAgg(chart.figure).get_renderer()  # type: ignore[no-untyped-call]


def labels_of(chart: Chart) -> list[Text]:
    return [t for t in chart.figure.texts if (t.get_gid() or "").startswith("label-")]


def caption_of(chart: Chart) -> str:
    return " ".join(" ".join(t.get_text() for t in chart.figure.texts).split())


def line_of(chart: Chart, name: str) -> Any:
    return next(line for line in chart.figure.axes[0].lines if line.get_label() == name)


# every chart, in every size, for one variant and for many


def test_dark_differs_from_slides_in_its_colours_only() -> None:
    sizes = [f.name for f in fields(Preset) if f.name.endswith(("_in", "_pt", "dpi"))]
    assert len(sizes) > 5
    assert [getattr(PRESETS["dark"], name) for name in sizes] == [getattr(PRESETS["slides"], name) for name in sizes]


@pytest.mark.parametrize(
    ("which", "name"), [*((which, name) for which in ("one", "twelve") for name in USUAL), *((OWN[n], n) for n in OWN)]
)
def test_all_words_lie_within_the_figure_and_no_label_on_another(which: str, name: str) -> None:
    check_words(drawn(which, name))


@pytest.mark.process
@pytest.mark.parametrize("name", CHARTS)
def test_all_words_of_a_small_figure_lie_within_it_too(name: str) -> None:
    check_words(drawn(OWN.get(name, "twelve"), name, "paper"))


def check_words(chart: Chart) -> None:
    chart.figure.draw_without_rendering()  # a legend is laid out when it is drawn
    renderer = renderer_of(chart)
    page = chart.figure.bbox
    for text in words_of(chart):
        box = text.get_window_extent(renderer)
        assert box.x0 >= page.x0 - 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y1 <= page.y1 + 1, text
    boxes = [text.get_window_extent(renderer) for text in [*labels_of(chart), *chart.figure.axes[0].texts]]
    ticks_y = chart.figure.axes[0].get_yticklabels()
    boxes += [text.get_window_extent(renderer) for text in ticks_y]
    for number, box in enumerate(boxes):
        for other in boxes[:number]:
            overlap_x = min(box.x1, other.x1) - max(box.x0, other.x0)
            overlap_y = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert overlap_x <= 0 or overlap_y <= 0.15 * box.height


def test_every_variant_is_named(crowd: Comparison) -> None:
    names = {v.name for v in crowd.variants}
    for name in USUAL:
        assert names <= {text.get_text() for text in words_of(drawn("twelve", name))}


def test_caption_says_the_conditions() -> None:
    for name in USUAL:
        chart = drawn("twelve", name)
        for said in (
            "fan-out",
            "1 publisher,",
            "5 subscribers",
            "100 messages/s each",
            "100-byte",
            "3 trials",
            "loopback",
        ):
            assert said in caption_of(chart)
            assert said in chart.alt
        assert "embedded servers" in caption_of(chart)
        assert "mosquitto" in caption_of(chart)
        assert "polling, long-polling, sse, websocket and mqtt" in chart.title


# of idle connections


def idle() -> IdleResult:
    return idle_result(*(variant_of(row) for row in SEVEN))


@pytest.mark.parametrize("name", IDLE_CHARTS)
def test_a_chart_of_idle_connections_names_every_variant_and_its_conditions(name: str) -> None:
    chart = idle().chart(name)
    check_words(chart)
    assert {row[0] for row in SEVEN} <= {text.get_text() for text in words_of(chart)}
    for said in ("10 connections", "1 s observed", "loopback"):
        assert said in caption_of(chart)
        assert said in chart.alt


def test_the_bars_of_idle_connections_are_those_of_the_summary() -> None:
    result = idle()
    columns = {"idle-memory": "server_memory_bytes_per_connection", "idle-bytes": "wire_bytes_per_connection_hour"}
    for name, column_name in columns.items():
        bars: Any = result.chart(name).figure.axes[0].containers
        scale = 1000 if name == "idle-memory" else 1
        assert [bar[0].get_width() * scale for bar in bars] == pytest.approx(result.summary.column(column_name))


# of two tiers


def test_the_marks_of_the_tiers_are_their_ratios() -> None:
    chart = drawn("twelve", "tier-ratios")
    marks = {}
    for line in chart.figure.axes[0].lines:
        if line.get_label() == "arrived_p50_ms":
            marks[round(float(np.ravel(line.get_ydata())[0]))] = float(np.ravel(line.get_xdata())[0])
    result = shared("twelve")
    ratios = [tiers.ratio(result, "arrived_p50_ms", ours, other) for ours, other in tiers.pairs(result)]
    assert [marks[row] for row in range(3)] == pytest.approx([each.value for each in ratios if each is not None])
    assert marks == pytest.approx(dict.fromkeys(range(3), 1.0), abs=0.05)  # the samples are drawn alike
    assert {"mqtt-qos0 (mosquitto)", "mqtt-qos1 (mosquitto)"} <= {text.get_text() for text in words_of(chart)}
    with pytest.raises(UsageError, match="over the embedded server and another one"):
        drawn("one", "tier-ratios")


# of protected servers


@pytest.mark.parametrize("name", SECURITY_CHARTS)
def test_a_chart_of_protected_servers_names_every_variant_and_protection(name: str) -> None:
    result = security_result(*(variant_of(row) for row in SEVEN))
    chart = result.chart(name)
    check_words(chart)
    said = {text.get_text() for text in words_of(chart)} | {text.get_text() for text in chart.figure.legends[0].texts}
    assert {row[0] for row in SEVEN} | {"TLS", "TLS resumed", "password", "access list"} <= said
    marks = [line for line in chart.figure.axes[0].lines if line.get_label() == "tls"]
    if name == "protection-connecting":
        assert [float(np.ravel(mark.get_xdata())[0]) for mark in marks] == pytest.approx([2.0] * 7)


# the data


def test_ecdf_is_that_of_the_latencies(result: Comparison) -> None:
    chart = drawn("seven", "latency-ecdf")
    for v in result.variants:
        arrived = np.concatenate([trial.arrived_ms for trial in result.trials_of(v.name)])
        for line, of in ((v.name, arrived), (f"{v.name}, application", result.latency_ms(v.name))):
            values = np.sort(of)
            x, share = line_of(chart, line).get_data()
            assert (x[0], share[0]) == (values[0], 0.0)
            oracle = [(values <= at).mean() for at in x[1:]]
            np.testing.assert_allclose(share[1:], oracle)
            assert (x[-1], share[-1]) == (values[-1], 1.0)


def test_percentiles_end_at_the_last_one_supported(result: Comparison) -> None:
    chart = drawn("seven", "latency-percentiles")
    for v in result.variants:
        values = result.latency_ms(v.name)
        messages = sum(trial.messages for trial in result.trials_of(v.name))
        assert len(values) == 5 * messages
        x, y = line_of(chart, v.name).get_data()
        percent = 100 * (1 - 1 / x)
        messages = sum(trial.messages for trial in result.trials_of(v.name))
        assert messages < len(values)
        assert statistics.supported(messages, percent[-1])
        assert not statistics.supported(messages, percent[-1] + 0.01)
        np.testing.assert_array_equal(y, np.percentile(values, percent, method="inverted_cdf"))
    shown = [tick.get_text() for tick in chart.figure.axes[0].get_xticklabels()]
    assert shown == ["0 %", "50 %", "90 %"]  # 180 messages do not support p99


@pytest.mark.parametrize("known", [[], ["sse"], ["all"]], ids=["no server", "one server", "every server"])
def test_both_hops_are_one_stage_only_where_the_server_does_not_tell_of_the_border(known: list[str]) -> None:
    relayed = {row[0]: {"relayed_after_ns": 400_000} for row in SEVEN if row[0] in known or known == ["all"]}
    result = seven(**relayed)
    chart = result.chart("latency-breakdown")
    widths: dict[str, dict[str, float]] = {row["variant"]: {} for row in result.summary}
    for bar in chart.figure.axes[0].containers:
        at = round(bar[0].get_y() + bar[0].get_height() / 2)
        widths[result.summary.column("variant")[at]][str(bar.get_label())] = bar[0].get_width()
    for row in result.summary:
        told = row["variant"] in relayed
        parts = ("lag", "publish_hop", "delivery_hop", "client") if told else ("lag", "network_server", "client")
        drawn_parts = {part: width for part, width in widths[row["variant"]].items() if width}
        share = {part: 100 * row[f"{part}_mean_ms"] / row["latency_mean_ms"] for part in parts}
        assert drawn_parts == pytest.approx(share)
    legend = [text.get_text() for text in chart.figure.legends[0].get_texts()]
    assert ("both hops together" in legend) == (known != ["all"])
    assert ("publish hop" in legend) == (known != [])


def test_hops_and_layers_add_up_to_the_total(result: Comparison) -> None:
    chart = drawn("seven", "bytes-per-delivery")
    axes = chart.figure.axes[0]
    bars: dict[int, list[Any]] = {}
    for container in axes.containers:
        bars.setdefault(round(container[0].get_y() + container[0].get_height() / 2), []).append(container)
    for at, row in enumerate(result.summary):
        assert [bar.get_label() for bar in bars[at]] == ["publish", "payload", "framing", "tcp_ip", "ack"]
        parts = ("publish", "delivery_payload", "delivery_framing", "delivery_tcp_ip", "ack")
        widths = [bar[0].get_width() for bar in bars[at]]
        assert widths == pytest.approx([row[f"{part}_bytes_per_delivery"] for part in parts])
        end = max(bar[0].get_x() + bar[0].get_width() for bar in bars[at])
        assert end == pytest.approx(row["wire_bytes_per_delivery"])
        assert axes.texts[at].get_text() == f"{row['wire_bytes_per_delivery']:,.0f}"
    legend = [text.get_text() for text in chart.figure.legends[0].get_texts()]
    assert "both hops: segments that carry only a TCP acknowledgement" in legend


def test_a_line_is_drawn_where_bytes_should_end_and_only_where_that_is_known() -> None:
    said = Predicted(publish_up=Flow(1000), subscribe_down=Flow(5000))
    known = {row[0]: {"predicted": said} for row in SEVEN if row[0] in ("sse", "websocket")}
    result = seven(**known)
    lines = result.chart("bytes-per-delivery").figure.axes[0].lines
    end = result.summary["sse"]["publish_bytes_per_delivery"] + 5000 / DELIVERIES
    assert [np.asarray(line.get_xdata()).tolist() for line in lines] == [[pytest.approx(end)] * 2] * 2
    assert len(drawn("seven", "bytes-per-delivery").figure.axes[0].lines) == 0


def test_server_cpu_shows_each_trial(result: Comparison) -> None:
    chart = drawn("seven", "server-cpu")
    for row in result.summary:
        dots = line_of(chart, row["variant"]).get_xdata()
        trials = [t["server_cpu_us_per_delivery"] for t in result.trial_table if t["variant"] == row["variant"]]
        assert sorted(dots) == sorted(trials)
        assert min(dots) <= row["server_cpu_us_per_delivery"] <= max(dots)


def test_latency_against_bytes_has_the_interval(result: Comparison) -> None:
    chart = drawn("seven", "latency-against-bytes")
    for container, row in zip(chart.figure.axes[0].containers, result.summary, strict=True):
        marker, _, bars = container
        assert marker.get_xydata().tolist() == [[row["data_bytes_per_delivery"], row["arrived_p50_ms"]]]
        ends = bars[0].get_segments()[0][:, 1]
        np.testing.assert_allclose(ends, [row["arrived_p50_low_ms"], row["arrived_p50_high_ms"]])


# how it looks


def test_colours_are_petroff10() -> None:
    from matplotlib import style

    assert sorted(COLOURS) == sorted(style.library["petroff10"]["axes.prop_cycle"].by_key()["color"])


@pytest.mark.parametrize("preset", ["slides", "paper"])
def test_a_transport_keeps_its_colour(result: Comparison, preset: str) -> None:
    alone = result_of([(variant_of(SEVEN[3]), SEVEN[3])])
    for each in (result, alone):
        chart = draw(CHARTS, each, "latency-ecdf", preset)
        for v in each.variants:
            assert line_of(chart, v.name).get_color() == COLOURS[v.slot]


def test_variants_of_a_transport_share_a_colour_and_differ_otherwise(crowd: Comparison) -> None:
    looks = [look(v, PRESETS["slides"]) for v in crowd.variants if v.transport == "mqtt"]
    assert len({seen.colour for seen in looks}) == 1
    assert len({str(seen.dash) for seen in looks}) == len({seen.marker for seen in looks}) == 3
    assert len({(seen.marker, seen.fill) for seen in looks}) == 6
    assert len({seen.hatch for seen in looks}) == 2


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_words_stand_out_from_the_background(crowd: Comparison, preset: Any) -> None:
    for v in crowd.variants:
        assert contrast_of(look(v, preset).text, preset.background) >= 4.5
        if preset.dark:
            assert contrast_of(look(v, preset).colour, preset.background) >= 3


def test_ticks_are_plain_numbers() -> None:
    chart = drawn("seven", "latency-ecdf")
    assert [tick.get_text() for tick in chart.figure.axes[0].get_xticklabels()] == ["1", "10", "100"]


# what is wrong is said


def test_invalid_and_incomplete_stand_across_the_chart() -> None:
    result = seven(sse={"client_cpu": 0.95})
    result.status = "incomplete"
    for name in ("latency-percentiles", "server-cpu"):
        chart = draw(CHARTS, result, name)
        (mark,) = [text for text in chart.figure.texts if text.get_gid() == "watermark"]
        assert mark.get_text() == "INCOMPLETE\nNOT FIT TO CONCLUDE: sse"
        assert "sse is invalid: the generator was short of CPU: a client process used 95% of a core" in chart.alt


def test_no_watermark_where_all_is_well() -> None:
    assert not [t for t in drawn("seven", "latency-ecdf").figure.texts if t.get_gid() == "watermark"]


def test_what_cannot_be_drawn_is_named() -> None:
    result = seven(sse={"error": "the server died"}, websocket={"publisher_run_wire": None})
    assert "Not shown, because they have no delivery: sse." in caption_of(draw(CHARTS, result, "latency-ecdf"))
    assert "Not shown, because their bytes are not known: sse and websocket." in caption_of(
        draw(CHARTS, result, "bytes-per-delivery")
    )


def test_losses_are_told() -> None:
    result = one()
    got = result.trials[0].deliveries
    result.trials[0].deliveries = Deliveries(**{name: column[5:] for name, column in vars(got).items()})
    assert "Lost messages, which are not part of the latencies: websocket 5 of 300." in caption_of(
        draw(CHARTS, result, "latency-ecdf")
    )


@pytest.mark.parametrize("name", CHARTS)
def test_nothing_to_draw_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be drawn"):
        draw(CHARTS, seven(**{row[0]: {"error": "the server died"} for row in SEVEN}), name)


def test_missing_bytes_name_the_platform() -> None:
    result = seven(**{row[0]: {"publisher_run_wire": None} for row in SEVEN})
    result.environment = {"link": "loopback", "system": "Darwin", "missing": ["wire_bytes_per_delivery"]}
    with pytest.raises(UsageError, match="Darwin, which does not count wire bytes"):
        draw(CHARTS, result, "bytes-per-delivery")


def test_unknown_names_are_errors_that_list_what_is_right(result: Comparison, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="latency-ecdf, latency-percentiles"):
        draw(CHARTS, result, "pie")
    with pytest.raises(UsageError, match="slides, paper, dark"):
        draw(CHARTS, result, "latency-ecdf", "poster")
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        draw(CHARTS, result, "latency-ecdf").save(tmp_path / "chart.bmp")


# files


@pytest.mark.parametrize("name", ["latency-ecdf", "bytes-per-delivery"])
def test_files_are_the_same_each_time(tmp_path: Path, name: str) -> None:
    check_files("seven", tmp_path, name, "svg")


@pytest.mark.process
@pytest.mark.parametrize("name", ["latency-ecdf", "bytes-per-delivery"])
def test_pdf_files_are_the_same_each_time(tmp_path: Path, name: str) -> None:
    check_files("twelve", tmp_path, name, "pdf")


def check_files(which: str, directory: Path, name: str, kind: str) -> None:
    drawn(which, name).save(directory / f"a.{kind}")
    draw(CHARTS, shared(which), name).save(directory / f"b.{kind}")
    assert (directory / f"a.{kind}").read_bytes() == (directory / f"b.{kind}").read_bytes()
    assert sorted(p.name for p in directory.iterdir()) == [f"a.{kind}", f"b.{kind}"]


def test_svg_is_told_in_words(tmp_path: Path) -> None:
    chart = drawn("seven", "latency-ecdf")
    chart.save(tmp_path / "chart.svg")
    root = ElementTree.parse(tmp_path / "chart.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    title, desc = root.find(f"{space}title"), root.find(f"{space}desc")
    assert title is not None
    assert desc is not None
    assert (title.text, desc.text) == (chart.title, chart.alt)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == f"{title.get('id')} {desc.get('id')}"


def text_chunks(png: bytes) -> dict[str, str]:
    found, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        if png[at + 4 : at + 8] == b"tEXt":
            key, _, value = png[at + 8 : at + 8 + length].partition(b"\0")
            found[key.decode("latin-1")] = value.decode("latin-1")
        at += 12 + length
    return found


def test_png_and_notebook_carry_the_words(tmp_path: Path) -> None:
    chart = drawn("seven", "server-cpu")
    chart.save(tmp_path / "chart.png")
    assert text_chunks((tmp_path / "chart.png").read_bytes())["Description"] == chart.alt
    picture = re.fullmatch(r'<img alt="([^"]*)" .* src="data:image/png;base64,(.*)">', chart._repr_html_())
    assert picture is not None
    assert picture[1] == chart.alt
    assert text_chunks(base64.b64decode(picture[2]))["Description"] == chart.alt
    assert "microseconds" in chart.alt


def test_settings_of_the_user_neither_matter_nor_change(result: Comparison, tmp_path: Path) -> None:
    import matplotlib

    draw(CHARTS, result, "latency-ecdf").save(tmp_path / "a.svg")
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 3, "svg.hashsalt": "other", "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        draw(CHARTS, result, "latency-ecdf").save(tmp_path / "b.svg")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.process
def test_matplotlib_is_imported_for_drawing_only() -> None:
    code = "import sys, rtbench.charts, rtbench.cli.chart; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# scales and places


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.2, 600, [1, 10, 100]),
        (150, 750, [200, 300, 500, 700]),
        (0.9, 2.6, [1, 1.5, 2, 2.5]),
        (200, 205, [200, 201, 202, 203, 204, 205]),
    ],
)
def test_ticks(low: float, high: float, wanted: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(wanted)


def test_scale_of_one_value_and_plain_numbers() -> None:
    low, high = span([5.0])
    assert low < 5 < high
    assert [plain(v) for v in (0.001, 0.1, 1.0, 1000.0, 250000.0)] == ["0.001", "0.1", "1", "1,000", "250,000"]


def test_column_keeps_order_distance_and_bounds() -> None:
    wanted = [10.0, 11.0, 12.0, 50.0, 99.0, 99.0]
    heights: NDArray[np.float64] = np.array(column(wanted, 8, (0, 100)))
    assert list(np.argsort(heights, kind="stable")) == [0, 1, 2, 3, 4, 5]
    assert np.diff(heights).min() >= 8 - 1e-9
    assert heights.min() >= 0
    assert heights.max() <= 100
    assert heights[3] == 50


# the command


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The directory of a result made up here."""
    return save(shared("one"), tmp_path / "saved")


def test_command_prints_each_path(saved: Path) -> None:
    ran = CliRunner().invoke(command, [str(saved), "--format", "svg"], catch_exceptions=False)
    paths = [Path(line) for line in ran.stdout.splitlines()]
    assert paths == [saved / "charts" / f"{name}.svg" for name in USUAL]
    assert all(path.is_file() for path in paths)


def test_command_draws_what_was_asked_for(saved: Path) -> None:
    chosen = ["--chart", "server-cpu", "--preset", "paper", "--out", str(saved / "new" / "place")]
    ran = CliRunner().invoke(command, [str(saved), *chosen], catch_exceptions=False)
    assert ran.stdout.splitlines() == [str(saved / "new" / "place" / f"server-cpu-paper.{kind}") for kind in FORMATS]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--chart", "pie"], "--chart must be one of latency-ecdf"),
        (["--preset", "poster"], "--preset must be one of slides, paper, dark"),
        (["--format", "bmp"], "--format must be one of png, svg, pdf"),
    ],
)
def test_command_refuses_what_it_does_not_know(saved: Path, options: list[str], said: str) -> None:
    ran = CliRunner().invoke(command, [str(saved), *options])
    assert isinstance(ran.exception, UsageError)
    assert str(ran.exception).startswith(said)
    assert not (saved / "charts").exists()


def test_command_names_an_unwritable_place(saved: Path) -> None:
    (saved / "file").touch()
    ran = CliRunner().invoke(command, [str(saved), "--out", str(saved / "file" / "charts")])
    assert isinstance(ran.exception, UsageError)
    assert str(saved / "file" / "charts") in str(ran.exception)


def test_command_skips_what_was_not_asked_for(tmp_path: Path) -> None:
    without = one()
    change(without, 0, publisher_run_wire=None)
    saved = save(without, tmp_path / "without")
    ran = CliRunner().invoke(command, [str(saved), "--format", "svg"], catch_exceptions=False)
    assert [Path(line).stem for line in ran.stdout.splitlines()] == [
        "latency-ecdf",
        "latency-percentiles",
        "latency-breakdown",
        "server-cpu",
        "age-against-rate",
    ]
    assert "bytes-per-delivery" in ran.stderr
    asked = CliRunner().invoke(command, [str(saved), "--chart", "bytes-per-delivery"])
    assert isinstance(asked.exception, UsageError)


def test_command_help_names_every_chart() -> None:
    shown = "".join(CliRunner().invoke(command, ["--help"]).stdout.split())
    for name in (*CHARTS, *PRESETS, *FORMATS):
        assert name in shown


def test_the_title_states_what_the_chart_shows() -> None:
    scales = {"sse": 1.0, "websocket": 4.0, "tcp": 0.1}
    result = builders.simulated(scales)
    result.variants = [replace(v, control=v.name == "tcp") for v in result.variants]
    chart = result.chart("latency-ecdf")
    assert chart.title.startswith("websocket takes 4")
    assert "times as long as sse. How soon messages arrive: sse, websocket and tcp" in chart.title
    assert "times the CPU time of sse" in result.chart("server-cpu").title


@pytest.mark.parametrize(
    ("scales", "invalid"),
    [({"sse": 1.0, "websocket": 1.2}, ""), ({"sse": 1.0, "websocket": 4.0}, "websocket"), ({"sse": 1.0}, "")],
)
def test_a_small_or_unfit_difference_is_no_title(scales: dict[str, float], invalid: str) -> None:
    result = builders.simulated(scales)
    change(result, invalid, client_cpu=0.95)
    assert result.chart("server-cpu").title.startswith("Server CPU for each delivery")


def test_notes_are_below_the_picture_or_beside_it_or_nowhere(tmp_path: Path) -> None:
    saved = save(builders.simulated({"sse": 1.0, "websocket": 4.0}), tmp_path / "result")
    words = {}
    for notes in ("below", "file", "none"):
        out = tmp_path / notes
        done = CliRunner().invoke(
            command, [str(saved), "--chart", "server-cpu", "--format", "svg", "--notes", notes, "--out", str(out)]
        )
        assert done.exit_code == 0, done.output
        drawn = re.sub(r"<desc.*?</desc>", "", (out / "server-cpu.svg").read_text(), flags=re.DOTALL)
        words[notes] = "Conditions:" in drawn
    assert words == {"below": True, "file": False, "none": False}
    assert "Conditions: fan-out" in (tmp_path / "file" / "server-cpu.txt").read_text()
    assert not (tmp_path / "none" / "server-cpu.txt").exists()


def test_warnings_stay_without_notes() -> None:
    result = builders.simulated({"sse": 1.0, "websocket": 4.0})
    change(result, "sse", client_cpu=0.95)
    texts = [text.get_text() for text in result.chart("server-cpu", notes=False).figure.texts]
    assert any("Not fit to conclude: sse." in text for text in texts)


def test_small_ticks_are_one_to_nine_of_each_decade() -> None:
    assert minor_ticks(0.5, 20.0, [1.0, 10.0]) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 2, 3, 4, 5, 6, 7, 8, 9, 20])


def test_the_text_of_an_svg_is_text(tmp_path: Path) -> None:
    builders.simulated({"sse": 1.0, "websocket": 4.0}).chart("server-cpu").save(tmp_path / "c.svg")
    assert re.search(r"<text[^>]*>[^<]*times the CPU time of sse", (tmp_path / "c.svg").read_text())


@pytest.mark.parametrize("name", ["latency-through-fault", "messages-through-fault"])
def test_a_course_ends_with_the_last_message_and_not_with_the_waiting_after_it(name: str) -> None:
    result = faulted()
    for each in result.trials:
        change(result, each.counts.variant, wall_s=30.0)
    last_s = max(each.deliveries.received_ns.max() for each in result.trials) / 1e9
    schedule_s = result.workload.schedule_ns / 1e9
    assert result.chart(name).figure.axes[0].get_xlim()[1] <= max(last_s, schedule_s)
