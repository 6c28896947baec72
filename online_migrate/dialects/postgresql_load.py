"""The clock, the load and the replicas of PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.load import Load, TableSize
from online_migrate.dialects.query import rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_LOAD = """
    SELECT count(*) FILTER (WHERE state = 'active') AS active_backends,
           count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_backends,
           count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
           (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables) AS dead_tuples
    FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_REPLICAS = """
    SELECT r.application_name AS name, r.state, r.replay_lsn - '0/0'::pg_lsn AS place
    FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
    WHERE s.slot_type IS DISTINCT FROM 'logical'
"""
"""A row with a state and no position is a client that only stores the log (pg_receivewal, a backup). A row
without a state: this user may not read it."""


_SIZE = """
    SELECT GREATEST(coalesce(sum(c.reltuples) FILTER (WHERE c.relkind <> 'p'), 0), 0) AS row_count,
           coalesce(sum(pg_table_size(c.oid)), 0) AS byte_count,
           (SELECT count(*) FROM pg_attribute a
            WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped) AS column_count
    FROM pg_class t CROSS JOIN LATERAL (
        SELECT t.oid AS relid UNION SELECT relid FROM pg_partition_tree(t.oid)
    ) part JOIN pg_class c ON c.oid = part.relid
    WHERE t.oid = to_regclass(:name)
    GROUP BY t.oid
"""
"""A partitioned table has the size of its partitions. A table that was never analyzed has -1 tuples."""


class PostgreSQLLoad(Load):
    """Reads pg_stat_activity and pg_stat_replication."""

    streams: ClassVar[bool] = True

    def epoch(self) -> sa.ColumnElement[int]:
        return sa.cast(sa.func.floor(sa.extract("epoch", sa.func.clock_timestamp())), sa.BigInteger)

    def load(self, connection: Connection, names: Sequence[str]) -> dict[str, float]:
        row = connection.execute(sa.text(_LOAD)).one()
        return {name: float(value) for name, value in row._mapping.items()}

    def replication_positions(self, connection: Connection) -> tuple[int, dict[str, int | None]]:
        replicas = rows(connection, _REPLICAS)
        found = [row for row in replicas if row.state is None or row.place is not None]
        if not found:
            return 0, {}
        # Read after the positions of the replicas, so that no replica is ahead of the primary.
        here = connection.scalar(sa.text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))
        return int(here or 0), {row.name: None if row.place is None else int(row.place) for row in found}

    def replicas(self, connection: Connection) -> Sequence[str]:
        return [row.name for row in rows(connection, _REPLICAS)]

    def table_size(self, connection: Connection, table: str, schema: str | None) -> TableSize | None:
        prepare = connection.dialect.identifier_preparer
        name = ".".join(prepare.quote_identifier(part) for part in (schema, table) if part)
        found = connection.execute(sa.text(_SIZE), {"name": name}).one_or_none()
        if found is None:
            return None
        return TableSize(int(found.row_count), int(found.byte_count), int(found.column_count))
