"""The options of the commands that measure, made from the settings, and where their values come from.

A flag beats an `RTBENCH_*` variable, which beats `--config FILE.toml`.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from rtbench.cli.paths import UserPath
from rtbench.errors import UsageError, did_you_mean
from rtbench.units import parse_yes_or_no

if TYPE_CHECKING:
    from rtbench.plan.settings import Given, Setting

_OF_OUTPUT = {f"RTBENCH_{name}" for name in ("OUT", "CONFIG", "CHART", "JSON", "STRICT", "QUIET")}
_MOST_CONFIG_BYTES = 2**20
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
        return _Switch([flags, setting.name], default=setting.default, envvar=variable, help=setting.help)
    repeatable = setting.many and (many or setting.always_many)
    shown = f" [{setting.shown_default}]" if setting.shown_default else ""
    return _SettingOption(
        [setting.flag, setting.name],
        metavar=setting.metavar,
        multiple=True,
        takes_several=setting.many,
        envvar=variable,
        shell_complete=_names if setting.name == "transport" else None,
        help=f"{setting.help}{shown}{' (repeatable)' if repeatable else ''}",
    )


class _Switch(click.Option):
    """An option without a value, whose variable is yes or no."""

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the value of its variable; None if it is not set, or empty."""
        value = self.resolve_envvar_value(ctx)
        try:
            return value if value is None else parse_yes_or_no(value)
        except ValueError as error:
            raise UsageError(f"the variable {self.envvar}: {error}") from None


class _SettingOption(click.Option):
    """An option that keeps all values it is given, to say what is wrong with several where one is taken.

    A variable holds one value, which may have spaces in it, or several with spaces between them if it `takes_several`.
    """

    def __init__(self, *args: Any, takes_several: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.takes_several = takes_several

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the values that its variable has; None if it is not set, or empty."""
        value = self.resolve_envvar_value(ctx)
        return value if value is None else tuple(value.split()) if self.takes_several else (value,)


def _names(_ctx: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    from rtbench.transports import registry

    return [CompletionItem(name) for name in registry.installed() if name.startswith(begun)]


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where a result goes and how it is shown."""
    for option in reversed(
        (
            _output_option("--out", type=UserPath(), metavar="DIR", help="save here [results/KIND-TIME]"),
            _output_option("--config", type=UserPath(), metavar="FILE", help="options from a TOML file, at most 1 MiB"),
            _output_option("--chart", is_flag=True, help="draw the charts too"),
            _output_option("--json", "as_json", is_flag=True, help="print the result as JSON"),
            _output_option("--strict", is_flag=True, help="exit code 4 if a variant is invalid"),
            _output_option("--quiet", is_flag=True, help="no progress, no hints"),
        )
    ):
        function = option(function)
    return function


def _output_option(flag: str, *names: str, **kwargs: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    variable = f"RTBENCH_{flag[2:].upper()}"
    return click.option(flag, *names, cls=_Switch if "is_flag" in kwargs else None, envvar=variable, **kwargs)


def check_variables(ctx: click.Context) -> None:
    """Refuse an `RTBENCH_*` variable that is the name of no option of any experiment or server.

    Raises:
        UsageError: there is one.
    """
    names = {p.envvar for p in ctx.command.get_params(ctx) if isinstance(p.envvar, str)} | _OF_OUTPUT
    given = sorted(name for name in os.environ if name.startswith("RTBENCH_"))
    if names.issuperset(given):
        return
    from rtbench.experiments import experiments
    from rtbench.transports.registry import server_options

    known = {*server_options(), *(name for each in experiments().values() for name in each.settings())}
    names |= {f"RTBENCH_{name.upper()}" for name in known}
    for variable in given:
        if variable not in names:
            hint = did_you_mean(variable, names, "RTBENCH_")
            raise UsageError(f"the variable {variable} is the name of no option{hint}")


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
            several = known[name].many and (many or known[name].always_many)
            one = isinstance(value, tuple) and len(value) == 1 and not several
            given[name] = (value[0] if one else value, _SOURCES[source])
    try:
        return resolve(given, known)
    except UsageError as error:
        sources = {name: Given(value, source) for name, (value, source) in given.items()}
        raise with_sources(error, sources, config) from None


def _text_of(config: Path) -> str:
    if not stat.S_ISREG(config.stat().st_mode):
        raise UsageError(f"--config {config} is no file")
    if config.stat().st_size > _MOST_CONFIG_BYTES:
        raise UsageError(f"--config {config} is larger than {_MOST_CONFIG_BYTES} bytes, the most for a file of options")
    return config.read_text(encoding="utf-8-sig")


def _read(config: Path | None, known: Mapping[str, Setting]) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        text = _text_of(config)
        content = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"--config {config} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise UsageError(f"--config {config} is not TOML: {error}") from error
    except RecursionError:
        raise UsageError(f"--config {config} is nested too deep; it needs lines such as rate = 50") from None
    unknown = [key for key in content if key not in known]
    if unknown:
        raise UsageError(
            f"--config {config} has an unknown key {unknown[0]!r}; the keys are {', '.join(known)}"
            f"{did_you_mean(unknown[0], known)}"
        )
    return content
