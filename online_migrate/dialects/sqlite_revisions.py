"""Foreign keys and table copies (Alembic's batch mode) in revisions on SQLite."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from online_migrate.dialects import sqlite_foreign_keys
from online_migrate.dialects.facets.revisions import TEMPORARY_PREFIX, Revisions, TableCopy
from online_migrate.dialects.sqlite_batch import BatchGuard, indexes_of
from online_migrate.sql.statement import statements

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_BATCH_GUARD = "online_migrate_batch_guard"


class SQLiteRevisions(Revisions):
    """Checks foreign keys and table copies at the end of a revision, before it is committed."""

    @contextlib.contextmanager
    def around_revision(
        self, connection: Connection, *, accepted_losses: Sequence[str] = ()
    ) -> Iterator[None]:
        """Refuses to commit a revision that leaves rows without a parent, or whose table copies have losses.

        *accepted_losses*: the losses that the script declares. Raises
        :class:`~online_migrate.exceptions.BatchLosses` for other losses of a copy, and
        :class:`~online_migrate.exceptions.ServerError` for foreign keys.
        """
        guard = connection.info[_BATCH_GUARD] = BatchGuard()
        before = sqlite_foreign_keys.check(connection)
        yield
        guard.refuse_losses(connection, accepted_losses)
        sqlite_foreign_keys.refuse_new(before, sqlite_foreign_keys.check(connection))

    def table_copy(self, connection: Connection, table: str) -> TableCopy | None:
        return _guard_of(connection).table_copy(connection, table)

    def indexes_of(self, connection: Connection, table: str) -> Collection[str]:
        return indexes_of(connection, table).keys()

    def before_statement(self, connection: Connection, statement: str) -> None:
        for words in _words(statement, self.name):
            _guard_of(connection).before_statement(connection, words, statement)

    def after_statement(self, connection: Connection, statement: str) -> None:
        """Creates the triggers of a table again on the copy that replaced the table."""
        for words in _words(statement, self.name):
            if len(words) < 6 or [word.upper() for word in words[3:5]] != ["RENAME", "TO"]:
                continue
            if words[2] == f"{TEMPORARY_PREFIX}{words[5]}":
                for trigger in _guard_of(connection).triggers_of(words[5]):
                    connection.exec_driver_sql(trigger)


def _words(statement: str, server: str) -> Iterator[Sequence[str]]:
    """Returns the texts of the tokens of each statement in the text."""
    return ([token.text for token in tokens] for tokens in statements(statement, server))


def _guard_of(connection: Connection) -> BatchGuard:
    guard: BatchGuard = connection.info.setdefault(_BATCH_GUARD, BatchGuard())
    return guard
