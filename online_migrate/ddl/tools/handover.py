"""Hands the ALTER TABLE that would block writers to a tool, and checks the result in the catalog.

Invariants:

* A tool is started only for a change that keeps every row and every value, on a table that it can copy, and
  when nothing of an earlier run is left.
* The statement counts as done only if the tool has ended with success and the catalog shows the effects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from online_migrate.ddl.tools import errors, process
from online_migrate.ddl.tools.objections import objections_to_change, objections_to_table
from online_migrate.ddl.tools.registry import InstalledTool
from online_migrate.ddl.tools.tool import Leftovers, Limits, Tool
from online_migrate.dialects import Dialect
from online_migrate.phases.known import KnownSchema
from online_migrate.sql.forms.form import OnlineCopy
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable
from online_migrate.waiting import Clock

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_LOCKED = (
    "this session has locked it, to verify its rows, and would keep the tool waiting; put the statement into "
    "a contract revision after this one, with requires = ()"
)


def objections(
    tool: Tool,
    dialect: Dialect,
    connection: Connection,
    known: KnownSchema,
    statement: str,
    copy: OnlineCopy,
) -> Iterator[str]:
    """Yields why *tool* may not be given a statement; reads the catalog on *connection*."""
    try:
        operations = read_operations(statement, dialect.name)
    except Unreadable:
        yield "the statement cannot be read"
        return
    yield from objections_to_change(operations, known, dialect.name, tool)
    table = dialect.copied_table(connection, copy.schema, copy.table)
    if table is None:
        yield "the table does not exist"
        return
    own = tuple(name for name in table.triggers if not _is_of(tool, copy, name))
    yield from objections_to_table(dataclasses.replace(table, triggers=own), tool)


def _is_of(tool: Tool, copy: OnlineCopy, trigger: str) -> bool:
    prefix = tool.leftovers(copy.table).triggers
    return bool(prefix) and trigger.startswith(prefix)


class Handover:
    """Runs a tool for the statements of one revision.

    *connection*: that of the revision; *records*: that of the journal. *known*: the schema by the catalog,
    read on *records*. *command*: the command that applies the revision, for hints.
    """

    def __init__(
        self,
        installed: InstalledTool,
        dialect: Dialect,
        connection: Connection,
        records: Connection,
        known: KnownSchema,
        *,
        limits: Limits,
        command: str,
        echo: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._installed = installed
        self._tool = installed.tool
        self._dialect = dialect
        self._connection = connection
        self._records = records
        self._known = known
        self._limits = limits
        self._command = command
        self._echo = echo
        self._clock = clock

    @property
    def name(self) -> str:
        """The name of the tool."""
        return self._tool.name

    def objection(self, statement: str, copy: OnlineCopy | None, *, locked: bool) -> str:
        """Returns why the tool may not be given *statement*; empty if it may.

        *copy*: what it has to do; None: no tool can. *locked*: the session has locked its tables. Raises
        :class:`~online_migrate.ddl.tools.errors.ToolLeftovers`.
        """
        if locked:
            return f"{self.name} cannot copy the table: {_LOCKED}"
        if copy is None:
            return f"{self.name} cannot copy the table: it takes only an ALTER TABLE, and no partitions"
        try:
            self._refuse_leftovers(copy)
            found = objections(self._tool, self._dialect, self._records, self._known, statement, copy)
            reasons = "; ".join(found)
        finally:
            self._records.rollback()
        return f"{self.name} cannot copy the table: {reasons}" if reasons else ""

    def _refuse_leftovers(self, copy: OnlineCopy) -> None:
        known = self._tool.leftovers(copy.table)
        tables = self._dialect.existing_tables(self._records, copy.schema, known.tables)
        table = self._dialect.copied_table(self._records, copy.schema, copy.table)
        triggers = [name for name in table.triggers if _is_of(self._tool, copy, name)] if table else []
        if not tables and not triggers:
            return
        quote = self._connection.dialect.identifier_preparer.quote_identifier
        # The triggers first: they write into the table of the tool.
        cleanup = [f"DROP TRIGGER {quote(copy.schema)}.{quote(name)}" for name in triggers]
        cleanup += [f"DROP TABLE {quote(copy.schema)}.{quote(name)}" for name in tables]
        raise errors.ToolLeftovers(
            tool=self.name,
            table=copy.table,
            found=", ".join(
                [*(f"trigger {name}" for name in triggers), *(f"table {name}" for name in tables)]
            ),
            sessions=self._sessions(known),
            cleanup="; ".join(cleanup),
            command=self._command,
        )

    def _sessions(self, known: Leftovers) -> str:
        sessions = self._dialect.sessions_with(self._records, known.mark)
        if not sessions:
            return ""
        return f"it still works in session {', '.join(map(str, sessions))}: wait until it has ended; "

    def run(self, statement: str, copy: OnlineCopy) -> None:
        """Executes *statement* with the tool.

        Raises :class:`~online_migrate.ddl.tools.errors.ToolFailed` if it fails, or if the catalog does not
        show the effects.
        """
        limits = dataclasses.replace(
            self._limits,
            sql_mode=self._dialect.session_mode(self._connection),
            shows_replicas=self._dialect.shows_replicas,
        )
        # A transaction that has read the table would keep the tool from exchanging it.
        self._dialect.commit_now(self._connection)
        self._echo(f"{self.name} copies {copy.table}, while it is used; --log-level info shows its output")
        ended = process.run(
            self.name,
            lambda path: self._tool.command(
                self._installed.program, copy, self._installed.access, limits, path
            ),
            self._tool.options_file(self._installed.access),
            keep_alive=self._keep_alive,
            clock=self._clock,
        )
        said = "".join(f"\n  {line}" for line in ended.last_lines) or " (no output)"
        if ended.code:
            raise errors.ToolFailed(
                tool=self.name, what=f"ended with exit code {ended.code}", said=said, hint=self._hint(copy)
            )
        missing = self._missing(statement)
        if missing:
            what = f"ended with success, but the catalog does not show {', '.join(missing)}"
            raise errors.ToolFailed(tool=self.name, what=what, said=said, hint=self._hint(copy))

    def _hint(self, copy: OnlineCopy) -> str:
        try:
            self._refuse_leftovers(copy)
        except errors.ToolLeftovers as left:
            return left.hint
        finally:
            self._records.rollback()
        return f"nothing is left of it; correct the cause, then: online-migrate {self._command}"

    def _missing(self, statement: str) -> list[str]:
        effects = self._dialect.expected(statement).effects
        try:
            return [str(one) for one in effects if self._dialect.holds(self._records, one) is False]
        finally:
            self._records.rollback()

    def _keep_alive(self) -> None:
        """Keeps the server from ending the sessions of the command, which hold the migrator's lock."""
        for connection in (self._connection, self._records):
            connection.exec_driver_sql("SELECT 1")
            self._dialect.commit_now(connection)
