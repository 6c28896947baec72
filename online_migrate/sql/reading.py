"""What the readers of statements share: names as the catalog has them, and what was found. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from online_migrate.sql.effect import Effect
from online_migrate.sql.parse import READERS


@dataclasses.dataclass
class Found:
    """The effects of a statement, and whether each of its parts has given one."""

    effects: list[Effect] = dataclasses.field(default_factory=list)
    complete: bool = True
    single: bool = True
    """It is one statement."""


def folded(name: str, quoted: bool, server: str) -> str:
    """A name as the catalog has it."""
    return name.lower() if READERS[server] == "postgres" and not quoted else name


def name_of(node: Any, server: str) -> str:
    """The name that an identifier, a column or a table carries."""
    from sqlglot import exp

    while isinstance(node, exp.Column | exp.Table | exp.Schema | exp.ColumnPrefix | exp.Ordered):
        node = node.this
    if isinstance(node, exp.Identifier):
        return folded(str(node.this), bool(node.args.get("quoted")), server)
    return ""


def schema_of(node: Any, server: str) -> str | None:
    """The schema that the name of a table is given with."""
    db = node.args.get("db") if node is not None else None
    return name_of(db, server) if db is not None else None


def key_of(columns: Sequence[Any], server: str) -> list[list[Any]]:
    """The columns of a key: name and length of the prefix; a name of None is an expression."""
    from sqlglot import exp

    found: list[list[Any]] = []
    for column in columns:
        inner = column.this if isinstance(column, exp.Ordered) else column
        prefix = None
        if isinstance(inner, exp.ColumnPrefix):
            prefix = int(inner.expression.name)
        elif READERS[server] == "mysql" and _length_of(inner) is not None:
            # ``name(10)`` in CREATE INDEX is read as a call.
            found.append([str(inner.this), _length_of(inner)])
            continue
        found.append([name_of(inner, server) or None, prefix])
    return found


def _length_of(call: Any) -> int | None:
    """The length of a prefix, in what was read as a call with one number."""
    from sqlglot import exp

    if not isinstance(call, exp.Anonymous) or len(call.expressions) != 1 or not call.expressions[0].is_int:
        return None
    return int(call.expressions[0].name)
