"""Charts: drawn from results made up here, looked at through matplotlib's own objects."""

from __future__ import annotations

import base64
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import fields
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

from rtbench.analysis import statistics
from rtbench.analysis.counts import TrialCounts
from rtbench.analysis.layers import LAYERS
from rtbench.analysis.measured import Measured
from rtbench.charts import CHARTS, FORMATS, PRESETS, Chart, draw
from rtbench.charts.placement import column
from rtbench.charts.scale import plain, span, ticks
from rtbench.charts.style import COLOURS, contrast_of, look
from rtbench.cli.chart import command
from rtbench.errors import UsageError
from rtbench.plan.records import ACKED, Deliveries, Publishes
from rtbench.plan.settings import resolve, workload_of
from rtbench.plan.variant import Variant
from rtbench.plan.workload import Workload
from rtbench.result.comparison import Comparison
from rtbench.result.result import COMPLETE
from rtbench.wire.tcp import Direction, Wire
from rtbench.wire.traffic import Flow, Predicted

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
    return Variant(label, transport, server, client, {}, slot, shade, f"{server} 1.0", f"{client} 1.0")


def measured(index: int, variant: Variant, row: Row, workload: Workload, **changed: Any) -> Measured:
    """One trial: every message reaches every subscriber, at latencies spread around the median of `row`."""
    random = np.random.default_rng(zlib.crc32(variant.name.encode()) + index)
    due = np.round(WARMUP_S * 1e9 + np.arange(MESSAGES) * 1e7).astype(np.int64)
    zeros = np.zeros(MESSAGES, dtype=np.int64)
    sequence = np.arange(MESSAGES)
    publishes = Publishes(zeros, sequence, due, due + 1000, due + 1000, due + 5000, np.full(MESSAGES, ACKED))
    latency = np.round(row[4] * 1e6 * random.lognormal(0, 0.25, DELIVERIES)).astype(np.int64)
    many = np.repeat(sequence, SUBSCRIBERS)
    deliveries = Deliveries(
        np.zeros(DELIVERIES, dtype=np.int64),
        many,
        due[many],
        np.tile(np.arange(SUBSCRIBERS), MESSAGES),
        due[many] + latency,
        np.ones(DELIVERIES, dtype=bool),
        due[many] + latency * 2 // 3,
    )
    carried = (MESSAGES + DELIVERIES) * workload.payload_bytes
    wire = Wire(0, Direction(carried, 3000, 600, 3000 * 52, 600 * 52), Direction(row[5] * DELIVERIES))
    figures: dict[str, Any] = {
        "index": index,
        "block": index,
        "variant": variant.name,
        "error": None,
        "offered": MESSAGES,
        "unfinished": 0,
        "pace": 1.0,
        "lost_in_warmup": 0,
        "published_in_all": MESSAGES,
        "deliveries": DELIVERIES,
        "missed_told": 0,
        "requests": 0,
        "nagle_sockets": 0,
        "server_retransmitted_bytes": 0,
        "wall_s": 1.0,
        "client_cpu": 0.1,
        "client_cpu_ns": 10**8,
        "server_cpu_ns": round(row[6] * DELIVERIES * 1000 * random.uniform(0.9, 1.1)),
        "server_rss_bytes": 30_000_000,
        "publisher_setup_wire": Wire(),
        "publisher_run_wire": wire,
        "publisher_closing_wire": Wire(),
        "subscriber_setup_wire": Wire(),
        "subscriber_run_wire": Wire(),
        "subscriber_closing_wire": Wire(),
        "predicted": None,
    }
    figures |= changed
    every: dict[str, Any] = {field.name: figures.get(field.name, 0) for field in fields(TrialCounts)}
    return Measured(TrialCounts(**every), workload, publishes, deliveries)


def result_of(
    variants: Sequence[tuple[Variant, Row]], trials: int = 3, changed: dict[str, dict[str, Any]] | None = None
) -> Comparison:
    """A complete result; `changed` holds figures of the trials of some variants."""
    flags = {"trials": (trials, "flag"), "subscribers": (SUBSCRIBERS, "flag"), "rate": (100, "flag")}
    settings = resolve({**flags, "duration": (MESSAGES / 100, "flag"), "warmup": (WARMUP_S, "flag")})
    workload = workload_of(settings)
    result = Comparison(
        kind="comparison",
        settings=settings,
        workload=workload,
        variants=[variant for variant, _ in variants],
        environment={"link": "loopback", "missing": [], "system": "Linux"},
        created="2024-01-01T00:00:00+00:00",
        status=COMPLETE,
        planned_trials=trials * len(variants),
    )
    for block in range(trials):
        for number, (variant, row) in enumerate(variants):
            index = block * len(variants) + number
            figures = (changed or {}).get(variant.name, {})
            result.trials.append(measured(index, variant, row, workload, **figures))
    return result


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


