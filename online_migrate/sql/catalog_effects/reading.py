"""Shared parts of the statement readers: names as the catalog stores them, and the result. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from online_migrate.sql.catalog_effects.effect import Effect
from online_migrate.sql.parse import READERS


@dataclasses.dataclass
class Found:
    """The effects of a statement; *complete*: every part of the statement was recognised."""

    effects: list[Effect] = dataclasses.field(default_factory=list)
    complete: bool = True
    single: bool = True
    """True: the text is a single statement."""


def folded(name: str, quoted: bool, server: str) -> str:
    """Returns a name as the catalog stores it: PostgreSQL folds unquoted names to lower case."""
    return name.lower() if READERS[server] == "postgres" and not quoted else name


def name_of(node: Any, server: str) -> str:
    """Returns the name of an identifier, a column or a table; empty if *node* has none."""
    from sqlglot import exp

    while isinstance(node, exp.Column | exp.Table | exp.Schema | exp.ColumnPrefix | exp.Ordered):
        node = node.this
    if isinstance(node, exp.Identifier):
        return folded(str(node.this), bool(node.args.get("quoted")), server)
    return ""


def schema_of(node: Any, server: str) -> str | None:
    """Returns the schema that qualifies the name of a table, or None."""
    db = node.args.get("db") if node is not None else None
    return name_of(db, server) if db is not None else None


def key_of(columns: Sequence[Any], server: str) -> list[list[Any]]:
    """Returns the columns of a key: [name, prefix length or None]; a name of None is an expression."""
    from sqlglot import exp

    found: list[list[Any]] = []
    for column in columns:
        inner = column.this if isinstance(column, exp.Ordered) else column
        prefix = None
        if isinstance(inner, exp.ColumnPrefix):
            prefix = int(inner.expression.name)
        elif READERS[server] == "mysql" and _length_of(inner) is not None:
            # sqlglot parses ``name(10)`` in CREATE INDEX as a function call.
            found.append([str(inner.this), _length_of(inner)])
            continue
        found.append([name_of(inner, server) or None, prefix])
    return found


def _length_of(call: Any) -> int | None:
    """Returns the prefix length in a key column that sqlglot parsed as a call with one number, or None."""
    from sqlglot import exp

    if not isinstance(call, exp.Anonymous) or len(call.expressions) != 1 or not call.expressions[0].is_int:
        return None
    return int(call.expressions[0].name)
