"""The command line: one file a command, and here what all of them share: how an error becomes one line and an exit
code.

Results go to standard output, everything else to standard error. Exit codes: 0 fine, 1 a trial failed, 2 usage,
3 a check did not hold, 4 measured but not fit to conclude, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from rtbench.errors import Error

COMMANDS = {
    "run": "Measure one variant.",
    "compare": "Measure all variants side by side.",
    "idle": "Measure what idle connections cost.",
    "serve": "Run one server until SIGTERM.",
    "chart": "Draw the charts of a saved result.",
    "export": "Print the data of a saved result.",
    "rerun": "Measure a saved result again, and say whether it agrees.",
    "diff": "Compare two saved results, or the variants of one.",
    "transports": "List what is installed.",
    "doctor": "Tell what on this machine spoils a measurement.",
}


class _Commands(click.Group):
    """Imports a command's file when the command is used, so that `--help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"rtbench.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rtbench", message="rtbench %(version)s")
def group() -> None:
    """Measure, side by side, the ways a message gets from a server to the people waiting for it.

    \b
    rtbench run --transport mqtt --qos 2     one variant
    rtbench compare                          all of them, in about a minute
    """


def main() -> None:
    """Be the program: every error is one line on standard error, and an exit code."""
    sys.exit(_main())


def _main(arguments: list[str] | None = None) -> int:
    try:
        code: Any = group.main(args=arguments, prog_name="rtbench", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _say(error.format_message(), 2)
    except Error as error:
        return _say(str(error), error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _say("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has had enough
        return 0
    return code if isinstance(code, int) else 0


def _say(text: str, code: int) -> int:
    line = " ".join(text.split())
    click.echo(f"rtbench: {line}", err=True)
    return code
