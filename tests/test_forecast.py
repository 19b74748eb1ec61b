from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtbench as package
from rtbench.analysis.forecast import forecast
from rtbench.analysis.growth import growth
from rtbench.analysis.usl import law
from rtbench.analysis.view import Drawn
from rtbench.charts import FORECAST_CHARTS, draw
from rtbench.cli.forecast import command
from rtbench.errors import UsageError
from rtbench.plan.variant import Variant
from rtbench.result.forecast import as_json, text
from rtbench.table import Table
from tests.builders import comparison, save, variant

LEVELS = (1, 10, 30, 100, 300, 1000)


def row(subscribers: int, rate_hz: float = 10, variant: str = "websocket", **other: Any) -> dict[str, Any]:
    """Return the row of a server that needs 0.01 cores, 20 us a delivery, 50 MB and 0.02 MB a client."""
    deliveries_per_s = subscribers * rate_hz
    cores = 0.01 + 20e-6 * deliveries_per_s
    return {
        "subscribers": subscribers,
        "variant": variant,
        "publishers": 1,
        "rate_hz": rate_hz,
        "payload_bytes": 100,
        "network": "loopback",
        "link": "loopback",
        "published": 100,
        "expected": 100 * subscribers,
        "server_cpu_us_per_delivery": cores * 1e6 / deliveries_per_s,
        "server_cpu_percent": 100 * cores,
        "server_rss_mb": 50 + 0.02 * subscribers,
        "wire_bytes_per_delivery": 200 + 250 / subscribers,
        "verdict": "valid",
        **other,
    }


def test_a_linear_server_is_forecast() -> None:
    found = forecast([row(n) for n in LEVELS], 1_000_000)
    (variant,) = found.variants
    values = {name: cost.value.value for name, cost in variant.costs.items()}
    assert values == pytest.approx({"cores": 200.01, "memory_mb": 20_050, "mbit_per_s": 16_000.02})
    assert all(cost.hold_out.error_percent == pytest.approx(0, abs=1e-6) for cost in variant.costs.values())
    assert found.largest == 1000
    assert variant.law is not None
    assert "linearly" in variant.law.sentence


def test_several_rates_tell_a_client_from_a_delivery() -> None:
    rows = [row(n, rate) for n in LEVELS for rate in (1.0, 10.0)]
    costs = forecast(rows, 1_000_000, rate_hz=5).variants[0].costs
    assert costs["cores"].value.value == pytest.approx(100.01)
    assert costs["cores"].model.coefficients["per_delivery"].value == pytest.approx(20e-6)
    assert costs["mbit_per_s"].value.value == pytest.approx(8000.01)


def test_the_hold_out_check_finds_a_server_that_is_not_linear() -> None:
    rows = [row(n) for n in LEVELS]
    for r in rows:
        r["server_cpu_us_per_delivery"] *= 1 + r["subscribers"] / 1000
    held = forecast(rows, 1_000_000).variants[0].costs["cores"].hold_out
    assert held.subscribers == 1000
    assert held.measured == pytest.approx(0.42)
    assert held.error_percent < -20
    assert not held.inside


def test_levels_that_are_not_fit_to_conclude_from_are_not_fitted() -> None:
    rows = [row(n) for n in LEVELS[:-1]] + [row(1000, verdict="invalid", server_rss_mb=9999.0)]
    found = forecast(rows, 1_000_000)
    assert found.largest == 300
    assert found.variants[0].costs["memory_mb"].value.value == pytest.approx(20_050)


def test_a_variant_with_too_few_levels_is_left_out_and_said() -> None:
    rows = [row(n) for n in LEVELS] + [row(n, variant="sse") for n in LEVELS[:3]]
    found = forecast(rows, 1_000_000)
    assert [v.variant for v in found.variants] == ["websocket"]
    assert "3 valid levels" in found.left_out["sse"]
    with pytest.raises(UsageError, match="sse: it has 0 valid levels"):
        forecast([row(n, variant="sse", verdict="invalid") for n in LEVELS], 1000)


