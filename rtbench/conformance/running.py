"""Runs one case of the contract in this process."""

from __future__ import annotations

import asyncio
from traceback import walk_tb

from rtbench.conformance.case import Broken, Case, Inapplicable, Late
from rtbench.conformance.subject import Subject
from rtbench.transports import registry
from rtbench.trial.uncaught import note, take_from_tasks, taken

WITHIN_S = 10.0  # for a case, if nothing else is said
END_WITHIN = 0.2  # of that time, once it is cancelled


def run(case: Case, subject: Subject, within_s: float = WITHIN_S) -> None:
    """Try a case with a subject.

    Raises:
        Broken: the contract does not hold; the text says why.
        Inapplicable: the case cannot be tried on this machine.
    """
    errors: list[str] = []

    def take(error: BaseException) -> None:
        """Note an exception that nobody caught, unless it says that a connection has ended: clients leave."""
        if not isinstance(error, ConnectionError | EOFError):
            note(errors, error)

    with taken(take):
        try:
            _run_to_its_end(case, subject, within_s)
        except Inapplicable:
            raise
        except (Exception, SystemExit) as error:
            take_from_tasks(take)
            text = str(error) if isinstance(error, Broken) else registry.described(error)
            kind = Late if isinstance(error, Late) else Broken
            raise kind("; ".join([text, *(f"nobody caught {uncaught}" for uncaught in errors[:1])])) from error


def _run_to_its_end(case: Case, subject: Subject, within_s: float) -> None:
    loop = asyncio.new_event_loop()
    task = loop.create_task(_scenario(case, subject, within_s))
    loop.run_until_complete(asyncio.wait({task}, timeout=within_s * (1 + END_WITHIN)))
    if not task.done():
        raise Late(f"not done within {within_s:g} s, nor {within_s * END_WITHIN:g} s after it was cancelled")
    asyncio.Runner(loop_factory=lambda: loop).run(_ended(task))


async def _ended(task: asyncio.Task[None]) -> None:
    await task


async def _scenario(case: Case, subject: Subject, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s) as limit:
            await case.scenario(subject)
    except TimeoutError as error:
        if not limit.expired():
            raise
        cancelled = error.__cause__ or error
        place = registry.place(walk_tb(cancelled.__traceback__))
        raise Late(f"not done within {within_s:g} s" + (f": it waits in {place}" if place else "")) from None
