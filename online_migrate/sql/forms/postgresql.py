"""The steps in which a statement is executed on PostgreSQL, so that it blocks no writer for long. Pure.

CREATE INDEX and DROP INDEX become CONCURRENTLY; a foreign key and a CHECK are added NOT VALID and validated
afterwards; SET NOT NULL relies on a validated CHECK, and UNIQUE and PRIMARY KEY on an index that was built
concurrently. A table that is small needs none of this: the statement runs as it is, in the transaction of the
revision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from online_migrate.sql.catalog_effects.reading import folded
from online_migrate.sql.classification.alter_table import take_table
from online_migrate.sql.classification.verdict import Words, by_commas
from online_migrate.sql.forms import postgresql_partitions as partitions
from online_migrate.sql.forms.constraints import ConstraintText, read_constraint
from online_migrate.sql.forms.form import Facts, Form, Refusal, Step, Table
from online_migrate.sql.forms.index import IndexText, read_create_index
from online_migrate.sql.forms.names import as_sql, chosen, written
from online_migrate.sql.lexer import Sort, Token, readings, split
from online_migrate.sql.parse import Unreadable
from online_migrate.sql.statement import shorten

SERVER = "postgresql"


def form_of(statement: str, facts: Facts) -> Form:
    """Returns the form of *statement*; a text of several statements is refused if one of them needs steps."""
    parts = _parts(statement)
    blocking = next((part for part in parts if steps_of(part, facts)), None) if len(parts) > 1 else None
    if blocking is None:
        return Form((statement,), steps_of(statement, facts))
    reason = (
        "several statements in one text are sent as they are, and the application would wait for"
        f" {shorten(blocking)!r}"
    )
    hint = "write one statement for each call of op.execute, so that each is sent in its own form"
    return Form(refusal=Refusal(reason, hint))


def _parts(text: str) -> list[str]:
    try:
        [tokens] = readings(text, SERVER)
        parts = [part for part in split(tokens) if part]
    except (Unreadable, ValueError):
        return [text]
    return [text[part[0].end - len(part[0].written) : part[-1].end] for part in parts]


def steps_of(statement: str, facts: Facts) -> tuple[Step, ...]:
    """Returns the steps of *statement*; empty if it is sent as it is."""
    try:
        [tokens] = readings(statement, SERVER)
    except (Unreadable, ValueError):
        return ()  # what the server reads depends on its settings
    tokens = tuple(tokens[:-1] if tokens and tokens[-1].word == ";" else tokens)
    if any(token.word == ";" for token in tokens):
        return ()
    index = read_create_index(statement, tokens)
    if index is not None:
        return _of_index(index, facts)
    return tuple(_of_drop_index(tokens, facts)) or tuple(_of_alter(statement, tokens, facts))


# --- indexes --------------------------------------------------------------------------------------


def _of_index(index: IndexText, facts: Facts) -> tuple[Step, ...]:
    table = facts.table(index.table)
    if table is None or index.only:
        return ()
    if table.partitioned:
        return () if table.small else tuple(partitions.index_steps(index, table))
    if table.small and not index.concurrently:
        return ()
    name = index.name or as_sql(chosen(table.plain_name, index.columns, "idx", table.taken))
    return (index.concurrent_step(name, index.table),)


def _of_drop_index(tokens: Sequence[Token], facts: Facts) -> Iterator[Step]:
    words = Words(tokens)
    if not words.take("DROP", "INDEX"):
        return
    concurrently = words.take("CONCURRENTLY")
    guard = "IF EXISTS " if words.take("IF", "EXISTS") else ""
    names = [written(Words(part).path()) for part in by_commas(words.rest)]
    if not all(names) or any(token.word in ("CASCADE", "RESTRICT") for token in words.rest):
        return
    found = [facts.index(name) for name in names]
    if not concurrently and all(index is None or index.small or not index.droppable for index in found):
        return
    for name, index in zip(names, found, strict=True):
        if index is not None and index.droppable:
            yield Step(f"DROP INDEX CONCURRENTLY {guard}{name}", concurrent=True)
        else:
            yield Step(f"DROP INDEX {guard}{name}")


# --- ALTER TABLE ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Action:
    text: str
    tokens: Sequence[Token]


def _of_alter(statement: str, tokens: Sequence[Token], facts: Facts) -> Iterator[Step]:
    """Yields the steps of an ALTER TABLE: first the actions that need no form, then the others in order."""
    words = Words(tokens)
    if not words.take("ALTER", "TABLE"):
        return
    only = any(token.word == "ONLY" for token in words.rest[:3])
    path = take_table(words, SERVER)
    table = facts.table(written(path)) if path else None
    if table is None or table.small or (only and table.partitioned):
        return
    start = len(tokens) - len(words.rest)
    actions = list(_actions(statement, tokens, start))
    name = written(path)
    target = f"ONLY {name}" if only else name
    special = [(action, list(_of_action(action, name, table, target))) for action in actions]
    if not any(steps for _action, steps in special):
        return
    plain = [action.text for action, steps in special if not steps]
    if plain:
        yield Step(f"ALTER TABLE {target} {', '.join(plain)}")
    for _action, steps in special:
        yield from steps


def _actions(statement: str, tokens: Sequence[Token], start: int) -> Iterator[_Action]:
    at = start
    for part in by_commas(tokens[start:]):
        if part:
            yield _Action(statement[tokens[at - 1].end : part[-1].end].strip(), part)
        at += len(part) + 1


def _of_action(action: _Action, name: str, table: Table, target: str) -> Iterator[Step]:
    """Yields the steps of an action; *target*: the name of the table, after ONLY if that is written."""
    words = Words(action.tokens)
    if words.take("VALIDATE", "CONSTRAINT"):
        # In a transaction of its own: the lock of an earlier statement would be held while rows are read.
        yield Step(f"ALTER TABLE {target} {action.text}")
        return
    if words.take("ALTER"):
        words.take("COLUMN")
        column = words.path()
        # With ONLY, the CHECK of the steps is refused if the table has children, and NOT NULL is not.
        is_whole = target == name
        if column and words.take("SET", "NOT", "NULL") and not words and is_whole:
            yield from not_null_steps(written(column), _stored(column[0]), name, table)
        return
    constraint = read_constraint(action.text, action.tokens)
    if constraint is None:
        return
    if constraint.kind in ("UNIQUE", "PRIMARY"):
        yield from _of_key(constraint, name, table)
    else:
        yield from _of_checked(constraint, target, table)


def not_null_steps(column: str, stored: str, name: str, table: Table) -> Iterator[Step]:
    """Yields the steps of SET NOT NULL; a validated CHECK spares the server the scan under its lock.

    The CHECK leaves the name ``table_column_not_null`` free: PostgreSQL 18 gives it to the NOT NULL itself.
    """
    check = as_sql(chosen(table.plain_name, (stored,), "is_not_null", table.taken))
    drop = f"ALTER TABLE {name} DROP CONSTRAINT"
    yield Step(
        f"ALTER TABLE {name} ADD CONSTRAINT {check} CHECK ({column} IS NOT NULL) NOT VALID",
        undo=f"{drop} IF EXISTS {check}",
    )
    yield Step(f"ALTER TABLE {name} VALIDATE CONSTRAINT {check}")
    yield Step(f"ALTER TABLE {name} ALTER COLUMN {column} SET NOT NULL")
    yield Step(f"{drop} {check}")


def _of_checked(constraint: ConstraintText, name: str, table: Table) -> Iterator[Step]:
    label = "fkey" if constraint.kind == "FOREIGN" else "check"
    given = constraint.name or as_sql(chosen(table.plain_name, constraint.name_columns, label, table.taken))
    add = f"ADD CONSTRAINT {given} {constraint.definition}"
    if table.partitioned and constraint.kind == "FOREIGN":
        yield from partitions.foreign_key_steps(add, given, name, table)
        return
    yield Step(
        f"ALTER TABLE {name} {add} NOT VALID", undo=f"ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {given}"
    )
    yield Step(f"ALTER TABLE {name} VALIDATE CONSTRAINT {given}")


def _of_key(constraint: ConstraintText, name: str, table: Table) -> Iterator[Step]:
    primary = constraint.kind == "PRIMARY"
    columns = () if primary else constraint.name_columns
    label = "pkey" if primary else "key"
    given = constraint.name or as_sql(chosen(table.plain_name, columns, label, table.taken))
    if primary:
        for column, stored in constraint.key:
            if stored in table.nullable:
                yield from not_null_steps(column, stored, name, table)
    if table.partitioned:
        yield from partitions.key_steps(constraint, given, name, table)
    else:
        yield from partitions.key_on_index(constraint, given, name)


def _stored(token: Token) -> str:
    return folded(token.text, token.sort is Sort.NAME, SERVER)
