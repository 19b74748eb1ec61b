"""The command line: one file a command, found by its name, and what all commands share: errors and exit codes.

A file of this package that defines `command` is a command. It is imported for `--help` too, so at its top it
imports only what is quick to import, and the rest where it is used.

Results go to standard output, everything else to standard error. Exit codes: 0 fine, 1 a trial failed, 2 usage,
3 a check did not hold, 4 with --strict: measured but not fit to conclude, 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
import re
import sys
import warnings
from typing import Any, TextIO

import click

from rtbench.errors import Error, UsageError, did_you_mean

_FIRST = ("run", "compare")  # what a newcomer types first; the others follow by name
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what writing to a file can end with
_NO_COMMANDS = ("measuring", "options", "paths")


class _Commands(click.Group):
    """Finds the commands of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = [module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NO_COMMANDS]
        return [*_FIRST, *sorted(name for name in names if name not in _FIRST)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.list_commands(ctx))
            raise UsageError(
                f"No such command {args[0]!r}; the commands are {', '.join(self.list_commands(ctx))}{hint}"
            )
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"rtbench.cli.{name}").command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rtbench", message="rtbench %(version)s")
def group() -> None:
    """Measure, side by side, the ways a message gets from a server to the people waiting for it.

    \b
    rtbench run --transport mqtt --qos 2     one variant
    rtbench compare                          all of them, in about a minute
    """


def main() -> None:
    """Run the program: every error is one line on standard error, and an exit code."""
    _open_streams()
    sys.exit(run_program())


def _open_streams() -> None:
    """Let standard streams that are closed (`>&-`) lead to nowhere; or a socket would get the number of one of them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def drop(stream: TextIO) -> None:
    """Let the rest of a standard stream lead to nowhere: its reader is gone, or its disk is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run_program(arguments: list[str] | None = None) -> int:
    """Run the program with some arguments, those of the process by default; return the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _print_warning
        return _run_program(arguments)


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(str(message))


def _run_program(arguments: list[str] | None) -> int:
    try:
        code: Any = group.main(args=arguments, prog_name="rtbench", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.NoSuchOption as error:
        return _print_error(_no_such_option(error), 2)
    except click.ClickException as error:
        return _print_error(error.format_message(), 2)
    except Error as error:
        return _print_error(str(error), error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _print_error("interrupted", 130)
    except BrokenPipeError:
        drop(sys.stdout)
        return 0
    except OSError as error:
        if error.filename is None and error.errno in _FULL:
            drop(sys.stdout)
            return _print_error(f"standard output cannot be written: {error.strerror}", 1)
        return _print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    return code if isinstance(code, int) else 0


def _print_error(text: str, code: int) -> int:
    _say(text)
    return code


def _say(text: str) -> None:
    try:
        click.echo(f"rtbench: {_line(text)}", err=True)
    except OSError:
        drop(sys.stderr)


def _line(text: str) -> str:
    """Return a text as one line: no control character reaches the terminal, and no word of a user fills it."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
    return re.sub(r"\S{300,}", lambda word: f"{word[0][:100]}...", line)


def _no_such_option(error: click.NoSuchOption) -> str:
    """Say which option was meant, or which other commands have it."""
    assert error.ctx is not None
    own, others = _flags(error.ctx.command, error.ctx), []
    if isinstance(group, click.Group) and error.ctx.command is not group:
        for name in group.list_commands(error.ctx):
            command = group.get_command(error.ctx, name)
            if command is not None and error.option_name in _flags(command, error.ctx):
                others.append(name)
    have = f"; {', '.join(others)} {'has' if len(others) == 1 else 'have'} it"
    hint = have if others else did_you_mean(error.option_name, own, "--")
    return f"{error.ctx.command_path} has no {error.option_name}{hint or '; --help lists the options'}"


def _flags(command: click.Command, ctx: click.Context) -> list[str]:
    return [flag for p in command.get_params(ctx) for flag in (*p.opts, *p.secondary_opts) if flag.startswith("--")]
