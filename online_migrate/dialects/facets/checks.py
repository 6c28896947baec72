"""Why rows cannot be migrated, or a count of them proves nothing, on a server or in a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.problem import Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class Checks:
    """Finds what keeps rows from being migrated, hides them from a count, or lets a lock miss writers."""

    location_hint: ClassVar[str] = "set the database in the URL (--url), and remove it from env.py"
    """The hint that explains how to make a setting of :meth:`location` for every connection."""

    def check_data_server(self, connection: Connection) -> Problem | None:
        """Returns why rows cannot be migrated on this server with its current settings; None if they can."""
        return None

    def check_table(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        """Returns why the rows of this table cannot be migrated safely; None if they can."""
        return None

    def check_visibility(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        """Returns why a query of this table may not return all of its rows, or returns rows of another table.

        None: the query returns every row of this table.
        """
        raise NotImplementedError

    def check_functions(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        """Returns why an expression may read tables that its *text* does not name; None if it does not.

        *called*: the names in the text that are followed by a parenthesis; *words*: all names in it.
        """
        raise NotImplementedError

    def check_contract_server(self, connection: Connection, *, barriers: bool = False) -> Problem | None:
        """Returns why the verification under a table lock would prove nothing on this server.

        None: it proves that no row is pending. *barriers*: barriers refuse pending rows on each server of the
        cluster, and the lock need not reach the others.
        """
        return None

    def lock_stops_all_writers(self, connection: Connection) -> bool:
        """Returns False if a table lock holds on one node of a cluster only."""
        return True

    def location(self, connection: Connection) -> dict[str, str]:
        """Returns the settings of the session that decide which table a name refers to, and which rows the
        session may read: setting -> value."""
        raise NotImplementedError

    def identity(self, connection: Connection) -> dict[str, str]:
        """Returns what identifies the server and the database of *connection*, whatever URL led to it.

        Two connections with the same identity read and write the same tables. The nodes of a cluster that
        all accept writes have one identity.
        """
        raise NotImplementedError
