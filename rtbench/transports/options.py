"""Options of a transport, each declared in one place: a keyword-only parameter of `serve` or `connect`.

    Interval = Annotated[float, Option("from one poll to the next", metavar="TIME", above=0)]

    async def connect(url, meter, *, interval_s: Interval = 0.5): ...

The parameter gives the name, the type and the default; `Option` gives what the type cannot say. A parameter without it
is an option too. The command line shows `interval_s` as `--interval`: `_s` at the end means seconds, and the value is
written with a unit (`500ms`). `_bytes` at the end stays, and the value may have a unit (`64MiB`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, get_args

from rtbench.errors import UsageError
from rtbench.units import format_bytes, parse_bytes, parse_number, parse_seconds, parse_yes_or_no


@dataclass(frozen=True)
class Option:
    """One option: `help` ends without a full stop; a value must exceed `above`, and be `most` at most.

    `secret` values (a password) are read from a file or a variable and are never written to a result. A `local` value
    names a file of this machine, and would say nothing in a result. `rtbench serve` takes both, a measurement neither.
    `name` and `default` are filled in from the parameter.
    """

    help: str = ""
    metavar: str = ""
    above: float | None = None
    most: float | None = None
    secret: bool = False
    local: bool = False
    name: str = ""
    default: Any = None

    @property
    def is_measured(self) -> bool:
        """Whether a measurement takes it: its value stands in the result."""
        return not (self.secret or self.local)

    @property
    def setting(self) -> str:
        """The name by which a user sets it: without the unit."""
        return self.name.removesuffix("_s")

    @property
    def flag(self) -> str:
        """The name as typed on the command line."""
        return "--" + self.setting.replace("_", "-")

    @property
    def shown_default(self) -> str:
        """The default as the help shows it; empty for None."""
        return "" if self.default is None else self.shown(self.default)

    def parse(self, value: Any) -> Any:
        """Return a value given by a user, in the type of the default.

        Raises:
            UsageError: the value cannot be.
        """
        try:
            value = self._typed(value)
        except (OverflowError, TypeError, ValueError):
            raise UsageError(f"{self.flag} must be {self._wanted}: got {value!r}") from None
        except UsageError as error:
            raise UsageError(f"{self.flag}: {error}") from None
        if self.above is not None and not value > self.above:
            raise UsageError(f"{self.flag} must be above {self.above:g}: got {value:g}{'s' * self.name.endswith('_s')}")
        if self.most is not None and not value <= self.most:
            raise UsageError(f"{self.flag} must be at most {self.shown(self.most)}: got {self.shown(value)}")
        return value

    @property
    def _wanted(self) -> str:
        """What a value must be, in words."""
        if "|" in self.metavar:
            return f"one of {self.metavar.replace('|', ', ')}"
        is_whole = isinstance(self.default, int) and not isinstance(self.default, bool)
        return "a whole number" if is_whole else f"like {self.default!r}"

    def _typed(self, value: Any) -> Any:
        if self.name.endswith("_s"):
            return parse_seconds(value)
        if self.name.endswith("_bytes"):
            return parse_bytes(value)
        if isinstance(self.default, bool):
            return parse_yes_or_no(value)
        if isinstance(self.default, int):
            number = parse_number(value)
            if number != int(number):
                raise ValueError(value)
            return int(number)
        return type(self.default)(value) if isinstance(self.default, float | str) else value

    def shown(self, value: Any) -> str:
        """Return a value as a user writes it."""
        if self.name.endswith("_s"):
            return f"{value * 1000:g}ms" if value < 1 else f"{value:g}s"
        if self.name.endswith("_bytes"):
            return format_bytes(value)
        if isinstance(value, bool):
            return "yes" if value else "no"
        return str(value)


TLS, STATE, SESSION = "tls", "state", "session"
NOT_OPTIONS = (TLS, STATE, SESSION)  # parameters that rtbench fills in itself


def options_of(function: Callable[..., Any]) -> dict[str, Option]:
    """Return the options that a function declares by its keyword-only parameters."""
    found = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in NOT_OPTIONS:
            if parameter.default is parameter.empty:
                raise UsageError(f"the option {parameter.name} of {function.__module__} has no default; give it one")
            declared = _declared(function, parameter.annotation)
            found[parameter.name] = replace(declared, name=parameter.name, default=parameter.default)
    return found


def _declared(function: Callable[..., Any], annotation: Any) -> Option:
    """Return the `Option` in an annotation, which may be the text of one (PEP 563); an empty one if there is none."""
    if isinstance(annotation, str):
        module = sys.modules.get(inspect.unwrap(function).__module__)
        try:
            annotation = eval(annotation, vars(module))  # as typing.get_type_hints does, for this parameter alone
        except Exception:  # a name that exists for type checkers only
            return Option()
    return next((extra for extra in get_args(annotation)[1:] if isinstance(extra, Option)), Option())


def refuse_unknown(owner: str, known: Collection[Option], given: Collection[str]) -> None:
    """Refuse options that `owner` does not take.

    Raises:
        UsageError: there is one; the text lists those that it takes.
    """
    names = [option.name for option in known]
    for name in given:
        if name not in names:
            takes = ", ".join(sorted(option.flag for option in known)) or "none"
            raise UsageError(f"{owner} takes no {Option(name=name).flag}; it takes {takes}")
