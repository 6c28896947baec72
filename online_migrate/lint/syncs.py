"""The expressions of the syncs that a script creates, with the tables and columns that they are for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement, ColumnClause

from online_migrate.lint.backfills import live_table
from online_migrate.lint.schema import Table
from online_migrate.lint.script import Script, Step
from online_migrate.phases.sync_statements import definition_of
from online_migrate.sql.operations.parts import Column, Name
from online_migrate.sync.definition import SyncDefinition
from online_migrate.sync.expressions import BadExpression, Expression, template


@dataclasses.dataclass(frozen=True)
class SyncValue:
    """The value that a trigger assigns to *column*. *source*: the table whose columns it reads.

    *given*: the expression, with columns of that table where it is one of SQLAlchemy. *text*: the same as
    text of the server.
    """

    step: Step
    sync: str
    column: Column
    table: Table
    source: Table
    given: Any
    text: str


def sync_values(script: Script) -> Iterator[SyncValue]:
    """Yields each value of each sync whose columns are known."""
    seen: list[object] = []
    for step in script.steps_by_rule.get("create-sync", ()):
        definition = definition_of(step.statement.text)
        if isinstance(definition, SyncDefinition) and not any(definition is one for one in seen):
            seen.append(definition)
            yield from _values(definition, step, script.server.product)


def _values(definition: SyncDefinition, step: Step, product: str) -> Iterator[SyncValue]:
    old = step.before.table(definition.table)
    new = old
    if definition.target is not None:
        new = step.before.table(Name(definition.target, definition.table.schema))
    if old is None or new is None:
        return
    sides: tuple[tuple[Mapping[str, Expression], Table, Table], ...] = (
        (definition.forward, new, old),
        (definition.backward, old, new),
    )
    for values, table, source in sides:
        for name, given in values.items():
            column = table.columns.get(name)
            text = _text(given, product)
            if column is not None and column.type is not None and text is not None:
                yield SyncValue(step, definition.name, column, table, source, _bound(given, source), text)


def _text(given: Expression, product: str) -> str | None:
    try:
        return template(given, product)(lambda name: name)
    except BadExpression:
        return None


def _bound(given: Expression, source: Table) -> Any:
    """Returns an expression of SQLAlchemy with the columns of *source*; anything else as it is."""
    if not isinstance(given, ClauseElement):
        return None
    live = live_table(source)

    def of_table(element: Any, **_: Any) -> Any:
        is_column = isinstance(element, ColumnClause) and not element.is_literal
        return live.columns.get(element.name) if is_column else None

    found: Any = visitors.replacement_traverse(given, {}, of_table)
    return found
