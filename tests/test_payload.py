from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtbench.plan import payload

publishers = st.integers(0, 99_999)
sequences = st.integers(0, payload.PROBE)
due_times = st.integers(0, 2**63 - 1)


def table(headers: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(headers, dtype=np.uint8).reshape(-1, payload.HEADER_BYTES)


@given(st.lists(st.tuples(publishers, sequences, due_times, st.integers(39, 200)), max_size=20))
def test_a_whole_trial_of_headers_comes_back_as_it_was_written(rows: list[tuple[int, int, int, int]]) -> None:
    headers = b"".join(payload.build(*row)[: payload.HEADER_BYTES] for row in rows)
    publisher, sequence, due_ns, good = payload.parse(table(headers))
    assert list(zip(publisher, sequence, due_ns, strict=True)) == [row[:3] for row in rows]
    assert good.all()
    assert len(good) == len(rows)


@given(publishers, sequences, due_times, st.integers(payload.HEADER_BYTES, 2000))
def test_a_payload_has_exactly_the_size_asked_for(publisher: int, sequence: int, due: int, size: int) -> None:
    built = payload.build(publisher, sequence, due, size)
    assert len(built) == size
    assert built[payload.HEADER_BYTES :] == payload.padding(size)


def test_the_fields_stand_where_the_header_says() -> None:
    built = payload.build(3, 42, 12_345_678_901, 60)
    assert built == b"p00003 n000000042 d0000000012345678901 " + b"." * 21
    assert payload.HEADER_BYTES == 39
    assert built[payload.PUBLISHER] == b"00003"
    assert built[payload.SEQUENCE] == b"000000042"
    assert built[payload.DUE] == b"0000000012345678901"


@given(publishers, sequences, due_times, st.integers(payload.HEADER_BYTES, 200))
def test_a_payload_is_one_line_of_readable_ascii(publisher: int, sequence: int, due: int, size: int) -> None:
    assert re.fullmatch(rb"[ -~]+", payload.build(publisher, sequence, due, size))


@given(publishers, sequences, due_times)
def test_only_the_readiness_probe_is_one(publisher: int, sequence: int, due: int) -> None:
    built = payload.build(publisher, sequence, due, 100)
    assert payload.is_probe(built) == (sequence == payload.PROBE)
    assert payload.is_probe(payload.build(publisher, payload.PROBE, due, 100))


GOOD = payload.build(7, 8, 9, 39)
CORRUPTED = [
    pytest.param(GOOD[:at] + bytes([byte]) + GOOD[at + 1 :], id=f"byte {at} of the header is {what}")
    for at in range(payload.HEADER_BYTES)
    for byte, what in ((0, "zero"), (ord("/"), "just below the digits"), (ord(":"), "just above"), (255, "255"))
]


@pytest.mark.parametrize("header", CORRUPTED)
def test_a_corrupted_header_is_detected_and_its_neighbours_are_not_blamed(header: bytes) -> None:
    publisher, sequence, due_ns, good = payload.parse(table(GOOD + header + GOOD))
    assert good.tolist() == [True, False, True]
    for values, value in ((publisher, 7), (sequence, 8), (due_ns, 9)):
        assert values[[0, 2]].tolist() == [value, value]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="an empty message"),
        pytest.param(GOOD[:20], id="a message cut off in its header"),
        pytest.param(b"\n" + GOOD[:-1], id="a header moved by one byte"),
        pytest.param(b"hello, world", id="a message of somebody else"),
    ],
)
def test_what_is_not_ours_is_not_well_formed(content: bytes) -> None:
    assert not payload.parse(table(content.ljust(payload.HEADER_BYTES, b"\0")))[3].any()


def test_no_headers_are_no_messages() -> None:
    assert [len(column) for column in payload.parse(table(b""))] == [0, 0, 0, 0]
