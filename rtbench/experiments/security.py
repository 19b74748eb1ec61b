"""Security: what protecting a server costs, and whether it keeps out whom it should.

A trial is one variant with one protection, with a fresh server process and a fresh client process: the client opens its
connections one after the other, and then receives messages on all of them. Each block has one trial of each variant
with each protection, the protections of a variant right after each other, so that a ratio compares neighbours.

After the trials, each variant is tried to get into: so many times in each way, by a client that a process of its own
runs. There the server has users and an access list; where it is about TLS, TLS.

Names, passwords and access list are made for the experiment: they are in files that only this user can read, and that
are gone after it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rtbench.analysis.security import AttemptCounts, ProtectedTrial, ProtectionCounts
from rtbench.errors import Error, ResultError, TrialError, UsageError
from rtbench.experiments.limits import limits_for
from rtbench.experiments.runner import Note
from rtbench.plan.login import Login
from rtbench.plan.protection import (
    ACCESS_LIST,
    ENTRANCES,
    OTHER,
    OWN_TOPIC,
    PLAIN,
    PROTECTIONS,
    USER,
    WITNESS,
    Protection,
    parse_protection,
)
from rtbench.plan.settings import SETTINGS, Given, Setting, listed, make_setting
from rtbench.plan.values import parser
from rtbench.plan.variant import DEFAULT_CLIENT, Variant
from rtbench.result.security import SecurityResult
from rtbench.system import process
from rtbench.system.load import Load
from rtbench.transports import registry
from rtbench.transports.choice import chosen_variants
from rtbench.transports.records import AttemptsPlan, ProtectedPlan, ProtectedRecord
from rtbench.trial import intruder, protected_client
from rtbench.trial.coordinator import Coordinator
from rtbench.trial.one_client import record_of
from rtbench.trial.phase import STARTING_S, Phase, closing_s, left_s, reporting
from rtbench.trial.servers import RunningServer, StartedServer

_NAME = "protected-client"
_OPENING_S, _DRAIN_TIMEOUT_S, _ATTEMPT_S = 0.005, 10.0, 0.004
_NEEDED = ("users", "access_list")  # the options that a server must have


def _parse_protection(value: Any) -> str:
    return parse_protection(parser("protection", str)(value))


_OWN_SETTINGS = {
    s.name: s
    for s in (
        replace(
            make_setting("protection", str, None, "NAME", f"how the server is protected: {', '.join(PROTECTIONS)}"),
            parse=_parse_protection,
            many=True,
            shown_default="all",
        ),
        make_setting("connections", int, 50, "N", "opened in a trial, one after the other"),
        make_setting("messages", int, 50, "N", "delivered to each connection in a trial"),
        replace(SETTINGS["duration"], default=1.0, shown_default="1s", help="time over which they are published"),
        replace(SETTINGS["payload"], help="bytes of a message"),
        replace(SETTINGS["trials"], default=5, shown_default="5", help="of each variant with each protection"),
        make_setting("attempts", int, 1000, "N", "to get in, in each way; 0: none"),
    )
}


@dataclass(frozen=True)
class Trial:
    """A step: one variant with one protection."""

    block: int
    variant: Variant
    protection: str


@dataclass(frozen=True)
class Attempts:
    """A step: all attempts to get into the server of a variant in one way."""

    variant: Variant
    entrance: str


Step = Trial | Attempts


class Security:
    """The experiment."""

    kind = "security"
    result_type = SecurityResult

    def settings(self) -> Mapping[str, Setting]:
        """Return the settings that choose the variants, and those of this experiment."""
        chosen = ("transport", *registry.client_settings(), "server", "tier", "client", "option", "server_option")
        return {name: registry.settings()[name] for name in (*chosen, "seed")} | _OWN_SETTINGS

    def start(self, settings: Mapping[str, Given]) -> SecurityResult:
        """Return an empty result with the variants that the settings name, all that can be protected without any."""
        variants = _variants(settings)
        protections = _protections(settings)
        trials = settings["trials"].value * len(variants) * len(protections)
        return SecurityResult.start(self.kind, settings, variants, trials)

    def resume(self, result: SecurityResult) -> None:
        """Variants are compared with themselves, so the rest can be measured wherever they are installed."""
        for variant in result.variants:
            try:
                _check(variant)
            except UsageError as error:
                raise ResultError(f"{variant.name} cannot be measured here: {error}") from error

    def steps(self, result: SecurityResult) -> Iterator[Step]:
        """Yield the trials that are left, then the attempts."""
        yield from _trials(result)[len(result.trials) :]
        yield from _attempts(result)[len(result.attempts) :]

    def name(self, step: Step) -> str:
        """Return the variant with its protection, or with the way in."""
        if isinstance(step, Trial):
            return f"{step.variant.name}, {PROTECTIONS[step.protection].title}"
        return f"{step.variant.name}, {ENTRANCES[step.entrance].title}"

    def expected_s(self, result: SecurityResult, step: Step) -> float:
        """Return about how long a step takes."""
        if isinstance(step, Attempts):
            return 2 * STARTING_S + _ATTEMPT_S * float(result.settings["attempts"].value)
        duration_s: float = result.settings["duration"].value
        return 2 * STARTING_S + _OPENING_S * result.connections + duration_s + closing_s(result.connections)

    def following(self, result: SecurityResult, step: Step) -> Iterator[tuple[Step, int]]:
        """Yield the kinds of steps that are left, with their numbers."""
        trials = _trials(result)[len(result.trials) + isinstance(step, Trial) :]
        if trials:
            yield trials[0], len(trials)
        attempts = _attempts(result)[len(result.attempts) + isinstance(step, Attempts) :]
        if attempts:
            yield attempts[0], len(attempts)

    def most_steps(self, result: SecurityResult) -> int:
        """Return the number of trials, and of the ways in for each variant."""
        return result.planned_trials + len(_attempts(result))

    def limits(self, result: SecurityResult) -> AbstractContextManager[None]:
        """Let this process and those it starts open enough files."""
        return limits_for(result.variants, result.connections, f"--connections {result.connections}")

    async def measure(self, result: SecurityResult, step: Step, executor: Callable[[], Executor], note: Note) -> None:
        """Measure a step; what goes wrong stands in the `error` of its counts."""
        running = executor()
        try:
            if isinstance(step, Trial):
                result.add(ProtectedTrial(await _trial(result, step, running, note), step.variant))
            else:
                result.add_attempts(await _tried(result, step, running))
        finally:
            running.shutdown(wait=False, cancel_futures=True)


SECURITY = Security()
EXPERIMENTS = (SECURITY,)


def _protections(settings: Mapping[str, Given]) -> list[str]:
    """Return the protections in order, the plain server always: it is what the others are compared with."""
    asked = listed(settings["protection"].value) or list(PROTECTIONS)
    return [name for name in PROTECTIONS if name in (PLAIN, *asked)]


def _variants(settings: Mapping[str, Given]) -> list[Variant]:
    variants, named = chosen_variants(settings, everything=True), settings["transport"].value is not None
    found = []
    for variant in variants:
        try:
            _check(variant)
        except UsageError:
            if named:
                raise
        else:
            found.append(variant)
    if not found:
        raise UsageError("no installed transport has a server that can ask for a password")
    return found


def _check(variant: Variant) -> None:
    """Refuse a variant whose server has no protection, or whose client cannot try to get past it."""
    server = registry.server(variant.transport, variant.server)
    lacks = [option for option in _NEEDED if option not in server.options] + ["tls"] * (not server.tls)
    if lacks:
        raise UsageError(f"{variant.server} of {variant.transport} cannot be protected: its server has no {lacks[0]}")
    if registry.client(variant.transport, DEFAULT_CLIENT).attempt is None:
        raise UsageError(f"{variant.transport} cannot be tried to get into: its client has no `attempt`")
    if registry.client(variant.transport, variant.client).connect is None:
        raise UsageError(f"the client {variant.client} of {variant.transport} has no `connect`")


def _trials(result: SecurityResult) -> list[Trial]:
    """Return all trials in order: in each block the variants in random order, each with all its protections."""
    drawn, found = random.Random(result.settings["seed"].value), []
    for block in range(result.settings["trials"].value):
        for variant in drawn.sample(result.variants, len(result.variants)):
            protections = _protections(result.settings)
            found += [Trial(block, variant, name) for name in drawn.sample(protections, len(protections))]
    return found


def _attempts(result: SecurityResult) -> list[Attempts]:
    if not result.settings["attempts"].value:
        return []
    return [Attempts(variant, entrance) for variant in result.variants for entrance in ENTRANCES]


@contextmanager
def _protected(
    variant: Variant, protection: Protection, *, expired: bool = False
) -> Iterator[tuple[StartedServer, Login]]:
    """Yield the server of a variant as it is protected, and the login of the witness."""
    with tempfile.TemporaryDirectory(prefix="rtbench-") as directory:  # only this user can read it
        passwords = {name: secrets.token_hex(8) for name in (USER, OTHER, WITNESS)}
        users, rights = Path(directory, "users"), Path(directory, "access-list")
        users.write_text("".join(f"{name}:{password}\n" for name, password in passwords.items()))
        rights.write_text(ACCESS_LIST)
        options = dict(variant.server_options)
        if protection.users:
            options["users"] = str(users)
        if protection.rights:
            options["access_list"] = str(rights)
        login = Login(USER, passwords[USER]) if protection.users else Login()
        server = StartedServer(variant.transport, variant.server, options, protection.tls, login=login, expired=expired)
        yield server, Login(WITNESS, passwords[WITNESS])


async def _trial(result: SecurityResult, step: Trial, executor: Executor, note: Note) -> ProtectionCounts:
    protection, record, loads, error, url = PROTECTIONS[step.protection], ProtectedRecord(), _Loads(), None, ""
    duration_s: float = result.settings["duration"].value
    try:
        coordinator = Coordinator([_NAME])
        phase = partial(_phase, coordinator, result.connections, duration_s)
        with _protected(step.variant, protection) as (source, _):
            async with reporting(phase, note), source.running() as server:
                url = server.url

                def start(control: tuple[str, int]) -> Future[ProtectedRecord]:
                    plan = _plan(result, step, coordinator, control)
                    return executor.submit(protected_client.connect_and_hear, plan)

                steps = _steps(coordinator, server, result, loads)
                connections, meanwhile = result.connections, "its connections were measured"
                record = await record_of(server, coordinator, start, steps, connections, meanwhile)
        error = record.errors[0] if record.errors else None
    except UsageError:
        raise
    except (Error, OSError) as failure:
        error = str(failure)
    return ProtectionCounts(
        index=len(result.trials),
        block=step.block,
        variant=step.variant.name,
        protection=step.protection,
        error=error,
        server_url=url,
        opening_ns=tuple(record.opening_ns),
        opening_wire=record.opening,
        load_before=loads.before,
        load_opened=loads.opened,
        load_heard=loads.heard,
        deliveries=record.deliveries,
        delivery_wire=record.wire,
        handshakes=record.handshakes,
        resumed=record.resumed,
    )


def _plan(result: SecurityResult, step: Trial, coordinator: Coordinator, control: tuple[str, int]) -> ProtectedPlan:
    return ProtectedPlan(
        name=_NAME,
        control=control,
        token=coordinator.token,
        transport=step.variant.transport,
        client=step.variant.client,
        options=dict(step.variant.options),
        topic=OWN_TOPIC,
        connections=result.connections,
        messages=result.settings["messages"].value,
        payload_bytes=result.settings["payload"].value,
        duration_s=result.settings["duration"].value,
        drain_timeout_s=_DRAIN_TIMEOUT_S,
        resuming=PROTECTIONS[step.protection].resumed,
    )


@dataclass
class _Loads:
    """The server's load with only the warm-up connection, with all of them, and after the messages."""

    before: Load | None = None
    opened: Load | None = None
    heard: Load | None = None


