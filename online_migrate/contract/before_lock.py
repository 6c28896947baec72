"""What is determined of a contract revision before its tables are locked.

Invariant: under the lock, while the application waits, no parser is imported, and no statement is parsed that
the rendered script contains.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import sqlalchemy as sa

from online_migrate import exceptions, state
from online_migrate.ddl.executor import Translate
from online_migrate.dialects import LockTarget
from online_migrate.kinds.visibility import reads_of
from online_migrate.phases.script import only_adds
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.runtime.catalog_schema import server_of
from online_migrate.runtime.rendering import NotRendered, render
from online_migrate.runtime.sync_operations import SyncScope
from online_migrate.sql.classification.verdict import Classification, Impact
from online_migrate.sql.forms.not_null_proof import NotNullProof
from online_migrate.sql.statement import (
    Kind,
    altered_schema,
    dropped_columns,
    dropped_indexes,
    identifiers,
    qualified_names,
    shorten,
)

_ANY = "ALTER TABLE t DROP COLUMN c"
"""Read for a script that cannot be rendered: it imports the parsers."""


class Targets:
    """The tables that a contract revision concerns, determined before anything is locked."""

    def __init__(
        self,
        runner: RevisionRunner,
        revision: str,
        required: Sequence[str],
        translate: Translate | None = None,
    ) -> None:
        self.named: tuple[LockTarget, ...] = ()
        self.names: tuple[str, ...] = ()
        self.proofs: Sequence[NotNullProof] = ()
        if not required:
            return
        connection, dialect = runner.session.connection, runner.session.dialect
        statements = _rendered(runner, revision)
        if translate is not None:
            sent = (translate(statement) for statement in statements)
            statements = [statement for statement in sent if statement is not None]
        refuse_unknown(runner, statements)
        read_in_advance(runner, statements)
        if dialect.metadata_only_under_lock:
            refuse_what_rebuilds(runner, statements)
            self.named = self._in_text(runner, revision, statements)
        self.proofs = dialect.not_null_proofs(connection, statements)
        tables = {t.table for t in self.named}
        for name in required:
            migration = runner.project.data_migrations[name]
            with contextlib.suppress(exceptions.PendingUnreadable):
                subject = migration.subject(connection)
                tables |= {target.table for target in reads_of(connection, subject).targets}
        connection.rollback()
        self.names = tuple(sorted(tables))

    @staticmethod
    def _in_text(runner: RevisionRunner, revision: str, statements: Sequence[str]) -> tuple[LockTarget, ...]:
        declared = runner.project.graph.revisions[revision].locks
        server = runner.session.dialect.name
        words = {word for text in statements for word in identifiers(text, server)} | set(declared)
        ours = state.TABLES | {runner.environment.version_table}
        inspector = sa.inspect(runner.session.connection)
        own = [LockTarget(table) for table in inspector.get_table_names() if table in words]
        names = {name for text in (*statements, *declared) for name in qualified_names(text, server)}
        schemas = set(inspector.get_schema_names()) & {schema for schema, _table in names}
        others = [
            LockTarget(table, schema)
            for schema, table in sorted(names)
            if schema in schemas and inspector.has_table(table, schema=schema)
        ]
        return tuple(target for target in (*own, *others) if target.table not in ours)


def _rendered(runner: RevisionRunner, revision: str) -> list[str]:
    try:
        connection = runner.session.connection
        scope = SyncScope.of(connection)
        return render(runner.project, runner.environment, connection.engine, revision, scope)
    except NotRendered as error:
        # The script reads the database to decide what to do; its ``locks = (...)`` names the tables.
        statements: list[str] = error.statements
        return statements


def refuse_unknown(runner: RevisionRunner, statements: Sequence[str]) -> None:
    """Refuses, before anything is executed, statements that are not known to be safe.

    Raises :class:`~online_migrate.exceptions.StatementRefused`.
    """
    for statement in statements:
        verdict = runner.session.dialect.classify(statement)
        if verdict.impact in (Impact.REFUSED, Impact.CONTROL):
            raise refusal(statement, verdict)


def refusal(statement: str, verdict: Classification) -> exceptions.StatementRefused:
    return exceptions.StatementRefused(statement=shorten(statement), reason=verdict.reason, hint=verdict.hint)


def refuse_what_rebuilds(runner: RevisionRunner, statements: Sequence[str]) -> None:
    """Refuses, before anything is executed, statements that must not run while readers wait.

    Raises :class:`~online_migrate.exceptions.NotUnderLock` for a statement that changes rows, and for one
    that drops an indexed column and so rebuilds the table.
    """
    connection, dialect = runner.session.connection, runner.session.dialect
    dropped: set[str] = set()
    for statement in statements:
        if dialect.kind(statement, autocommit=False) is Kind.DATA:
            raise exceptions.NotUnderLock(statement=shorten(statement), reason=ROWS, hint=ROWS_HINT)
        dropped |= set(dropped_indexes(statement, dialect.name))
        schema = altered_schema(statement, dialect.name)
        for table, column in dropped_columns(statement, dialect.name):
            indexes = dialect.indexes_of_column(connection, table, column, schema)
            in_the_way = [index for index in indexes if index not in dropped]
            if in_the_way:
                lines = "\n".join(f"    op.drop_index({index!r}, {table!r})" for index in in_the_way)
                raise exceptions.NotUnderLock(
                    statement=shorten(statement),
                    reason=f"column {column} is indexed ({', '.join(in_the_way)}), so dropping it "
                    "rebuilds the table and blocks all readers",
                    hint=f"drop the index in the script before the column:\n{lines}",
                )


ROWS = "it changes rows, and after an interruption it is unknown whether it was executed"
ROWS_HINT = "move it into a data migration, or into a contract revision with requires = ()"


def read_in_advance(runner: RevisionRunner, statements: Sequence[str]) -> None:
    """Parses the statements: what is parsed now is cached, and is not parsed under the lock."""
    server = server_of(runner.session.connection)
    for statement in statements or [_ANY]:
        runner.session.dialect.expected(statement)
        only_adds(statement, server)
