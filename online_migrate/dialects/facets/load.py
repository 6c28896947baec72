"""The server's clock, its load, the size of its tables, and how far its replicas are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclasses.dataclass(frozen=True)
class TableSize:
    """The size of a table by the statistics of the server; *bytes*: without its indexes, None: not known."""

    rows: int
    bytes: int | None
    columns: int


class Load:
    """Measures the server: its clock, its load counters, its tables, its replicas and its cluster."""

    streams: ClassVar[bool] = False
    """The server lists the servers that stream its log; see :meth:`replication_positions`."""
    has_history: ClassVar[bool] = False
    """The server keeps old row versions in a separate history (undo) for as long as a transaction may read
    them."""

    def epoch(self) -> sa.ColumnElement[int]:
        """Returns the SQL expression of the server's clock: whole seconds since 1970 (Unix time)."""
        raise NotImplementedError

    def load(self, connection: Connection, names: Sequence[str]) -> dict[str, float]:
        """Returns the server's current load counters: those of *names* that the server has."""
        return {}

    def replication_positions(self, connection: Connection) -> tuple[int, dict[str, int | None]]:
        """Returns the log position of this server, and the replay position of each server that streams it.

        Positions are in bytes, the replicas by name; None: this user may not read the position. Returns
        ``(0, {})`` if no server streams the log, or if the server cannot report positions.
        """
        return 0, {}

    def replicas(self, connection: Connection) -> Sequence[str]:
        """Returns the names of the servers that replicate this one, as far as this user may see them."""
        return ()

    def table_size(self, connection: Connection, table: str, schema: str | None) -> TableSize | None:
        """Returns the size of a table by the server's statistics; None: it is not known."""
        raise NotImplementedError

    def flow_control(self, connection: Connection) -> float | None:
        """Returns the total time, in seconds, for which flow control has paused the writers of the cluster.

        None: the server is not a node of a cluster.
        """
        return None