def _open_within_s(connections: int) -> float:
    return 20.0 + 0.1 * connections


def _phase(coordinator: Coordinator, connections: int, duration_s: float) -> Phase:
    at, ending_s = coordinator.standing(), closing_s(connections)
    if at.step == "stop":
        return Phase("closing", max(ending_s - at.elapsed_s, 0.0))
    if at.step == "hear":
        return Phase("delivering", max(duration_s - at.elapsed_s, 0.0) + ending_s)
    opening_s = _OPENING_S * connections
    left = left_s(opening_s, at, _open_within_s(connections), connections) + duration_s + ending_s
    if at.step in ("", "connect"):
        return Phase("starting", STARTING_S + left)
    return Phase("connecting", left, at.count, connections)


async def _steps(coordinator: Coordinator, server: RunningServer, result: SecurityResult, loads: _Loads) -> None:
    """Take the client through the trial; note the server's load on the way."""
    within_s: float = _open_within_s(result.connections)

    async def taken(step: str, within_s: float) -> Load:
        if not await coordinator.done(step, [_NAME], within_s):
            raise TrialError(f"the client process did not finish the step {step!r} with {server.url}")
        return process.load(server.processes)

    try:
        loads.before = await taken("connect", _open_within_s(1))
        coordinator.tell("open")
        loads.opened = await taken("open", within_s)
        coordinator.tell("hear")
        loads.heard = await taken("hear", within_s + result.settings["duration"].value + _DRAIN_TIMEOUT_S)
    finally:
        coordinator.tell("stop")


async def _tried(result: SecurityResult, step: Attempts, executor: Executor) -> AttemptCounts:
    entrance, number = ENTRANCES[step.entrance], result.settings["attempts"].value
    protection = Protection("", tls=bool(entrance.tls), users=True, rights=True)
    try:
        with _protected(step.variant, protection, expired=entrance.tls == "expired") as (source, witness):
            async with source.running() as server:
                plan = AttemptsPlan(
                    transport=step.variant.transport,
                    options=dict(step.variant.options),
                    url=server.url,
                    ca=server.ca,
                    entrance=step.entrance,
                    attempts=number,
                    login=server.login,
                    witness=witness,
                )
                record = await asyncio.wrap_future(executor.submit(intruder.attempts, plan))
    except UsageError:
        raise
    except (Error, OSError) as error:
        return AttemptCounts(step.variant.name, step.entrance, 0, 0, {}, str(error))
    return AttemptCounts(step.variant.name, step.entrance, number, record.let_in, dict(record.answers), None)
