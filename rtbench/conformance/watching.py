"""Runs cases of the contract in another process, and ends that process where a transport blocks.

`python -m rtbench.conformance.watching` reads one JSON line from standard input (the subject, the positions of the
cases, the time for each), answers with a line once it has started, and with one JSON line after each case. Where a case
has not ended long after its time, a thread of that process says at which line the transport stands, and ends the
process. Should even that thread not run, the process that waits for the answer ends it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from traceback import walk_stack
from typing import Any, BinaryIO

from rtbench.conformance.case import Broken, Inapplicable, Late, cases_of
from rtbench.conformance.running import END_WITHIN, WITHIN_S, run
from rtbench.conformance.subject import Subject
from rtbench.transports import registry

PASSED, FAILED, SKIPPED, DIFFERS, NOT_RUN = "passed", "failed", "skipped", "differs", "not run"
MOST_LATE = 3  # cases; then the rest is not run
_START_WITHIN_S = 20.0


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `state` is one of those above, `reason` says why it is not `passed`.

    A case that the server is known not to keep (`DIFFERS` of its module) `differs` where another would have failed.
    """

    subject: Subject
    case: str
    state: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.case}" + f": {self.reason}" * bool(self.reason)


def outcomes(subject: Subject, within_s: float = WITHIN_S) -> Iterator[Outcome]:
    """Try every case with a subject, each for `within_s` seconds at most; yield what becomes of it."""
    texts = [case.text for case in cases_of(subject)]
    differs = registry.differs(subject.transport, subject.server, subject.server_options)
    done = late = 0
    while done < len(texts) and late < MOST_LATE:
        with closing(_answers(subject, range(done, len(texts)), within_s)) as answers:
            for answer in answers:
                known = differs.get(texts[done]) if answer["state"] == FAILED else None
                yield Outcome(subject, texts[done], DIFFERS if known else answer["state"], known or answer["reason"])
                done += 1
                late += answer["late"]
                if late == MOST_LATE:
                    break
    for text in texts[done:]:
        yield Outcome(subject, text, NOT_RUN, f"{late} case{'s' * (late > 1)} had not ended in time")


def _answers(subject: Subject, positions: range, within_s: float) -> Generator[dict[str, Any]]:
    """Yield the answers of one process, until it has tried all cases or ends before; the last one then says so."""
    request = {"subject": asdict(subject), "positions": list(positions), "within_s": within_s}
    with _process() as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        _line_within(process, _START_WITHIN_S)  # it has started
        for _ in positions:
            line, killed = _line_within(process, within_s * (1 + 3 * END_WITHIN))
            if not line:
                how = "blocks, and holds Python's lock" if killed else f"ended the process (code {process.wait()})"
                yield _answer(FAILED, f"the transport {how}", late=killed)
                return
            answer: dict[str, Any] = json.loads(line)
            yield answer
            if answer.get("ends"):
                return


@contextmanager
def _process() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-P", "-m", __name__]  # -P: no import from the working directory
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        _kill(process)
        process.communicate()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _line_within(process: subprocess.Popen[bytes], limit_s: float) -> tuple[bytes, bool]:
    """Return the next line, and whether the process had to be ended because none came."""
    assert process.stdout is not None
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        _kill(process)

    watch = threading.Timer(limit_s, kill)
    watch.start()
    try:
        return process.stdout.readline(), killed.is_set()
    finally:
        watch.cancel()


# In the other process


def _answer(state: str, reason: str = "", late: bool = False, ends: bool = False) -> dict[str, Any]:
    return {"state": state, "reason": reason, "late": late, "ends": ends}


def _try_all(request: Mapping[str, Any], answers: BinaryIO) -> None:
    subject, within_s = Subject(**request["subject"]), request["within_s"]
    cases = cases_of(subject)
    _write(answers, {})
    for position in request["positions"]:
        watch = threading.Timer(within_s * (1 + 2 * END_WITHIN), _give_up, (answers, threading.get_ident()))
        watch.daemon = True
        watch.start()
        try:
            run(cases[position], subject, within_s)
            answer = _answer(PASSED)
        except Inapplicable as reason:
            answer = _answer(SKIPPED, str(reason))
        except Broken as broken:
            answer = _answer(FAILED, str(broken), late=isinstance(broken, Late))
        watch.cancel()
        _write(answers, answer)


def _give_up(answers: BinaryIO, thread: int) -> None:
    place = registry.place(reversed(list(walk_stack(sys._current_frames()[thread]))))
    where = f" in {place}" if place else ""
    _write(answers, _answer(FAILED, f"the transport blocks the event loop{where}", late=True, ends=True))
    os._exit(1)


def _write(answers: BinaryIO, answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    own_output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a transport prints does not mix with the answers
    _try_all(json.loads(sys.stdin.buffer.readline()), own_output)
