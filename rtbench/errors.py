"""Every error that rtbench raises on purpose, and what each one means for the exit code.

The library raises; only the command line prints and exits.

    Error
      UsageError        the user asked for something that cannot be: exit 2, nothing was started
        MissingProgram  a program that rtbench drives is not on PATH
      TrialError        one trial failed; the others go on: exit 1
        Refused         the server would not do what the client asked (a subscription, a publish)
      Interrupted       the user stopped the run; what was measured is saved: exit 130
      ResultError       a saved result is missing, damaged or of another schema: exit 2
"""

from __future__ import annotations


class Error(Exception):
    """The root: its text is one line, fit to be shown to the user as it is."""

    exit_code = 1


class UsageError(Error):
    """Something the user gave cannot be done; the text says what would be right."""

    exit_code = 2


class MissingProgram(UsageError):
    """A program that rtbench drives is not installed; the text says how to install it."""


class TrialError(Error):
    """One trial could not be measured to its end."""


class Refused(TrialError):
    """The server refused a subscription or a publish."""


class Interrupted(Error):
    """The user stopped the run."""

    exit_code = 130


class ResultError(Error):
    """A saved result cannot be read."""

    exit_code = 2
