"""Options, each declared once as a field of a dataclass. Pure.

The settings file, the command line and the Python API derive from the declaration: its name, type, help,
range and flag. See :class:`online_migrate.config.Settings`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

_KEY = "online_migrate_option"
_KEYED = "tuple[tuple[str, str], ...]"
"""The type of a setting that is written once for each key, as ``NAME.KEY = value``: its keys and values."""
_TYPES: Mapping[str, Callable[[Any], Any]] = {"int": int, "float": float, "str": str, _KEYED: tuple}


@dataclasses.dataclass(frozen=True)
class Option:
    """The declaration of one option."""

    help: str
    least: float | None = None
    """The lowest value allowed."""
    above: float | None = None
    """Values must be higher than this."""
    choices: tuple[str, ...] = ()
    flag: str | None = None
    """The command-line option; None: it can only be set in the settings file."""
    commands: str = "migrate"
    """The commands that have the flag: ``migrate``, or ``schema`` (expand, contract and upgrade)."""
    metavar: str | None = None
    duration: bool = False
    """The value is a duration; on the command line: ``90s``, ``15m``, ``2h``."""
    path: bool = False
    """The value is a path. On the command line it is relative to the working directory; in the settings file
    it is relative to that file."""
    multiple: bool = False
    """May be given several times on the command line; a settings file separates the values by spaces."""
    secret: bool = False
    """The value may hold a password."""
    unset: str = ""
    """The description of what applies while the option is not set."""
    type: Callable[[Any], Any] = str
    """int, float, str or tuple; :func:`options_of` derives it from the annotation of the field."""
    default: Any = None

    @property
    def keyed(self) -> bool:
        """True if it is written once for each key, as ``NAME.KEY = value``."""
        return self.type is tuple

    def problem_with(self, value: Any) -> str | None:
        """Returns why *value* is not allowed, or None if it is allowed.

        A *value* of None is allowed only if None is the default.
        """
        if value is None:
            return None if self.default is None else "must have a value"
        if self.choices:
            return None if value in self.choices else f"must be one of {', '.join(self.choices)}"
        if isinstance(value, float) and not math.isfinite(value):
            return "must be a finite number"
        if self.above is not None and not value > self.above:
            return f"must be above {self.above:g}"
        if self.least is not None and not value >= self.least:
            return f"must be at least {self.least:g}"
        return None


def option(default: Any, help: str, **more: Any) -> Any:
    """Returns a dataclass field that declares an option; *more*: the other fields of :class:`Option`."""
    return dataclasses.field(default=default, metadata={_KEY: Option(help, default=default, **more)})


def flags_of(cls: type, commands: str) -> Mapping[str, Option]:
    """Returns the options of *cls* that have a flag; *commands*: see :attr:`Option.commands`."""
    return {name: one for name, one in options_of(cls).items() if one.flag and one.commands == commands}


def options_of(cls: type) -> Mapping[str, Option]:
    """Returns the options that *cls* declares, by name, in the order of their declaration."""
    return {
        field.name: dataclasses.replace(
            field.metadata[_KEY], type=_TYPES[str(field.type).removesuffix(" | None")]
        )
        for field in dataclasses.fields(cls)
    }
