"""The clock, the load counters and the flow control of MySQL and MariaDB."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.load import Load, TableSize

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_HISTORY = "history_list_length"
_HISTORY_LENGTH = """
    SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'
"""


_SIZE = """
    SELECT t.table_rows AS row_count, t.data_length AS byte_count,
           (SELECT count(*) FROM information_schema.columns c
            WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name) AS column_count
    FROM information_schema.tables t
    WHERE t.table_schema = COALESCE(:schema, DATABASE()) AND t.table_name = :name
"""
_REPLICAS = """
    SELECT host FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'
"""
"""A user without the privilege PROCESS sees its own sessions only."""


class MySQLLoad(Load):
    """Reads SHOW GLOBAL STATUS; MariaDB reads the length of the history elsewhere."""

    has_history: ClassVar[bool] = True

    def epoch(self) -> sa.ColumnElement[int]:
        return sa.func.unix_timestamp(type_=sa.BigInteger())

    def load(self, connection: Connection, names: Sequence[str]) -> dict[str, float]:
        query = sa.text("SHOW GLOBAL STATUS WHERE Variable_name IN :names")
        rows = connection.execute(
            query.bindparams(sa.bindparam("names", expanding=True)), {"names": list(names)}
        )
        wanted = {name.lower(): name for name in names}
        found = {wanted[str(name).lower()]: float(value) for name, value in rows if _is_number(value)}
        if _HISTORY in names:
            found[_HISTORY] = self.history_length(connection)
        return found

    def history_length(self, connection: Connection) -> float:
        # MySQL does not list it in SHOW GLOBAL STATUS; MariaDB does.
        return float(connection.scalar(sa.text(_HISTORY_LENGTH)) or 0)

    def replicas(self, connection: Connection) -> Sequence[str]:
        return [str(host) for host in connection.scalars(sa.text(_REPLICAS))]

    def table_size(self, connection: Connection, table: str, schema: str | None) -> TableSize | None:
        found = connection.execute(sa.text(_SIZE), {"schema": schema, "name": table}).one_or_none()
        if found is None or found.row_count is None:
            return None
        return TableSize(int(found.row_count), int(found.byte_count or 0), int(found.column_count))

    def flow_control(self, connection: Connection) -> float | None:
        rows = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'wsrep_flow_control_paused_ns'")).all()
        return float(rows[0][1]) / 1e9 if rows else None


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return math.isfinite(float(text))
    return False
