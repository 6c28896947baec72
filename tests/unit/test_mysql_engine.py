"""Engines for MySQL and MariaDB."""

from __future__ import annotations

import sqlalchemy as sa

from online_migrate.dialects.mysql_engine import mark_binary_values


def test_mysqlclient_marks_bytes() -> None:
    """Without the mark the server reads bytes as text, and refuses those that are no valid text."""
    engine = sa.create_engine("mysql+pymysql://")
    options: dict[str, object] = {}
    mark_binary_values(engine)
    for listener in engine.dialect.dispatch.do_connect:
        listener(engine.dialect, None, (), options)
    assert options == {"binary_prefix": True}