def test_what_was_not_measured_is_not_forecast() -> None:
    found = forecast([row(n, server_rss_mb=None, server_cpu_us_per_delivery=None) for n in LEVELS], 1000)
    assert list(found.variants[0].costs) == ["mbit_per_s"]
    assert found.variants[0].law is None


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([row(10), row(100)], {}, "at least 4 levels of subscribers, and this result has 2"),
        ([row(n, payload_bytes=n) for n in LEVELS], {}, "one value of payload_bytes"),
        ([row(n, expected=100) for n in LEVELS], {}, "fan-out"),
        ([row(n, r) for n in LEVELS for r in (1.0, 10.0)], {}, "--rate is needed: the sweep has 1, 10"),
        ([row(n) for n in LEVELS], {"rate_hz": 5}, "10 messages/s only.* --vary rate=10,5"),
        ([row(n) for n in LEVELS], {"publishers": 3}, "does not tell the cost at 30"),
        ([row(n) for n in LEVELS], {"publishers": 0}, "--publishers must be 1 to 1,000,000,000: got 0"),
        ([row(n) for n in LEVELS], {"rate_hz": float("nan")}, "--rate must be above 0 .*: got nan"),
        ([{"variant": "websocket", "connections": 100}], {}, "at least 4 levels of subscribers, and this result has 0"),
        ([], {}, "at least 4 levels of subscribers, and this result has 0"),
    ],
)
def test_results_that_allow_no_forecast_are_refused(rows: list[Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        forecast(rows, 1000, **options)


NOISE = np.array([1.01, 0.99, 1.0, 1.01, 0.99, 1.0])


@pytest.mark.parametrize(
    ("costs", "exponent", "reading"),
    [
        (0.5 + 0.01 * np.array(LEVELS), 1.0, "linear"),
        (0.5 + 0.2 * np.log(LEVELS), 0.0, "logarithmic"),
        (0.5 + 0.1 * np.sqrt(LEVELS), 0.5, "between logarithmic and linear"),
        (0.5 + 1e-4 * np.array(LEVELS) ** 2.0, 2.0, "faster than linear"),
        (np.ones(6), None, "cannot tell"),
    ],
)
def test_the_growth_of_a_cost_has_an_exponent(costs: Any, exponent: float | None, reading: str) -> None:
    found = growth(LEVELS, list(costs * NOISE))
    assert found is not None
    assert found.reading == reading
    if exponent is not None:
        assert found.exponent.value == pytest.approx(exponent, abs=0.1)


def test_the_interval_of_the_exponent_contains_the_truth() -> None:
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(40):
        found = growth(LEVELS, list((0.01 + 2e-4 * np.array(LEVELS)) * np.exp(random.normal(0, 0.05, len(LEVELS)))))
        assert found is not None
        inside += (found.exponent.low or -1) <= 1 <= (found.exponent.high or 3)
    assert inside >= 35


def test_a_small_error_outside_of_a_narrow_interval_is_no_failure() -> None:
    rows = [row(n) for n in LEVELS]
    rows[-1]["wire_bytes_per_delivery"] *= 1.01
    held = forecast(rows, 1_000_000).variants[0].costs["mbit_per_s"].hold_out
    assert (held.inside, held.failed) == (False, False)


def test_what_the_check_says_of_each() -> None:
    rows = [row(n) for n in LEVELS]
    rows[-1]["wire_bytes_per_delivery"] *= 1.01
    printed = text(forecast(rows, 1_000_000))
    assert re.search(r"mbit_per_s .* within 10 %\n", printed)
    assert "do not rely" not in printed


def test_a_sweep_over_something_else_too_is_refused() -> None:
    rows = [row(n) for n in LEVELS]
    with pytest.raises(UsageError, match="it varies something else, too"):
        forecast([*rows, *rows], 1_000_000)


def test_a_forecast_in_python(tmp_path: Path) -> None:
    save(comparison([variant("websocket")]), tmp_path / "result")
    with pytest.raises(UsageError, match="at least 4 levels of subscribers"):
        package.forecast(tmp_path / "result", subscribers=1000)
    with pytest.raises(UsageError, match="--subscribers must be 1 to"):
        package.forecast([row(n) for n in LEVELS], subscribers=0)
    assert package.forecast([row(n) for n in LEVELS], subscribers=1_000_000).largest == 1000


def noisy(variant: str) -> list[dict[str, Any]]:
    rows = [row(n, variant=variant) for n in LEVELS]
    for r, factor in zip(rows, NOISE, strict=True):
        for column in ("server_cpu_us_per_delivery", "server_rss_mb", "wire_bytes_per_delivery"):
            r[column] *= factor
    return rows


def test_the_text_has_forecast_check_growth_law_and_assumptions() -> None:
    bent = noisy("sse")
    bent[-1]["server_cpu_us_per_delivery"] *= 3
    printed = text(forecast([*noisy("websocket"), *bent, *[row(n, variant="polling") for n in (1, 10)]], 1_000_000))
    assert "Forecast for 1,000,000 subscribers, 1 publisher, 10 messages/s each:" in printed
    assert re.search(r"websocket +2\d\d \(\d+ to \d+\)", printed)
    assert re.search(r"sse +cores +1000 .* -6\d\.\d +FAILED", printed)
    assert "do not rely on the forecast: sse cores." in printed
    assert re.search(r"websocket +cores .* linear\n", printed)
    assert "websocket, deliveries per second by the Universal Scalability Law: throughput grows linearly" in printed
    assert "polling has no forecast: it has 2 valid levels" in printed
    assert "from 1,000 subscribers, the largest level fitted, to 1000 times as many" in printed


def test_the_forecast_is_json() -> None:
    described = json.loads(json.dumps(as_json(forecast(noisy("websocket"), 1_000_000))))
    (of_variant,) = described["variants"]
    cores = of_variant["costs"]["cores"]
    assert cores["forecast"]["low"] < cores["forecast"]["value"] < cores["forecast"]["high"]
    assert cores["hold_out"]["in_interval"] is True
    assert set(cores["coefficients"]) == {"base", "per_client"}
    assert of_variant["scalability"]["peak"] is None


def test_a_result_that_is_no_sweep_is_refused_by_the_command(tmp_path: Path) -> None:
    save(comparison([variant("websocket")]), tmp_path / "result")
    with pytest.raises(UsageError, match="at least 4 levels of subscribers, and this result has 1; measure one with"):
        command.main([str(tmp_path / "result"), "--subscribers", "1000"], standalone_mode=False)


def test_four_levels_have_no_growth() -> None:
    assert growth([1, 10, 100, 1000], [1, 10, 100, 1000]) is None


@dataclass
class Swept:
    """The parts of a sweep that a chart reads."""

    summary: Table
    variants: list[Variant] = field(default_factory=lambda: [variant("websocket"), variant("sse")])
    environment: Mapping[str, Any] = field(default_factory=dict)
    status: str = "complete"
    missing: str = ""
    conditions: list[str] = field(default_factory=lambda: ["10 messages/s"])


def swept(rows: list[dict[str, Any]]) -> Drawn:
    return Swept(Table([{**r, "reasons": ""} for r in rows]))


def peaking() -> list[dict[str, Any]]:
    """Return rows of a throughput that is highest at 200."""
    rows = noisy("websocket")
    x = law(np.array(LEVELS, dtype=float), 10.0, 0.0, 1 / 200**2) * NOISE
    for r, deliveries_per_s in zip(rows, x.tolist(), strict=True):
        r["server_cpu_percent"] = deliveries_per_s * r["server_cpu_us_per_delivery"] / 1e4
    return rows


def test_the_chart_of_a_forecast_has_points_line_and_check() -> None:
    chart = draw(FORECAST_CHARTS, swept(noisy("websocket")), "cores-forecast")
    (axes,) = chart.figure.axes
    (points,) = [line for line in axes.lines if line.get_label() == "websocket"]
    assert np.asarray(points.get_xdata()).tolist() == list(LEVELS)
    assert max(float(np.max(np.asarray(line.get_xdata()))) for line in axes.lines) == pytest.approx(10_000)
    assert "Hold-out check" in chart.notes
    assert re.search(r"websocket [+-]\d %", chart.notes)
    assert "Not shown, because too few levels are valid: sse" in chart.notes


def test_the_chart_of_the_scaling_law_says_where_throughput_peaks() -> None:
    chart = draw(FORECAST_CHARTS, swept(peaking()), "scaling-law")
    assert re.match(r"Throughput peaks: websocket at (19\d|20\d) subscribers", chart.title)
    assert "highest at" in chart.alt


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("scaling-law", [row(n) for n in LEVELS[:5]], "needs six levels"),
        ("cores-forecast", [row(n, server_cpu_us_per_delivery=None) for n in LEVELS], "CPU time .* is not known"),
        ("cores-forecast", [row(10)], "at least 4 levels"),
        ("cores-forecast", [], "no levels of subscribers"),
    ],
)
def test_a_chart_without_data_is_refused(name: str, rows: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be drawn from this result: .*{words}"):
        draw(FORECAST_CHARTS, swept(rows), name)