SHARED = {"one": one, "seven": seven, "twelve": twelve}


@cache
def shared(which: str) -> Comparison:
    return SHARED[which]()


@cache
def drawn(which: str, name: str, preset: str = "slides") -> Chart:
    return draw(shared(which), name, preset)


@pytest.fixture
def comparison() -> Comparison:
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


# every chart, in every preset, for one variant and for many


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize(("which", "preset"), [("one", "slides"), *(("twelve", preset) for preset in PRESETS)])
def test_all_words_lie_within_the_figure_and_no_label_on_another(which: str, name: str, preset: str) -> None:
    chart = drawn(which, name, preset)
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
    names = {variant.name for variant in crowd.variants}
    for name in CHARTS:
        assert names <= {text.get_text() for text in words_of(drawn("twelve", name))}


def test_caption_says_the_conditions() -> None:
    for name in CHARTS:
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


# the data


def test_ecdf_is_that_of_the_latencies(comparison: Comparison) -> None:
    chart = drawn("seven", "latency-ecdf")
    for variant in comparison.variants:
        values = np.sort(comparison.latency_ms(variant.name))
        x, share = line_of(chart, variant.name).get_data()
        assert (x[0], share[0]) == (values[0], 0.0)
        oracle = [(values <= at).mean() for at in x[1:]]
        np.testing.assert_allclose(share[1:], oracle)
        assert (x[-1], share[-1]) == (values[-1], 1.0)


def test_percentiles_end_at_the_last_one_supported(comparison: Comparison) -> None:
    chart = drawn("seven", "latency-percentiles")
    for variant in comparison.variants:
        values = comparison.latency_ms(variant.name)
        x, y = line_of(chart, variant.name).get_data()
        percent = 100 * (1 - 1 / x)
        assert statistics.supported(len(values), percent[-1])
        assert not statistics.supported(len(values), percent[-1] + 0.01)
        np.testing.assert_array_equal(y, np.percentile(values, percent, method="inverted_cdf"))
    shown = [tick.get_text() for tick in chart.figure.axes[0].get_xticklabels()]
    assert shown == ["0 %", "50 %", "90 %"]  # 900 deliveries do not support p99


def test_layers_add_up_to_the_total(comparison: Comparison) -> None:
    chart = drawn("seven", "bytes-per-delivery")
    axes = chart.figure.axes[0]
    bars: dict[int, list[Any]] = {}
    for container in axes.containers:
        bars.setdefault(round(container[0].get_y() + container[0].get_height() / 2), []).append(container)
    for at, row in enumerate(comparison.summary):
        layers = [layer for layer in LAYERS if layer != "tls"]
        assert [bar.get_label() for bar in bars[at]] == layers
        assert [bar[0].get_width() for bar in bars[at]] == [row[f"{layer}_bytes_per_delivery"] for layer in layers]
        end = max(bar[0].get_x() + bar[0].get_width() for bar in bars[at])
        assert end == pytest.approx(row["wire_bytes_per_delivery"])
        assert axes.texts[at].get_text() == f"{row['wire_bytes_per_delivery']:,.0f}"
    legend = [text.get_text() for text in chart.figure.legends[0].get_texts()]
    assert "segments that carry only a TCP acknowledgement" in legend


def test_a_line_is_drawn_where_bytes_should_end_and_only_where_that_is_known() -> None:
    said = Predicted(publish_up=Flow(1000), subscribe_down=Flow(5000))
    known = {row[0]: {"predicted": said} for row in SEVEN if row[0] in ("sse", "websocket")}
    lines = seven(**known).chart("bytes-per-delivery").figure.axes[0].lines
    assert [np.asarray(line.get_xdata()).tolist() for line in lines] == [[6000 / DELIVERIES] * 2] * 2
    assert len(drawn("seven", "bytes-per-delivery").figure.axes[0].lines) == 0


