"""What a group of revisions has created besides tables: types, enum values, sequences, and code. Pure.

Code is a function, or what calls one when it is used: a view, or a domain with a check. The statement that
uses it need not show a call: ``SELECT old.f FROM old`` calls the function ``f``. So it counts as used as soon
as a statement contains its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from online_migrate.sql.classification.harmless_functions import HARMLESS
from online_migrate.sql.operations.parts import Column, Name

_KNOWN = frozenset({"NEXTVAL"}).union(*HARMLESS.values())
"""Functions that a default may call; NEXTVAL takes a number, and old code does not rely on the next one."""


def unknown_defaults(columns: Iterable[Column]) -> tuple[str, ...]:
    """Returns the functions in defaults of which it is not known that they change nothing."""
    defaults = [column.default for column in columns if column.default is not None]
    return tuple(call for default in defaults for call in default.calls if call.upper() not in _KNOWN)


@dataclasses.dataclass
class OtherObjects:
    """*created*: kind and name of each object that is new; an enum value has its type as schema.

    *code*: the names of functions, and of what calls them, in lower case. *types*: the kind of each type, by
    its name.
    """

    created: set[tuple[str, Name]] = dataclasses.field(default_factory=set)
    code: set[str] = dataclasses.field(default_factory=set)
    types: dict[str, str] = dataclasses.field(default_factory=dict)

    def called_by(self, words: frozenset[str]) -> tuple[str, ...]:
        """Returns the code that a statement of these words may call, sorted."""
        return tuple(sorted(self.code & words))

    def add_code(self, name: Name) -> None:
        """After CREATE of a function, or of what calls one."""
        self.code.add(name.name.casefold())

    def begin_group(self) -> None:
        """What exists now is not new in the next group of revisions."""
        self.created.clear()
        self.code.clear()

    def forget(self, *kinds: str) -> None:
        """After an operation that may have renamed or replaced objects of these kinds; all without one."""
        self.created = {one for one in self.created if kinds and one[0] not in kinds}
        if not kinds or {"type", "domain"}.intersection(kinds):
            self.types.clear()
