"""Checks that a revision can be recorded, before its first statement is sent.

Where DDL commits implicitly, a version row or a journal entry that cannot be written would leave the schema
changed without a record. So these writes are rehearsed in a transaction that is rolled back.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.runtime.migration import HeadMaintainer, MigrationContext
from alembic.util import CommandError

from online_migrate import exceptions, state
from online_migrate.ddl.session import Session
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.observe.unlogged import no_context_logged
from online_migrate.runtime.environment import Environment

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

ALEMBIC_WIDTH = 32
"""Characters of ``version_num`` if Alembic creates the version table."""
_CREATE = "CREATE TABLE {table} (version_num VARCHAR(255) NOT NULL PRIMARY KEY)"
_ENTRY = state.Entry(
    revision="",
    digest="-" * 64,
    occurrence=0,
    position=0,
    state="started",
    statement="-",
    before_text="{}",
    undo="{}",
    started_at=state.now(),
    done_at=None,
)


def refuse_long_ids(connection: Connection, environment: Environment, revisions: Sequence[str]) -> None:
    """Raises :class:`~online_migrate.exceptions.RevisionIdTooLong` for the first id that does not fit."""
    dialect = dialect_of(connection)
    if not revisions or not dialect.enforces_length:
        return
    table = _qualified(environment)
    there = dialect.has_table(connection, environment.version_table, environment.version_schema)
    width = _width(connection, environment) if there else ALEMBIC_WIDTH
    for revision in revisions:
        if width is not None and len(revision) > width:
            raise exceptions.RevisionIdTooLong(
                revision=revision,
                length=len(revision),
                table=table,
                width=width,
                statement=dialect.widening(table, "version_num") if there else _CREATE.format(table=table),
            )


def _width(connection: Connection, environment: Environment) -> int | None:
    """Returns the number of characters that the version table can hold; None: any number."""
    columns = sa.inspect(connection).get_columns(environment.version_table, schema=environment.version_schema)
    lengths = [
        getattr(column["type"], "length", None) for column in columns if column["name"] == "version_num"
    ]
    return lengths[0] if lengths else None


def _qualified(environment: Environment) -> str:
    return ".".join(part for part in (environment.version_schema, environment.version_table) if part)


def rehearse(session: Session, environment: Environment, step: Any, revision: str) -> None:
    """Writes the records that the end of the revision is going to write, and rolls them back.

    *step*: Alembic's step of the revision. Raises :class:`~online_migrate.exceptions.CannotRecord`. A
    transient error, or a lost connection, is raised as it is, because a repetition may succeed.
    """
    records = session.journal_connection or session.connection
    problem = session.dialect.check_table(records, environment.version_table, environment.version_schema)
    try:
        with _rolled_back(records, own=session.journal_connection is not None):
            _write_entry(records, revision)
            if problem is None:
                # A table of a non-transactional storage engine would keep the row.
                _write_version(records, environment, step)
    except (*DATABASE_ERRORS, CommandError) as error:
        dialect = session.dialect
        if dialect.is_transient(error) or dialect.is_connection_lost(error):
            raise
        raise exceptions.CannotRecord(
            revision=revision, reason=error_message(error), table=_qualified(environment)
        ) from error


@contextlib.contextmanager
def _rolled_back(connection: Connection, *, own: bool) -> Iterator[None]:
    """Rolls back the writes of the block.

    *own*: the connection has no other use, so its whole transaction is rolled back and no lock is left.
    Otherwise a savepoint is rolled back.
    """
    if own:
        try:
            yield
        finally:
            connection.rollback()
        return
    savepoint = connection.begin_nested()
    try:
        yield
    finally:
        savepoint.rollback()


def _write_entry(connection: Connection, revision: str) -> None:
    entry = dataclasses.replace(_ENTRY, revision=revision)
    state.put_entry(connection, entry, known=False)
    state.put_entry(connection, entry, known=True)
    state.remove_entry(connection, entry)


def _write_version(connection: Connection, environment: Environment, step: Any) -> None:
    names = ("version_table", "version_table_schema", "version_table_pk")
    options = {name: value for name, value in environment.options.items() if name in names}
    with no_context_logged():
        context = MigrationContext.configure(connection, opts=options)
    maintainer = HeadMaintainer(context, context.get_current_heads())
    maintainer.update_to_step(step)
    written = state.version_rows(connection, environment.version_table, environment.version_schema)
    if maintainer.heads != set(written):
        raise CommandError(f"the version table then contains {', '.join(written) or 'nothing'}")
