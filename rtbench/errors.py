"""Every error that rtbench raises on purpose, with its exit code.

The library raises these errors. Only the command line prints them and exits.

    Error
      UsageError        the user asked for something impossible: exit 2, no measurement was started
        MissingProgram  a program that rtbench drives is not on PATH
      TrialError        one trial failed; the other trials continue: exit 1
        Refused         the server refused a request of the client (a subscription, a publish)
      Interrupted       the user stopped the run; finished trials are saved: exit 130
      NotSaved          (in rtbench.experiments.runner) measured, and the directory cannot be written: exit 1
      ResultError       a saved result is missing, damaged or of another schema: exit 2
"""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the end of a sentence on an unknown word: the known one that looks most like it, if one does.

    All words begin with `prefix`, which is not compared.
    """
    import difflib  # here, so that no server process has it in its memory

    folded = word.removeprefix(prefix).lower()
    by_folded = {name.removeprefix(prefix).lower(): name for name in known}
    begun = [name for name in by_folded if len(folded) > 2 and name.startswith(folded)]
    close = difflib.get_close_matches(folded, by_folded, n=1) or begun
    return f"; did you mean {by_folded[close[0]]}?" if close else ""


class Error(Exception):
    """The base class. The text of an error is one line that can be shown to the user unchanged."""

    exit_code = 1


class UsageError(Error):
    """The user gave an impossible or invalid value; the text says which values are allowed."""

    exit_code = 2


class MissingProgram(UsageError):
    """A program that rtbench drives is not installed; the text says how to install it."""


class TrialError(Error):
    """One trial ended before it was completely measured."""


class Refused(TrialError):
    """The server refused a subscription or a publish."""


class Interrupted(Error):
    """The user stopped the run."""

    exit_code = 130


class ResultError(Error):
    """A saved result cannot be read."""

    exit_code = 2
