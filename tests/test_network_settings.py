"""What --network, --link and --fault change in a measurement, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rtbench.errors import UsageError
from rtbench.experiments.compare import RUN
from rtbench.links import choice
from rtbench.links.choice import link_kind
from rtbench.plan.faults import parse_fault
from rtbench.plan.settings import SETTINGS, Given, resolve
from rtbench.transports import registry
from rtbench.transports.choice import chosen_variants


def settings(**given: object) -> dict[str, Given]:
    return resolve({name: (value, "flag") for name, value in given.items()}, SETTINGS)


def test_over_a_network_a_trial_is_slow_enough_and_long_enough() -> None:
    found = settings(network="3g")
    assert found["rate"].value == pytest.approx(0.5 / 0.3, rel=0.05)
    assert found["rate"].value * found["duration"].value >= 15
    assert found["warmup"].value == pytest.approx(4 * 0.3)


def test_what_the_user_says_stays() -> None:
    found = settings(network="3g", rate=50.0, warmup=0.1, duration=1.0)
    assert (found["rate"].value, found["warmup"].value, found["duration"].value) == (50.0, 0.1, 1.0)


def test_a_fast_network_changes_nothing() -> None:
    assert settings(network="lan")["rate"].value == SETTINGS["rate"].default
    assert settings(network="loopback")["duration"].value == SETTINGS["duration"].default


def test_a_trial_goes_on_after_its_last_fault_and_has_no_sparse_part() -> None:
    found = settings(fault=["stall@2s for 1s", "cut@1s"])
    assert found["warmup"].value + found["duration"].value == pytest.approx(5.0)
    assert found["sparse"].value is False


def test_a_fault_after_the_end_of_the_trial_is_refused() -> None:
    with pytest.raises(UsageError, match="ends after 3s, but the trial takes 2"):
        settings(fault="stall@2s for 1s", duration=2.0)


def test_a_fault_has_one_way_to_be_written() -> None:
    assert settings(fault="stall @ 2s for 1000ms")["fault"].value == "stall@2s for 1s"


def test_every_variant_is_measured_over_every_network() -> None:
    given = {"transport": (["sse", "websocket"], "flag"), "network": (["loopback", "3g"], "flag")}
    variants = chosen_variants(resolve({**given, "control": (False, "flag")}, registry.settings()), everything=True)
    assert [v.name for v in variants] == ["sse", "sse (3g)", "websocket", "websocket (3g)"]


def test_a_run_has_one_network() -> None:
    given = {"transport": ("sse", "flag"), "network": (["loopback", "3g"], "flag")}
    with pytest.raises(UsageError, match="give one value for --network"):
        chosen_variants(resolve(given, registry.settings()), everything=False)


CASES = [  # asked, networks, faults, why there is no packet link; the kind
    ("auto", ["loopback"], [], None, "loopback"),
    ("auto", ["loopback"], ["freeze-server@1s for 1s"], None, "loopback"),
    ("auto", ["loopback", "3g"], [], None, "packet"),
    ("auto", ["3g"], [], "no namespaces", "stream"),
    ("stream", ["3g"], [], None, "stream"),
    ("packet", ["wifi"], [], None, "packet"),
    ("auto", ["loopback"], ["cut@1s"], None, "packet"),
    ("auto", ["3g"], ["discard@1s for 1s"], None, "stream"),
    ("auto", ["3g"], ["blackhole@1s for 1s"], None, "packet"),
]


@pytest.mark.parametrize(("asked", "networks", "faults", "missing", "kind"), CASES)
def test_the_kind_of_link(
    asked: str,
    networks: Sequence[str],
    faults: Sequence[str],
    missing: str | None,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "packet_link_missing", lambda: missing)
    assert link_kind(asked, networks, [parse_fault(text) for text in faults]) == kind


REFUSED = [
    ("stream", ["loopback"], [], None, "give one with --network"),
    ("stream", ["wifi"], [], None, "loss=0.2% needs a packet link"),
    ("auto", ["wifi"], [], "no namespaces", "loss=0.2% needs a packet link: no namespaces"),
    ("packet", ["3g"], [], "no namespaces", "--link packet needs a packet link: no namespaces"),
    ("packet", ["3g"], ["discard@1s for 1s"], None, "needs a stream link"),
    ("stream", ["3g"], ["blackhole@1s for 1s"], None, "needs a packet link"),
    ("auto", ["wifi"], ["discard@1s for 1s"], None, "measure them apart"),
]


@pytest.mark.parametrize(("asked", "networks", "faults", "missing", "said"), REFUSED)
def test_what_no_link_can_do_is_refused(
    asked: str,
    networks: Sequence[str],
    faults: Sequence[str],
    missing: str | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "packet_link_missing", lambda: missing)
    with pytest.raises(UsageError, match=said):
        link_kind(asked, networks, [parse_fault(text) for text in faults])


def test_a_server_at_a_url_is_measured_over_a_stream_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "packet_link_missing", lambda: None)

    def links(**given: object) -> set[str]:
        asked = {"transport": ["sse"], "url": "http://127.0.0.1:9999", **given}
        known = resolve({name: (value, "flag") for name, value in asked.items()}, registry.settings())
        return {variant.link for variant in RUN.start(known).variants}

    assert links() == {"loopback"}
    assert links(network="lan") == {"stream"}
    with pytest.raises(UsageError, match="--link packet needs a server that rtbench starts"):
        links(network="lan", link="packet")
    with pytest.raises(UsageError, match=r"loss=0\.2% needs a packet link"):
        links(network="wifi")