def test_server_cpu_shows_each_trial(comparison: Comparison) -> None:
    chart = drawn("seven", "server-cpu")
    for row in comparison.summary:
        dots = line_of(chart, row["variant"]).get_xdata()
        trials = [t["server_cpu_us_per_delivery"] for t in comparison.trial_table if t["variant"] == row["variant"]]
        assert sorted(dots) == sorted(trials)
        assert min(dots) <= row["server_cpu_us_per_delivery"] <= max(dots)


def test_latency_against_bytes_has_the_interval(comparison: Comparison) -> None:
    chart = drawn("seven", "latency-against-bytes")
    for container, row in zip(chart.figure.axes[0].containers, comparison.summary, strict=True):
        marker, _, bars = container
        assert marker.get_xydata().tolist() == [[row["wire_bytes_per_delivery"], row["latency_p50_ms"]]]
        ends = bars[0].get_segments()[0][:, 1]
        np.testing.assert_allclose(ends, [row["latency_p50_low_ms"], row["latency_p50_high_ms"]])


# how it looks


def test_colours_are_petroff10() -> None:
    from matplotlib import style

    assert list(COLOURS) == style.library["petroff10"]["axes.prop_cycle"].by_key()["color"]


@pytest.mark.parametrize("preset", ["slides", "paper"])
def test_a_transport_keeps_its_colour(comparison: Comparison, preset: str) -> None:
    alone = result_of([(variant_of(SEVEN[3]), SEVEN[3])])
    for result in (comparison, alone):
        chart = draw(result, "latency-ecdf", preset)
        for variant in result.variants:
            assert line_of(chart, variant.name).get_color() == COLOURS[variant.slot]


def test_variants_of_a_transport_share_a_colour_and_differ_otherwise(crowd: Comparison) -> None:
    looks = [look(v, PRESETS["slides"]) for v in crowd.variants if v.transport == "mqtt"]
    assert len({seen.colour for seen in looks}) == 1
    assert len({str(seen.dash) for seen in looks}) == len({seen.marker for seen in looks}) == 3
    assert len({(seen.marker, seen.fill) for seen in looks}) == 6
    assert len({seen.hatch for seen in looks}) == 2


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_words_stand_out_from_the_background(crowd: Comparison, preset: Any) -> None:
    for variant in crowd.variants:
        assert contrast_of(look(variant, preset).text, preset.background) >= 4.5
        if preset.dark:
            assert contrast_of(look(variant, preset).colour, preset.background) >= 3


def test_ticks_are_plain_numbers() -> None:
    chart = drawn("seven", "latency-ecdf")
    assert [tick.get_text() for tick in chart.figure.axes[0].get_xticklabels()] == ["1", "10", "100"]


# what is wrong is said


def test_invalid_and_incomplete_stand_across_the_chart() -> None:
    result = seven(sse={"client_cpu": 0.95})
    result.status = "incomplete"
    for name in ("latency-percentiles", "server-cpu"):
        chart = draw(result, name)
        (mark,) = [text for text in chart.figure.texts if text.get_gid() == "watermark"]
        assert mark.get_text() == "INCOMPLETE\nNOT FIT TO CONCLUDE: sse"
        assert "sse is invalid: a client process used 95% of a core" in chart.alt


def test_no_watermark_where_all_is_well() -> None:
    assert not [t for t in drawn("seven", "latency-ecdf").figure.texts if t.get_gid() == "watermark"]


def test_what_cannot_be_drawn_is_named() -> None:
    result = seven(sse={"error": "the server died"}, websocket={"publisher_run_wire": None})
    assert "Not shown, having no delivery: sse." in caption_of(draw(result, "latency-ecdf"))
    assert "Not shown, their bytes not being known: sse and websocket." in caption_of(
        draw(result, "bytes-per-delivery")
    )


def test_losses_are_told() -> None:
    result = one()
    deliveries = result.trials[0].deliveries
    result.trials[0].deliveries = Deliveries(*(getattr(deliveries, f.name)[5:] for f in fields(Deliveries)))
    assert "Lost, and in no latency: websocket 5 of 300." in caption_of(draw(result, "latency-ecdf"))


@pytest.mark.parametrize("name", CHARTS)
def test_nothing_to_draw_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be drawn"):
        draw(seven(**{row[0]: {"error": "the server died"} for row in SEVEN}), name)


