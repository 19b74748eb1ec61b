from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench.errors import UsageError
from rtbench.units import clock, format_bytes, format_seconds, parse_bytes, parse_seconds, plain


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param(2, 2.0, id="a whole number is seconds"),
        pytest.param(0.25, 0.25, id="a fraction is seconds"),
        pytest.param("3s", 3.0, id="a whole number"),
        pytest.param(" 1.5 s ", 1.5, id="space around it does not matter"),
        pytest.param("0", 0.0, id="nothing is a time"),
        pytest.param("20ns", 20e-9, id="nanoseconds"),
        pytest.param("250us", 250e-6, id="microseconds"),
        pytest.param("250µs", 250e-6, id="microseconds with the micro sign"),
        pytest.param("500ms", 0.5, id="milliseconds"),
        pytest.param("500 ms", 0.5, id="a space before the unit"),
        pytest.param("2s", 2.0, id="seconds"),
        pytest.param("1.5s", 1.5, id="a fraction of a unit"),
        pytest.param("2m", 120.0, id="m is minutes, not milliseconds"),
        pytest.param("2min", 120.0, id="min is minutes too"),
        pytest.param("1h", 3600.0, id="hours"),
        pytest.param("1m30s", 90.0, id="parts add up"),
        pytest.param("1h 2m 3s 4ms", 3723.004, id="many parts with spaces add up"),
    ],
)
def test_a_time_is_read(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing at all"),
        pytest.param("s", id="a unit without a number"),
        pytest.param("soon", id="a word"),
        pytest.param("5 parsecs", id="a unit that is none"),
        pytest.param("5 minutes", id="a unit written out"),
        pytest.param("2s!", id="something behind the unit"),
        pytest.param("~2s", id="something before the number"),
        pytest.param("1m30", id="a last part without a unit"),
        pytest.param("1s and 2s", id="a word between the parts"),
        pytest.param("-5s", id="less than nothing"),
        pytest.param("1,5s", id="a decimal comma"),
        pytest.param("2S", id="a capital unit"),
        pytest.param("nan", id="not a number"),
        pytest.param("inf", id="for ever"),
        pytest.param("100", id="a number without a unit"),
    ],
)
def test_what_is_no_time_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_seconds(text)
    assert repr(text) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0.512, "512 ms", id="below a second in milliseconds"),
        pytest.param(1.0, "1 s", id="a second"),
        pytest.param(0.001, "1 ms", id="a millisecond"),
        pytest.param(0.00025, "250 us", id="below a millisecond in microseconds"),
        pytest.param(0.0123456, "12.3 ms", id="three digits"),
        pytest.param(2.0004, "2 s", id="no zeros behind the point"),
        pytest.param(3600.0, "3600 s", id="no exponent"),
        pytest.param(12_345.6, "12300 s", id="three digits of a large number"),
        pytest.param(2.5e-9, "0.0025 us", id="nanoseconds as a fraction"),
        pytest.param(0.0, "0 us", id="nothing"),
        pytest.param(-0.25, "-250 ms", id="a negative difference"),
    ],
)
def test_a_time_is_written_with_its_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_what_is_written_is_read_again_to_three_digits(seconds: float) -> None:
    assert math.isclose(parse_seconds(format_seconds(seconds)), seconds, rel_tol=0.005 * 1.001)


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), (4096, 4096), ("500kB", 500_000), ("64MiB", 64 * 2**20), (" 2 GiB ", 2 * 2**30), ("1KiB", 1024)],
)
def test_a_size_may_have_a_unit(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size
    assert parse_bytes(format_bytes(size)) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5MiB", "64 mib", "MiB", "1 2", "١MiB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size; write bytes, or a number with kB"):
        parse_bytes(text)


def test_a_size_is_written_in_the_largest_unit_that_divides_it() -> None:
    assert [format_bytes(size) for size in (1000, 1024, 3 * 2**20, 2**30, 0)] == ["1000", "1KiB", "3MiB", "1GiB", "0"]


@pytest.mark.parametrize(("value", "text"), [(990.0, "990"), (0.00005, "0.00005"), (12345.6, "12300"), (0.5, "0.5")])
def test_numbers_in_sentences_are_plain(value: float, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(4.6, "0:05"), (754, "12:34"), (5400, "1:30:00"), (3600, "1:00:00")])
def test_a_long_time_is_shown_with_hours(seconds: float, text: str) -> None:
    assert clock(seconds) == text
