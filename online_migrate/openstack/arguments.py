"""The arguments of the methods of ``DbCommands``, each declared once for argparse, oslo.config and click.

``args`` is the decorator of OpenStack's ``*-manage`` programs: they read the attribute ``args`` of a method.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Argument:
    """An option of a command, in the words of argparse."""

    names: tuple[str, ...]
    keywords: dict[str, Any]

    @property
    def dest(self) -> str:
        """The name of the keyword argument of the method."""
        return str(self.keywords["dest"])


def args(*names: str, dest: str, **keywords: Any) -> Callable[[F], F]:
    """Declares an option of a command; *keywords* as in argparse's ``add_argument``."""
    declared = Argument(names, {"dest": dest, **keywords})

    def decorate(function: F) -> F:
        attributes = function.__dict__
        attributes["arguments"] = (declared, *attributes.get("arguments", ()))
        # A copy: nova's program changes the dictionaries that it finds here.
        attributes.setdefault("args", []).insert(0, (names, copy.deepcopy(declared.keywords)))
        return function

    return decorate


def arguments_of(method: Callable[..., Any]) -> tuple[Argument, ...]:
    """Returns the declared options of a command."""
    found: tuple[Argument, ...] = getattr(method, "arguments", ())
    return found


def commands_of(commands: object) -> Iterator[tuple[str, Callable[..., int]]]:
    """Yields the public methods of *commands*, with their names."""
    for name in dir(commands):
        if not name.startswith("_") and callable(getattr(commands, name)):
            yield name, getattr(commands, name)