def test_missing_bytes_name_the_platform() -> None:
    result = seven(**{row[0]: {"publisher_run_wire": None} for row in SEVEN})
    result.environment = {"link": "loopback", "system": "Darwin", "missing": ["wire_bytes_per_delivery"]}
    with pytest.raises(UsageError, match="Darwin, which does not count wire bytes"):
        draw(result, "bytes-per-delivery")


def test_unknown_names_are_errors_that_list_what_is_right(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="latency-ecdf, latency-percentiles"):
        draw(comparison, "pie")
    with pytest.raises(UsageError, match="slides, paper, dark"):
        draw(comparison, "latency-ecdf", "poster")
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        draw(comparison, "latency-ecdf").save(tmp_path / "chart.bmp")


# files


@pytest.mark.parametrize("kind", ["svg", "pdf"])
@pytest.mark.parametrize("name", ["latency-ecdf", "bytes-per-delivery"])
def test_files_are_the_same_each_time(crowd: Comparison, tmp_path: Path, name: str, kind: str) -> None:
    drawn("twelve", name).save(tmp_path / f"a.{kind}")
    draw(crowd, name).save(tmp_path / f"b.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{kind}", f"b.{kind}"]


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


def test_settings_of_the_user_neither_matter_nor_change(comparison: Comparison, tmp_path: Path) -> None:
    import matplotlib

    draw(comparison, "latency-ecdf").save(tmp_path / "a.svg")
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 3, "svg.hashsalt": "other", "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        draw(comparison, "latency-ecdf").save(tmp_path / "b.svg")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


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
def loaded(comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose result is the one made up here."""
    monkeypatch.setattr(comparison, "path", tmp_path)
    monkeypatch.setattr("rtbench.storage.load", lambda _: comparison)
    return tmp_path


def test_command_prints_each_path(loaded: Path) -> None:
    ran = CliRunner().invoke(command, [str(loaded), "--format", "svg"], catch_exceptions=False)
    paths = [Path(line) for line in ran.stdout.splitlines()]
    assert paths == [loaded / "charts" / f"{name}.svg" for name in CHARTS]
    assert all(path.is_file() for path in paths)


def test_command_draws_what_was_asked_for(loaded: Path) -> None:
    chosen = ["--chart", "server-cpu", "--preset", "paper", "--out", str(loaded / "new" / "place")]
    ran = CliRunner().invoke(command, [str(loaded), *chosen], catch_exceptions=False)
    assert ran.stdout.splitlines() == [str(loaded / "new" / "place" / f"server-cpu.{kind}") for kind in FORMATS]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--chart", "pie"], "--chart must be one of latency-ecdf"),
        (["--preset", "poster"], "--preset must be one of slides, paper, dark"),
        (["--format", "bmp"], "--format must be one of png, svg, pdf"),
    ],
)
def test_command_refuses_what_it_does_not_know(loaded: Path, options: list[str], said: str) -> None:
    ran = CliRunner().invoke(command, [str(loaded), *options])
    assert isinstance(ran.exception, UsageError)
    assert str(ran.exception).startswith(said)
    assert not (loaded / "charts").exists()


def test_command_names_an_unwritable_place(loaded: Path) -> None:
    (loaded / "file").touch()
    ran = CliRunner().invoke(command, [str(loaded), "--out", str(loaded / "file" / "charts")])
    assert isinstance(ran.exception, UsageError)
    assert str(loaded / "file" / "charts") in str(ran.exception)


def test_command_skips_what_was_not_asked_for(
    loaded: Path, comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = seven(**{row[0]: {"publisher_run_wire": None} for row in SEVEN})
    without.path = loaded
    monkeypatch.setattr("rtbench.storage.load", lambda _: without)
    ran = CliRunner().invoke(command, [str(loaded), "--format", "svg"], catch_exceptions=False)
    assert [Path(line).stem for line in ran.stdout.splitlines()] == [
        "latency-ecdf",
        "latency-percentiles",
        "latency-breakdown",
        "server-cpu",
    ]
    assert "bytes-per-delivery" in ran.stderr
    asked = CliRunner().invoke(command, [str(loaded), "--chart", "bytes-per-delivery"])
    assert isinstance(asked.exception, UsageError)


def test_command_help_names_every_chart() -> None:
    shown = "".join(CliRunner().invoke(command, ["--help"]).stdout.split())
    for name in (*CHARTS, *PRESETS, *FORMATS):
        assert name in shown
