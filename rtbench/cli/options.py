"""The options of the commands that measure, made from the settings, and where their values come from.

A flag beats an `RTBENCH_*` variable, which beats `--config FILE.toml`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from rtbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from rtbench.plan.settings import Given, Setting

_SOURCES = {ParameterSource.COMMANDLINE: "flag", ParameterSource.ENVIRONMENT: "environment"}


class MeasuringCommand(click.Command):
    """A command with an option for each setting of an experiment; they are made when the command is used.

    `many` lets some be repeated, and offers those that only a comparison has.
    """

    def __init__(
        self, *args: Any, settings: Callable[[], Mapping[str, Setting]], many: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.settings = settings
        self.many = many

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options of the settings, then those of all measuring commands."""
        offered = [s for s in self.settings().values() if self.many or not s.compared]
        return [*(_option(setting, self.many) for setting in offered), *super().get_params(ctx)]


def _option(setting: Setting, many: bool) -> click.Option:
    variable = f"RTBENCH_{setting.name.upper()}"
    if isinstance(setting.default, bool):
        flags = f"{setting.flag}/--no-{setting.name}"
        return click.Option([flags, setting.name], default=setting.default, envvar=variable, help=setting.help)
    repeatable = setting.many and (many or setting.always_many)
    multiple = setting.many or setting.always_many  # in a run, too, to say what is wrong with several
    shown = f" [{setting.shown_default}]" if setting.shown_default else ""
    return click.Option(
        [setting.flag, setting.name],
        metavar=setting.metavar,
        multiple=multiple,
        envvar=variable,
        shell_complete=_names if setting.name == "transport" else None,
        help=f"{setting.help}{shown}{' (repeatable)' if repeatable else ''}",
    )


def _names(_ctx: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    from rtbench.transports import registry

    return [CompletionItem(name) for name in registry.installed() if name.startswith(begun)]


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where a result goes and how it is shown."""
    for option in reversed(
        (
            click.option(
                "--out",
                type=click.Path(path_type=Path),
                metavar="DIR",
                envvar="RTBENCH_OUT",
                help="save here [results/KIND-TIME]",
            ),
            click.option(
                "--config",
                type=click.Path(path_type=Path),
                metavar="FILE",
                envvar="RTBENCH_CONFIG",
                help="options from a TOML file",
            ),
            click.option("--chart", is_flag=True, envvar="RTBENCH_CHART", help="draw the charts too"),
            click.option("--json", "as_json", is_flag=True, envvar="RTBENCH_JSON", help="print the result as JSON"),
            click.option("--strict", is_flag=True, envvar="RTBENCH_STRICT", help="exit code 4 if a variant is invalid"),
            click.option("--quiet", is_flag=True, envvar="RTBENCH_QUIET", help="no progress, no hints"),
        )
    ):
        function = option(function)
    return function


def check_variables(ctx: click.Context) -> None:
    """Refuse an `RTBENCH_*` variable that is the name of no option of any experiment or server.

    Raises:
        UsageError: there is one.
    """
    names = {p.envvar for p in ctx.command.get_params(ctx) if isinstance(p.envvar, str)}
    given = sorted(name for name in os.environ if name.startswith("RTBENCH_"))
    if names.issuperset(given):
        return
    from rtbench.experiments import experiments
    from rtbench.transports.registry import server_options

    known = {*server_options(), *(name for each in experiments().values() for name in each.settings())}
    names |= {f"RTBENCH_{name.upper()}" for name in known}
    for variable in given:
        if variable not in names:
            raise UsageError(f"the variable {variable} is the name of no option{did_you_mean(variable, names)}")


def with_sources(error: UsageError, given: Mapping[str, Given], config: Path | None) -> UsageError:
    """Return an error that also names where the values of the flags in it come from, unless from the command line."""
    found = []
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        if re.search(rf"{flag}(?![\w-])", str(error)):
            if value.source == "environment":
                found.append(f"{flag} is from the variable RTBENCH_{name.upper()}")
            elif value.source == "config":
                found.append(f"{flag} is from the key {name} of {config}")
    return UsageError(f"{error} ({'; '.join(found)})") if found else error


def settings_from(
    ctx: click.Context, known: Mapping[str, Setting], config: Path | None, many: bool
) -> dict[str, Given]:
    """Return every setting with its value and its source; `many` as for `MeasuringCommand`.

    Raises:
        UsageError: an unknown key in the file, or a value that is not possible.
    """
    from rtbench.plan.settings import Given, resolve

    given = {name: (value, "config") for name, value in _read(config, known).items()}
    for name in known:
        source = ctx.get_parameter_source(name)
        if source in _SOURCES:
            value = ctx.params[name]
            one = isinstance(value, tuple) and len(value) == 1 and not (many or known[name].always_many)
            given[name] = (value[0] if one else value, _SOURCES[source])
    try:
        return resolve(given, known)
    except UsageError as error:
        sources = {name: Given(value, source) for name, (value, source) in given.items()}
        raise with_sources(error, sources, config) from None


def _read(config: Path | None, known: Mapping[str, Setting]) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {config} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {config} is not TOML: {error}") from error
    unknown = [key for key in content if key not in known]
    if unknown:
        raise UsageError(
            f"--config {config} has an unknown key {unknown[0]!r}; the keys are {', '.join(known)}"
            f"{did_you_mean(unknown[0], known)}"
        )
    return content
