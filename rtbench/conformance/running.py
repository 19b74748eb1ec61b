"""Runs one case of the contract in this process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from traceback import walk_tb

from rtbench.conformance.case import Broken, Case, Inapplicable, Late
from rtbench.conformance.subject import Subject
from rtbench.transports import registry
from rtbench.trial.uncaught import Take, note, take_from_tasks, taken

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
            _run_to_its_end(case, subject, within_s, take)
        except Inapplicable:
            raise
        except (Exception, SystemExit) as error:
            take_from_tasks(take)
            text = str(error) if isinstance(error, Broken) else registry.described(error)
            kind = Late if isinstance(error, Late) else Broken
            raise kind("; ".join([text, *(f"nobody caught {uncaught}" for uncaught in errors[:1])])) from error


def _run_to_its_end(case: Case, subject: Subject, within_s: float, take: Take) -> None:
    loop, places = asyncio.new_event_loop(), [""]
    task = loop.create_task(_scenario(case, subject, places))
    loop.run_until_complete(asyncio.wait({task}, timeout=within_s))
    late = not task.done()
    if late:
        take_from_tasks(take)  # before they are ended, too
        task.cancel()
        loop.run_until_complete(asyncio.wait({task}, timeout=within_s * END_WITHIN))
    if not task.done():
        raise Late(f"not done within {within_s:g} s, nor {within_s * END_WITHIN:g} s after it was cancelled")
    with suppress(asyncio.CancelledError):
        asyncio.Runner(loop_factory=lambda: loop).run(_ended(task))
    if late:
        raise Late(f"not done within {within_s:g} s" + (f": it waits in {places[-1]}" if places[-1] else ""))


async def _ended(task: asyncio.Task[None]) -> None:
    await task


async def _scenario(case: Case, subject: Subject, places: list[str]) -> None:
    """Run the scenario; note where in the transport it waits when it is cancelled."""
    try:
        await case.scenario(subject)
    except asyncio.CancelledError as error:
        places.append(registry.place(walk_tb(error.__traceback__)))
        raise
