"""The tables that ``pending`` and ``verify`` read, and the reasons why a count may miss rows.

A count is a proof only if each table that it reads is an ordinary table whose rows are all visible to the
session, and if the lock of a contract revision covers each of these tables. A query that cannot be parsed,
or an unknown construct, is a problem; the gate and contract refuse it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from online_migrate import exceptions
from online_migrate.dialects import Dialect, LockTarget, dialect_of
from online_migrate.dialects.problem import Problem
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import fails_verify, is_pending
from online_migrate.kinds.subject import Subject
from online_migrate.sql import plain_condition
from online_migrate.sql.parse import Unreadable, executable_comments, parse, words_and_calls

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection
    from sqlglot import exp

_PARAMETERS = {
    "pyformat": re.compile(r"%%|%\([^)]*\)s"),
    "format": re.compile(r"%%|%s"),
}
_WRITE_IT = "write it with sa.select(...), sa.exists(...) and sa.func, or as SQL that names its tables"


@dataclasses.dataclass(frozen=True)
class Reads:
    """The tables that a count of the rows of a subject reads."""

    targets: tuple[LockTarget, ...]
    problem: Problem | None = None
    """The reason why *targets* may be incomplete, or may not be locked as they are; None: complete."""


def reads_of(connection: Connection, subject: Subject) -> Reads:
    """Returns the tables that ``pending`` and ``verify`` read, found in the SQL text sent to the server."""
    targets = {LockTarget(subject.table.name, subject.table.schema)}
    problem: Problem | None = None
    for condition in _conditions(subject):
        try:
            text = _compiled(connection, subject, condition)
            if _is_plain(connection, subject, text):
                problem = problem or _operators_problem(connection, text)
                continue
            named = _tables_in(connection, text, condition)
            targets |= set(subject.lock_targets if named is None else named)
            problem = problem or _functions_problem(connection, text)
            problem = problem or _locked_once_problem(connection, named or [])
        except _UnknownRead as unknown:
            problem = problem or Problem(
                reason=f"the tables that it reads are not known: {unknown}", hint=_WRITE_IT
            )
    # An alias is locked in addition to its table, because the table's definition is read under the lock.
    targets |= {LockTarget(target.table, target.schema) for target in targets}
    ordered = sorted(targets, key=lambda t: (t.schema or "", t.table, t.alias or ""))
    return Reads(tuple(ordered), problem)


def visibility_problem(
    connection: Connection, migration: DataMigration, subject: Subject, targets: Sequence[LockTarget]
) -> Problem | None:
    """Returns the reason why a query of *targets* may miss rows, or a walk may not return each row once.

    The walk is that of the subject's table. None: there is no problem.
    """
    dialect = dialect_of(connection)
    for target in targets:
        if target.alias is None:
            problem = dialect.check_visibility(connection, target.table, target.schema)
            if problem is not None:
                return problem
    if not migration.commits_by_itself:
        return dialect.check_table(connection, subject.table.name, subject.table.schema)
    return None


def require_visible(connection: Connection, migration: DataMigration, subject: Subject) -> None:
    """Raises :class:`~online_migrate.exceptions.RowsHidden` if rows may be hidden from the session."""
    targets = reads_of(connection, subject).targets
    problem = visibility_problem(connection, migration, subject, targets)
    if problem is not None:
        raise exceptions.RowsHidden(name=migration.name, reason=problem.reason, hint=problem.hint)


class _UnknownRead(Exception):
    """The tables that an expression reads are not known; the message is the reason."""


def _conditions(subject: Subject) -> Iterator[sa.ColumnElement[bool]]:
    if subject.pending is not None:
        yield is_pending(subject.pending)
    wrong = fails_verify(subject)
    if wrong is not None:
        yield wrong


def _compiled(connection: Connection, subject: Subject, condition: sa.ColumnElement[bool]) -> str:
    """Returns the SQL of a count, with a number in place of each parameter.

    Raises _UnknownRead if SQLAlchemy cannot compile it.
    """
    query: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(subject.table).where(condition)
    try:
        compiled = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    except sa.exc.CompileError as error:
        raise _UnknownRead(str(error)) from error
    pattern = _PARAMETERS.get(connection.dialect.paramstyle)
    text = str(compiled)
    return text if pattern is None else pattern.sub(lambda m: "%" if m[0] == "%%" else "0", text)


def _is_plain(connection: Connection, subject: Subject, text: str) -> bool:
    """Returns True if *text* reads the subject's table alone, and a parser is not needed to see that."""
    source = connection.dialect.identifier_preparer.format_table(subject.table)
    return plain_condition.is_plain(text, source, [column.name for column in subject.table.c])


