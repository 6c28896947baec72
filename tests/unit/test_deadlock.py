"""A deadlock of a schema change with the application is a wait where DDL is transactional."""

from __future__ import annotations

import pymysql.err
import pytest
import sqlalchemy as sa
from psycopg2 import errors as postgresql_errors

from online_migrate.dialects import dialect_of
from online_migrate.runtime.lock_wait import is_lock_timeout


def wrapped(error: Exception) -> sa.exc.DBAPIError:
    return sa.exc.DBAPIError("LOCK TABLE t", None, error)


class _Deadlock(postgresql_errors.DeadlockDetected):
    pgcode = "40P01"


@pytest.mark.parametrize(
    ("url", "error", "waits"),
    [
        ("postgresql+psycopg2://", _Deadlock(), True),
        # A deadlock may have ended a transaction whose rows the journal records as written.
        ("mysql+pymysql://", pymysql.err.OperationalError(1213, "Deadlock found"), False),
        ("mysql+pymysql://", pymysql.err.OperationalError(1205, "Lock wait timeout exceeded"), True),
    ],
)
def test_deadlock_is_repeated_where_ddl_is_transactional(url: str, error: Exception, waits: bool) -> None:
    assert is_lock_timeout(dialect_of(sa.create_mock_engine(url, lambda *_: None)), wrapped(error)) is waits
