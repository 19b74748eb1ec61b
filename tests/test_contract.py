"""The contract of every installed transport: each server of it with each client, in every variant of the client.

The cases are those of `rtbench contract`. Nothing here knows a transport by name, but for the table of what is known to
acknowledge: a package that adds a transport by its entry points is held to the same contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import pytest

from rtbench.conformance.case import Broken, Case, Inapplicable, cases_of
from rtbench.conformance.running import run
from rtbench.conformance.subject import Subject, relaying, subjects_of
from rtbench.errors import UsageError
from rtbench.plan.variant import DEFAULT_SERVER, LEAN_CLIENT
from rtbench.transports import registry
from tests.programs import needs, programs_of

WITHIN_S = 15.0  # until a case gives up on something that must come

ACKNOWLEDGES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "polling": lambda options: True,
    "long-polling": lambda options: True,
    "sse": lambda options: True,
    "websocket": lambda options: False,
    "mqtt": lambda options: options["qos"] > 0,
}


def subjects() -> list[Subject]:
    found = []
    for name, server in registry.server_names():
        for client in [client for spoken, client in registry.client_names() if spoken == name]:
            try:
                if registry.client(name, client).connect is not None:  # else: tests/test_blocking_client.py
                    found += subjects_of(name, server, client)
                    if "websocket" in registry.server(name, server).options:
                        framed = subjects_of(name, server, client, ["websocket=yes"])
                        every = server == DEFAULT_SERVER
                        if every or client == LEAN_CLIENT:
                            found += [s for s in framed if s.variant["qos"] == 1 or (every and not s.tls)]
            except UsageError:  # it cannot be loaded: its tests say so
                found.append(Subject(name, server, client))
    return found


def parameter(subject: Subject, *more: Case) -> Any:
    """Return a parameter, with the program that the server is, where it is one."""
    marks = [needs(*programs)] if (programs := programs_of(subject.server)) else []
    if (
        subject.server == "nchan"
        or subject.server_options
        or (subject.client == LEAN_CLIENT and (subject.tls or subject.server != DEFAULT_SERVER))
    ):
        marks.append(pytest.mark.long)
    return pytest.param(subject, *more, id=", ".join(map(str, (*more, subject))), marks=marks)


def test_every_server_has_a_client_and_every_client_a_server() -> None:
    assert {name for name, _ in registry.server_names()} == {name for name, _ in registry.client_names()}


@pytest.mark.parametrize(("name", "client"), registry.client_names())
def test_a_client_declares_the_options_of_its_variants(name: str, client: str) -> None:
    spoken = registry.client(name, client)
    assert spoken.variants
    assert all(variant.keys() <= spoken.options.keys() for variant in spoken.variants)
    assert spoken.software
    assert "\n" not in spoken.software


@pytest.mark.process
@pytest.mark.parametrize(("subject", "case"), [parameter(s, case) for s in subjects() for case in cases_of(s)])
def test_the_contract(subject: Subject, case: Case) -> None:
    differs = case.text in registry.differs(subject.transport, subject.server, subject.server_options)
    try:
        with pytest.raises(Broken) if differs else nullcontext():
            run(case, subject, WITHIN_S / 3 if differs else WITHIN_S)
    except Inapplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.process
@pytest.mark.parametrize("subject", [parameter(s) for s in subjects() if s.transport in ACKNOWLEDGES and not s.tls])
def test_publish_returns_true_where_the_transport_acknowledges_and_only_there(subject: Subject) -> None:
    async def acknowledged() -> bool:
        async with asyncio.timeout(WITHIN_S), relaying(subject) as relay:
            return await (await relay.connect()).publish("topic", b"x")

    assert asyncio.run(acknowledged()) == ACKNOWLEDGES[subject.transport](subject.options)
