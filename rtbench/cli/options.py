"""The options that `run` and `compare` share, made from `rtbench.settings`, and where their values come from.

A flag beats an `RTBENCH_*` variable, which beats `--config FILE.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rtbench.errors import UsageError
from rtbench.settings import SETTINGS, Given, Setting, resolve

_SOURCES = {ParameterSource.COMMANDLINE: "flag", ParameterSource.ENVIRONMENT: "environment"}

Command = Callable[..., Any]


def measuring(many: bool) -> Callable[[Command], Command]:
    """Add the options of a measurement to a command; `many` lets some be repeated."""

    def decorate(function: Command) -> Command:
        offered = [s for s in SETTINGS.values() if many or not s.compared]
        for option in reversed([*(_option(s, many) for s in offered), *_shared_options]):
            function = option(function)
        return function

    return decorate


def _option(setting: Setting, many: bool) -> Callable[[Command], Command]:
    variable = f"RTBENCH_{setting.name.upper()}"
    if isinstance(setting.default, bool):
        flags = f"{setting.flag}/--no-{setting.name}"
        return click.option(flags, setting.name, default=setting.default, envvar=variable, help=setting.help)
    repeatable = many and setting.many
    shown = "" if setting.default is None else f" [{_shown(setting.default)}{setting.unit}]"
    return click.option(
        setting.flag,
        setting.name,
        metavar=setting.metavar,
        multiple=repeatable,
        envvar=variable,
        help=f"{setting.help}{shown}{' (repeatable)' if repeatable else ''}",
    )


def _shown(default: Any) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default)


_shared_options = (
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
    click.option("--quiet", is_flag=True, envvar="RTBENCH_QUIET", help="no progress, no hints"),
)


SHARED = ("out", "config", "chart", "as_json", "quiet")  # the names of these as parameters


def settings_from(ctx: click.Context, config: Path | None) -> dict[str, Given]:
    """Return every setting with its value and its source.

    Raises:
        UsageError: an unknown key in the file, or a value that cannot be.
    """
    given = {name: (value, "config") for name, value in _read(config).items()}
    for name in SETTINGS:
        source = ctx.get_parameter_source(name)
        if source in _SOURCES:
            given[name] = (ctx.params[name], _SOURCES[source])
    return resolve(given)


def _read(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--config {config} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {config} is not TOML: {error}") from error
    unknown = [key for key in content if key not in SETTINGS]
    if unknown:
        raise UsageError(f"--config {config} has an unknown key {unknown[0]!r}; the keys are {', '.join(SETTINGS)}")
    return content
