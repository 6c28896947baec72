"""The open transactions of MySQL and MariaDB, by session, and how old they are.

Invariant: a transaction that begins while this process reads the holders again and again is seen.
``information_schema.innodb_trx`` is a copy. The server renews it only if no session has read it for 0.1 s, so
sessions that read it more often are shown the same rows for ever. Therefore it is read less often than that,
at irregular intervals, because other processes do the same. The view of performance_schema is not a copy.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate.driver_errors import DATABASE_ERRORS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Row

_INNODB = """
    SELECT t.trx_mysql_thread_id AS id,
           TIMESTAMPDIFF(SECOND, t.trx_started, CONVERT_TZ(NOW(), @@time_zone, 'SYSTEM')) AS seconds
    FROM information_schema.innodb_trx t WHERE t.trx_mysql_thread_id <> CONNECTION_ID()
"""
_CURRENT = """
    SELECT t.processlist_id AS id, e.timer_wait / 1e12 AS seconds
    FROM performance_schema.events_transactions_current e
    JOIN performance_schema.threads t ON t.thread_id = e.thread_id
    WHERE e.state = 'ACTIVE' AND t.processlist_id <> CONNECTION_ID()
"""
_READ = "online_migrate_innodb_trx"
"""The key of ``connection.info`` for the last rows of :data:`_INNODB`, and when they are read again."""
_INTERVAL = (0.12, 0.35)
"""The shortest and the longest time between two reads of ``innodb_trx``, in seconds."""
_jitter = random.Random()


def open_transactions(connection: Connection) -> dict[int, float]:
    """Returns the age of each open transaction, by session; empty if this user may not see them.

    A prepared XA transaction whose session has ended has the session 0, and counts.
    """
    current = {row.id: float(row.seconds or 0) for row in optional_rows(connection, _CURRENT)}
    return {**_of_innodb(connection), **current}


def _of_innodb(connection: Connection) -> dict[int, float]:
    now = time.monotonic()
    again, found = connection.info.get(_READ, (now, {}))
    if now >= again:
        found = {row.id: float(row.seconds or 0) for row in optional_rows(connection, _INNODB)}
        connection.info[_READ] = (time.monotonic() + _jitter.uniform(*_INTERVAL), found)
    return dict(found)


def optional_rows(connection: Connection, query: str, **parameters: Any) -> list[Row[Any]]:
    """Returns the rows of *query*; none if the server refuses it: another syntax, or a missing privilege."""
    try:
        return rows_of(connection, query, **parameters)
    except DATABASE_ERRORS:
        connection.rollback()
        return []


def rows_of(connection: Connection, query: str, **parameters: Any) -> list[Row[Any]]:
    """Returns the rows of *query*; each of *parameters* is a list."""
    statement = sa.text(query)
    if parameters:
        statement = statement.bindparams(*(sa.bindparam(name, expanding=True) for name in parameters))
    return list(connection.execute(statement, parameters).all())
