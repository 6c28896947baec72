"""``insert()`` and ``update()`` of mapped classes, executed by a session, write both columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.sql.dml import Insert, Update

from online_migrate.dialects.orm_values import AssignedValue
from online_migrate.orm.errors import MovedStatement
from online_migrate.orm.flush import follower, literal_of
from online_migrate.orm.moved import MovedPair, column_of, pairs_of
from online_migrate.orm.rows import Rows

Pairs = list[tuple[Any, Any]]


def listen() -> None:
    """Listens to all sessions, also to those of ``AsyncSession``."""
    if not event.contains(Session, "do_orm_execute", _on_execute):
        event.listen(Session, "do_orm_execute", _on_execute)


def _on_execute(execution: ORMExecuteState) -> sa.Result[Any] | None:
    mapper = execution.bind_mapper
    if mapper is None or not (execution.is_insert or execution.is_update):
        return None
    model: type[Any] = mapper.class_
    pairs = tuple(pairs_of(model))
    if not pairs:
        return None
    given = Rows(model, pairs, execution.statement, execution.parameters)
    for pair in pairs:
        if _sets(pair, model, execution.statement):
            given.refuse(pair)
    statement, parameters = given.as_values()
    rows = Rows(model, pairs, statement, parameters)
    for pair in pairs:
        if pair.phase.maps_both and isinstance(statement, Insert):
            statement = _inserted(pair, model, statement)
        elif pair.phase.maps_both and isinstance(statement, Update):
            statement = _updated(pair, model, statement)
    execution.statement = statement
    calls = list(dataclasses.replace(rows, statement=statement).calls())
    if not calls and parameters is not execution.parameters:
        calls = [(statement, parameters)]
    result = None
    for statement, parameters in calls:
        # SQLAlchemy 2.0 ignores parameters that are changed in the state only.
        execution.parameters = parameters
        result = execution.invoke_statement(statement)
    return result


def _sets(pair: MovedPair, model: type[Any], statement: Any) -> bool:
    """Whether the values of a statement, not its parameters, set a column of *pair*."""
    values = getattr(statement, "_ordered_values", None) or (statement._values or {}).items()
    return bool({_attribute(model, column) for column, _ in values} & {pair.old, pair.new})


# --- values of a statement -----------------------------------------------------------------------


def _inserted(pair: MovedPair, model: type[Any], statement: Insert) -> Insert:
    for what, names in _names_elsewhere(model, statement):
        if len(names & {pair.old, pair.new}) == 1:
            raise _refused(pair, model, f"{what} sets {min(names & {pair.old, pair.new})} only", _hint(pair))
    changed: Any = statement._generate()
    if statement._values:
        changed._values = None
        changed = changed.values(dict(_with_inserted(pair, model, list(statement._values.items()))))
    if statement._multi_values:
        rows = [row for group in statement._multi_values for row in group]
        changed._multi_values = ()
        changed = changed.values([dict(_with_inserted(pair, model, _items(statement, row))) for row in rows])
    return changed  # type: ignore[no-any-return]  # a private copy of the statement


def _items(statement: Insert, row: Any) -> Pairs:
    """Returns the columns and the values of one of several rows, which may be a tuple."""
    if isinstance(row, Mapping):
        return list(row.items())
    return list(zip(statement.table.c, row, strict=False))


def _with_inserted(pair: MovedPair, model: type[Any], values: Pairs) -> Pairs:
    written = _only_one(pair, model, values)
    if written is None:
        return values
    [value] = [value for column, value in values if _attribute(model, column) == written]
    other, conversion = _other(pair, written)
    target = column_of(model, other)
    if _is_literal(value):
        return [*values, (getattr(model, other), conversion.value(_literal(value)))]
    typed = sa.type_coerce(value, column_of(model, written).type)
    return [*values, (getattr(model, other), conversion.expression(typed, target.type))]


def _updated(pair: MovedPair, model: type[Any], statement: Update) -> Update:
    # SQLAlchemy 2.0 keeps ordered values in an attribute of their own.
    in_order = getattr(statement, "_ordered_values", None)
    values: Pairs = list(in_order or (statement._values or {}).items())
    written = _only_one(pair, model, values)
    if written is None:
        return statement
    ordered = bool(in_order) or getattr(statement, "_maintain_values_ordering", False)
    changed: Any = statement._generate()
    changed._values = changed._ordered_values = None
    changed._maintain_values_ordering = False
    pairs: Pairs = []
    for column, value in values:
        pairs.append((column, value))
        if _attribute(model, column) == written:
            pairs.append((getattr(model, _other(pair, written)[0]), _following(pair, model, written, value)))
            ordered = ordered or not _is_literal(value)
    result: Update = changed.ordered_values(*pairs) if ordered else changed.values(dict(pairs))
    return result


def _following(pair: MovedPair, model: type[Any], written: str, value: Any) -> Any:
    if _is_literal(value):
        return follower(pair, model, written, literal_of(model, written, _literal(value)))
    column = column_of(model, written)
    return follower(pair, model, written, AssignedValue(column, sa.type_coerce(value, column.type)))


def _only_one(pair: MovedPair, model: type[Any], values: Pairs) -> str | None:
    """Returns the attribute of the column that is written, if exactly one of the two is."""
    written = {_attribute(model, column) for column, _ in values} & {pair.old, pair.new}
    return written.pop() if len(written) == 1 else None


def _other(pair: MovedPair, written: str) -> Any:
    if written == pair.old:
        return pair.new, pair.conversions.to_new
    return pair.old, pair.conversions.to_old


def _attribute(model: type[Any], column: Any) -> str:
    """Returns the mapped attribute that a key of a statement names: a text, a column or an attribute."""
    name = str(getattr(column, "key", column))
    for attribute in sa.inspect(model).column_attrs:
        if name in (attribute.key, attribute.columns[0].key):
            return str(attribute.key)
    return name


def _names_elsewhere(model: type[Any], statement: Insert) -> Iterable[tuple[str, set[str]]]:
    """Yields the attributes that are set by a SELECT, or by the part of an upsert for rows that exist."""
    if statement.select is not None:
        yield "INSERT ... SELECT", {_attribute(model, name) for name in statement._select_names or ()}
    upsert = statement._post_values_clause
    if upsert is not None:
        values = getattr(upsert, "update_values_to_set", None) or getattr(upsert, "update", None) or {}
        columns = values if isinstance(values, Mapping) else [column for column, _ in values]
        yield "the upsert", {_attribute(model, column) for column in columns}


def _is_literal(value: Any) -> bool:
    if isinstance(value, sa.BindParameter):
        return value.callable is None and not value.required
    return not isinstance(value, sa.ClauseElement) and not hasattr(value, "__clause_element__")


def _literal(value: Any) -> Any:
    return value.value if isinstance(value, sa.BindParameter) else value


def _hint(pair: MovedPair) -> str:
    return f"set both {pair.old} and {pair.new}"


def _refused(pair: MovedPair, model: type[Any], reason: str, hint: str) -> MovedStatement:
    return MovedStatement(model=model.__name__, attribute=pair.attribute, reason=reason, hint=hint)
