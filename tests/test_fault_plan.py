"""Faults as a user writes them."""

from __future__ import annotations

import pytest

from rtbench.errors import UsageError
from rtbench.plan.faults import KINDS, Fault, in_order, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cut@2s", Fault("cut", 2.0)),
        (" cut @ 2s ", Fault("cut", 2.0)),
        ("stall@2s for 1s", Fault("stall", 2.0, 1.0)),
        ("freeze-server@500ms for 1.4s", Fault("freeze-server", 0.5, 1.4)),
        ("offline@2s for 3s of 50%", Fault("offline", 2.0, 3.0, 0.5)),
        ("offline@2s for 3s of 0.5", Fault("offline", 2.0, 3.0, 0.5)),
        ("kill-server@3s for 0s", Fault("kill-server", 3.0)),
    ],
)
def test_a_fault_is_read_and_written(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault
    assert parse_fault(str(fault)) == fault


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cut", "must be like"),
        ("cut@2", "no unit"),
        ("cut@2s for 1s", "does not last"),
        ("stall@2s", "for 1s"),
        ("stal@2s for 1s", "did you mean stall"),
        ("stall@2s for 1s of 50%", "takes no share"),
        ("offline@2s for 3s of 0%", "above 0"),
        ("offline@2s for 3s of 120%", "above 0"),
        ("offline@2s for 3s of many", "above 0"),
        ("stall@-2s for 1s", "negative"),
    ],
)
def test_what_is_no_fault_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_fault(text)


def test_faults_come_in_order_and_do_not_overlap() -> None:
    cut, stall = parse_fault("cut@3s"), parse_fault("stall@1s for 1s")
    assert in_order([cut, stall]) == [stall, cut]
    with pytest.raises(UsageError, match="before 'stall@1s for 1s' is over"):
        in_order([parse_fault("cut@2s"), stall])


def test_every_kind_says_what_it_does() -> None:
    assert all(kind.meaning for kind in KINDS.values())
