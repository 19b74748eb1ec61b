"""Networks by name and by numbers."""

from __future__ import annotations

import pytest

from rtbench.errors import UsageError
from rtbench.plan.network import NETWORKS, Network, network_of, network_shown, network_text


def test_a_network_is_given_by_its_numbers() -> None:
    network = network_of("rtt=100ms,jitter=10ms,loss=1%,down=1.6mbit,up=750kbit")
    assert network == Network(rtt_s=0.1, jitter_s=0.01, loss=0.01, down_bps=1.6e6, up_bps=750e3)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_numbers_of_a_name_give_the_same_network(name: str) -> None:
    assert network_of(str(NETWORKS[name])) == NETWORKS[name]
    assert network_shown(name) == f"{name} ({NETWORKS[name]})"


def test_a_network_has_one_way_to_be_written() -> None:
    assert network_text("up=1000kbit, rtt=0.1s") == "rtt=100ms,up=1mbit"
    assert network_text("slow4g") == "slow4g"
    assert network_of(network_text("loopback")) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4g", "not known"),
        ("startlink", "starlink"),
        ("rtt=100", "no unit"),
        ("rtt=100ms,rtt=1s", "twice"),
        ("loss=1%", "needs a round-trip time"),
        ("rtt=1ms,jitter=2ms", "jitter must not be more"),
        ("rtt=1ms,loss=60%", "0% to 50%"),
        ("rtt=1ms,down=fast", "a rate such as"),
        ("rtt=1ms,down=1", "a rate such as"),
        ("rtt=1ms,loss=some", "a share such as"),
        ("rtt=11s", "0s to 10s"),
        ("delay=11s,rtt=1s", "got 'delay'"),
    ],
)
def test_what_is_no_network_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        network_text(text)
