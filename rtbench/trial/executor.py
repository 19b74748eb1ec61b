"""Executor: runs each submitted call in a new Python process on this machine.

A trial needs only a `concurrent.futures.Executor`; the executor of a Dask client works too. This one differs from
`ProcessPoolExecutor` in three properties that a measurement needs: no process is used twice; it works in a notebook
and in a script without a `__main__` guard; and no process is left running after `shutdown(cancel_futures=True)`.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Thread
from typing import Any, TypeVar

from rtbench.errors import Error, TrialError
from rtbench.system.owner import end_with_owner
from rtbench.transports import registry

T = TypeVar("T")


class FreshProcesses(Executor):
    """Runs each submitted call in a process of its own."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[Thread] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a process that calls `fn(*args, **kwargs)`; function, arguments and result must be picklable."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rtbench.trial.executor"],  # -P: no import from the working directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must reach only the main process, which then ends these
        )
        thread = Thread(target=_converse, args=(process, pickle.dumps((fn, args, kwargs)), future), daemon=True)
        self._processes.append(process)
        self._threads.append(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait until all calls have ended. With `cancel_futures`, kill their processes first."""
        if cancel_futures:
            for process in self._processes:
                process.kill()
        if wait:
            for thread in self._threads:
                thread.join()


def _converse(process: subprocess.Popen[bytes], call: bytes, future: Future[Any]) -> None:
    out, err = process.communicate(call)
    try:
        succeeded, value = pickle.loads(out)
    except Exception:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        future.set_exception(TrialError(f"a client process ended with code {process.returncode}: {last[0]}"))
        return
    if succeeded:
        future.set_result(value)
    else:
        future.set_exception(value)


def _work() -> None:
    """Run in the new process: read one pickled call from stdin, call it, write its pickled result to stdout."""
    end_with_owner()
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output that the call prints must not mix with its result
    fn, args, kwargs = pickle.loads(sys.stdin.buffer.read())
    try:
        answer = (True, fn(*args, **kwargs))
    except Error as error:
        answer = (False, error)
    except Exception as error:
        answer = (False, TrialError(f"a client process raised {registry.described(error)}"))
    results.write(pickle.dumps(answer))
    results.close()


if __name__ == "__main__":
    _work()
