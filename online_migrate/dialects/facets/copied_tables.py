"""Tables that a tool copies while they are used: what it must know of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class CopiedTable:
    """A table by its catalog.

    *kind*: its type, such as ``BASE TABLE``. *has_key*: it has a primary key, or a unique key of NOT NULL
    columns. *foreign_keys*: its own; *referencing*: the other tables with a foreign key on it. *checks*: its
    CHECK constraints that have a name. *unreadable_columns*: those whose definition the server may not return
    as it is, because it has a character of four bytes.
    """

    kind: str
    has_key: bool
    triggers: tuple[str, ...] = ()
    foreign_keys: tuple[str, ...] = ()
    referencing: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    unreadable_columns: tuple[str, ...] = ()


class CopiedTables:
    """Answers for a server that has such tools; the defaults are those of a server without."""

    ddl_tools: ClassVar[tuple[str, ...]] = ()
    """The names of the tools that work with this server."""
    shows_replicas: ClassVar[bool] = False
    """The server has SHOW SLAVE HOSTS and SHOW SLAVE STATUS, with which a tool finds replicas."""

    def copied_table(self, connection: Connection, schema: str, table: str) -> CopiedTable | None:
        """Returns what the catalog says of a table; None if it does not exist."""
        raise NotImplementedError

    def existing_tables(self, connection: Connection, schema: str, names: Sequence[str]) -> list[str]:
        """Returns those of *names* that are tables of the schema."""
        raise NotImplementedError

    def sessions_with(self, connection: Connection, mark: str) -> list[int]:
        """Returns the ids of other sessions whose statement contains *mark*, if this user may see them."""
        raise NotImplementedError

    def session_mode(self, connection: Connection) -> str:
        """Returns the ``sql_mode`` of the session."""
        raise NotImplementedError
