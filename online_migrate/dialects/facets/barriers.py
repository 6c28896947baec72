"""Barriers: what makes the server refuse a row that a data migration would have to migrate again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.problem import Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class BarrierText:
    """A barrier to be created.

    *condition*: SQL that is true for a row that the server must refuse, and never NULL; see
    :meth:`Barriers.barrier_column`.
    """

    name: str
    table: str
    schema: str | None
    condition: str


@dataclasses.dataclass(frozen=True)
class LiveBarrier:
    """A barrier as the catalog shows it now."""

    definition: str
    """What was created, by which account and when, as far as the server records it."""
    disabled: str | None = None
    """Why the server does not enforce it; None: it does."""
    proves_rows: bool = True
    """False if rows that were written before it have not been checked by the server yet."""
    table_version: str | None = None
    """Changes with each ALTER TABLE. None: the server checks the rows that an ALTER TABLE changes."""

    @property
    def recorded(self) -> str:
        """What is recorded when the barrier is created."""
        return self.definition if self.table_version is None else f"{self.definition}\n{self.table_version}"

    def has_definition(self, recorded: str | None) -> bool:
        """Returns True if *recorded* is of the same barrier."""
        if self.table_version is None or recorded is None:
            return recorded == self.definition
        return recorded.rpartition("\n")[0] == self.definition

    def has_table_version(self, recorded: str | None) -> bool:
        """Returns True if the table was not altered since *recorded*."""
        return self.table_version is None or (recorded or "").rpartition("\n")[2] == self.table_version


class Barriers:
    """Creates barriers, and reads whether they are in place. The default: this server has none."""

    barrier_reads_rows: ClassVar[bool] = False
    """:meth:`validate_barrier` returns a statement: the server checks the rows that were there before."""

    def barrier_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        """Returns why a barrier of this table would not stop every writer; None if it would."""
        return Problem(
            reason="this server has no barrier that refuses a row of every writer",
            hint="contract counts the rows under its lock",
        )

    def condition_problem(self, connection: Connection, barrier: BarrierText) -> Problem | None:
        """Returns why the condition may have another value in another session, or later; None if it cannot.

        Locks nothing and changes nothing.
        """
        return None

    def barrier_column(self, connection: Connection, name: str) -> str:
        """Returns how the condition of a barrier names column *name* of the written row."""
        raise NotImplementedError

    def create_barrier(
        self, connection: Connection, barrier: BarrierText, send: Callable[[str], None]
    ) -> None:
        """Creates a barrier with the statements that it passes to *send*, which executes them.

        It waits for every transaction that has written to the table.
        """
        raise NotImplementedError

    def validate_barrier(self, connection: Connection, barrier: BarrierText) -> str | None:
        """Returns the statement that checks the rows that were written before; None if there is none."""
        return None

    def drop_barrier(
        self, connection: Connection, name: str, table: str, schema: str | None
    ) -> Sequence[str]:
        """Returns the statements that drop a barrier, or what is there of it."""
        return ()

    def live_barrier(
        self, connection: Connection, name: str, table: str, schema: str | None
    ) -> LiveBarrier | None:
        """Returns the barrier as it is now; None if it, or a part of it, is not there."""
        return None

    def barrier_refusal(self, connection: Connection, error: BaseException) -> Problem | None:
        """Returns the privilege that *error*, of a statement of :meth:`create_barrier`, says is missing."""
        return None