def _tables_in(
    connection: Connection, text: str, condition: sa.ColumnElement[bool]
) -> list[LockTarget] | None:
    """Returns each table, as often as *text* names it.

    None: the text cannot be parsed, but all of it was generated by SQLAlchemy's constructs. Raises
    _UnknownRead if the tables cannot be found.
    """
    server = dialect_of(connection).name
    try:
        comments = executable_comments(text, server)
        trees = parse(text, server)
    except Unreadable as error:
        if holds_text(condition):
            raise _UnknownRead(str(error)) from error
        return None
    if comments:
        raise _UnknownRead(f"it contains a comment that the server executes: {comments[0]}")
    only_one = len(trees) == 1
    return [target for tree in trees for target in _tables_of(connection, tree, only_one=only_one)]


def _locked_once_problem(connection: Connection, named: Sequence[LockTarget]) -> Problem | None:
    if not dialect_of(connection).lock_is_of_a_name:
        return None
    twice = next((target for target in named if named.count(target) > 1), None)
    if twice is None:
        return None
    return Problem(
        reason=f"one query names {twice.alias or twice.table} twice, and LOCK TABLES locks each name once",
        hint=f"give each its own alias: FROM {twice.table} AS another_name",
    )


def holds_text(condition: sa.ColumnElement[bool]) -> bool:
    """Returns True if a part of *condition* does not come from SQLAlchemy's own constructs."""
    for part in visitors.iterate(condition):
        literal = isinstance(part, sa.ColumnClause) and part.is_literal and part.name not in _CONSTANTS
        if literal or isinstance(part, sa.TextClause):
            return True
        if not type(part).__module__.startswith("sqlalchemy."):
            return True
    return False


_CONSTANTS = frozenset({"FALSE", "TRUE", "*", "1"})


def _tables_of(connection: Connection, tree: exp.Expr, *, only_one: bool) -> Iterator[LockTarget]:
    from sqlglot import exp

    if not only_one or not isinstance(tree, exp.Select):
        raise _UnknownRead("it is not a single query")
    for part in tree.walk():
        if isinstance(part, exp.Command | exp.DML | exp.DDL) and not isinstance(part, exp.Query):
            raise _UnknownRead(f"it contains a statement: {part.sql()}")
        if isinstance(part, exp.In) and part.args.get("field") is not None:
            raise _UnknownRead(f"it names a table without a query: {part.sql()}")
    defined = {_folded(connection, cte.args["alias"].this) for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier):
            target = _target(connection, table)
            if target is not None and not _is_defined_here(connection, target, defined):
                yield target


def _target(connection: Connection, table: exp.Table) -> LockTarget | None:
    if table.args.get("catalog") is not None:
        raise _UnknownRead(f"it names a database: {table.sql()}")
    schema, alias = table.args.get("db"), table.args.get("alias")
    if schema is None and table.name.lower() == "dual" and not table.this.quoted:
        return None
    return LockTarget(
        _folded(connection, table.this),
        None if schema is None else _folded(connection, schema),
        None if alias is None or alias.this is None else _folded(connection, alias.this),
    )


def _is_defined_here(connection: Connection, target: LockTarget, defined: set[str]) -> bool:
    """Returns True for the name of a WITH query; if a table of that name exists too, it is locked as well."""
    if target.schema is not None or target.table not in defined:
        return False
    return not dialect_of(connection).has_table(connection, target.table)


def _folded(connection: Connection, identifier: exp.Expr) -> str:
    quoted = bool(identifier.args.get("quoted"))
    return dialect_of(connection).folded(identifier.name, quoted=quoted)


def _operators_problem(connection: Connection, text: str) -> Problem | None:
    """Returns why an operator or a column of a plain *text* may read another table; None if it does not."""
    dialect: Dialect = dialect_of(connection)
    words = [dialect.folded(word, quoted=False) for word in plain_condition.words(text)]
    return dialect.check_functions(connection, [], words, text)


def _functions_problem(connection: Connection, text: str) -> Problem | None:
    dialect: Dialect = dialect_of(connection)
    try:
        found = words_and_calls(text, dialect.name)
    except Unreadable as error:
        raise _UnknownRead(str(error)) from error
    words = [dialect.folded(word, quoted=quoted) for word, quoted, _called in found]
    called = [dialect.folded(word, quoted=quoted) for word, quoted, is_call in found if is_call]
    return dialect.check_functions(connection, called, words, text)
