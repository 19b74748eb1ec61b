"""An exception of a plugin stands in the message of the trial that it spoiled, with file and line."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from rtbench.errors import UsageError
from rtbench.plan.variant import DEFAULT_CLIENT, DEFAULT_SERVER
from rtbench.plan.workload import Workload
from rtbench.transports import Meter, registry
from rtbench.transports.choice import variants_of
from rtbench.trial.executor import FreshProcesses
from rtbench.trial.planning import TrialPlan
from rtbench.trial.server_process import server_process
from rtbench.trial.trial import Trial, conduct
from rtbench.trial.uncaught import note, take_from_tasks, taken
from tests.connecting import connect
from tests.plugins import FAILS, installed, modules, place


@dataclass
class Case:
    """What fails where, and what is said of it."""

    where: str
    code: str
    said: str
    marks: tuple[pytest.MarkDecorator, ...] = (pytest.mark.process,)


IN_SERVER = f"the server raised {FAILS['other_server.py']}"
IN_CLIENT = f"a client process raised {FAILS['other_client.py']}"
AFTER_PROBE = "TASKS.append(payload); len(TASKS) < 3 or "
BACKGROUND = "TASKS.append(asyncio.ensure_future(later()))"
LONG = (pytest.mark.long,)  # the trial waits for the readiness probe first

CASES = [
    Case("server", "fail()", IN_SERVER, LONG),
    Case("server", "threading.Thread(target=fail).start(); payload = b''", IN_SERVER, LONG),
    Case("server", BACKGROUND, IN_SERVER, LONG),
    Case(
        "server",
        "sys.exit(3)",
        f"the server died in mid-trial (exit code 3); the server raised SystemExit: 3 ({place('other_server.py', '{server}')})",
    ),
    Case("connect", "fail()", IN_CLIENT),
    Case("subscribe", "fail()", IN_CLIENT),
    Case("subscribe", f"{BACKGROUND}; await asyncio.sleep(60)", IN_CLIENT, LONG),
    Case("deliver", "fail()", IN_CLIENT),
    Case("deliver", "message = message[:3]", "a client process raised ValueError: not enough values to unpack"),
    Case("publish", "fail()", IN_CLIENT),
    Case("publish", f"{AFTER_PROBE}fail()", IN_CLIENT, LONG),
    Case("publish", BACKGROUND, IN_CLIENT, LONG),
]


def trial_of(directory: Path, **code: str) -> Trial:
    with installed(directory, *modules(**code)):
        (variant,) = variants_of("other", DEFAULT_SERVER, DEFAULT_CLIENT, {})
        plan = TrialPlan(0, 0, variant, Workload(duration_s=0.2, warmup_s=0.0), 1, set_up_within_s=2.0)
        return asyncio.run(conduct(plan, FreshProcesses()))


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c.where}: {c.code}", marks=c.marks) for c in CASES])
def test_it_is_said(case: Case, tmp_path: Path) -> None:
    assert case.said in str(trial_of(tmp_path / "installed", **{case.where: case.code}).error)


@pytest.mark.process
def test_a_server_process_tells_of_what_nobody_caught(tmp_path: Path) -> None:
    async def publish() -> list[str]:
        async with server_process("other", DEFAULT_SERVER) as server, connect("other", server.url, Meter()) as client:
            stream = await client.subscribe("topic")
            for _ in range(2):  # the task of the first has run when the second comes
                await client.publish("topic", b"x")
                await anext(stream)
            await server.relay_log()
            return server.errors

    with installed(tmp_path / "installed", *modules(server=BACKGROUND)):
        assert asyncio.run(publish()) == [FAILS["other_server.py"]]


async def fails(error: BaseException) -> None:
    raise error


def test_a_group_of_errors_is_the_first_of_them_and_a_long_text_is_one_line() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(ValueError("one\n  two")))

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(main())
    assert registry.described(raised.value) == "ValueError: one two"


def test_a_task_that_somebody_awaited_tells_nothing() -> None:
    async def main() -> list[str]:
        errors: list[str] = []
        tasks = [asyncio.ensure_future(fails(KeyError(name))) for name in ("forgotten", "awaited")]
        await asyncio.wait(tasks)
        tasks[1].exception()
        take_from_tasks(partial(note, errors))
        return errors

    assert asyncio.run(main()) == ["KeyError: 'forgotten'"]


def test_what_a_library_logs_as_an_error_is_taken_once_and_only_meanwhile() -> None:
    errors: list[str] = []

    def log() -> None:
        for level in (logging.WARNING, logging.ERROR, logging.ERROR):
            try:
                raise KeyError(logging.getLevelName(level))
            except KeyError:
                logging.getLogger("some.library").log(level, "a handler failed", exc_info=True)

    with taken(partial(note, errors)):
        log()
        logging.getLogger("some.library").error("no exception")
    log()
    assert errors == ["KeyError: 'ERROR'"]


@pytest.mark.long
def test_clients_that_leave_are_no_error_of_the_server(tmp_path: Path) -> None:
    code = "TASKS.append(asyncio.ensure_future(self.reader.readexactly(1)))"
    reader = "if not hasattr(self, 'reader'): self.reader = asyncio.StreamReader(); self.reader.feed_eof()"
    trial = trial_of(tmp_path / "installed", server=f"{reader}\n        {code}")
    assert trial.error is None


WORKING = modules()[0]
BROKEN = [
    ("def x(): pass", "", "the server 'embedded' of other cannot be loaded: AttributeError: module 'other_server' has no attribute 'serve'"),
    (WORKING, "connect = print\ndef software(): return {}['x']", "the client 'library' of other cannot be loaded: KeyError: 'x' (other_client.py, line 2)"),
    (WORKING, "", "the client 'library' of other (other_client) defines neither `connect` nor `publish` and `subscribe`"),
    (WORKING, "connect = print\ndef steady(rate_hz): return {}['x']", "`steady` of the client 'library' of other fails: KeyError: 'x' (other_client.py, line 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("server", "client", "said"), BROKEN, ids=["no serve", "software", "nothing", "steady"])
def test_a_module_that_is_none_is_refused_in_one_line(server: str, client: str, said: str, tmp_path: Path) -> None:
    def used() -> None:
        registry.server("other")
        registry.client("other").steady(1.0)

    with installed(tmp_path / "installed", server, client), pytest.raises(UsageError) as refusal:
        used()
    assert str(refusal.value) == said
