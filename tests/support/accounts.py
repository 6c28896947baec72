"""Users with a limit of connections. Server-specific statements are in tables."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import sqlalchemy as sa

from tests.servers import Database
from tests.servers.access import administration

_PASSWORD = "of-few-words"
_MYSQL = {
    "create": (
        "CREATE USER {user}@'%' IDENTIFIED BY '{password}' WITH MAX_USER_CONNECTIONS {most}",
        "GRANT ALL ON {database}.* TO {user}@'%'",
    ),
    "drop": ("DROP USER {user}@'%'",),
}
_STATEMENTS = {
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
    "postgresql": {
        "create": (
            "CREATE ROLE {user} LOGIN PASSWORD '{password}' CONNECTION LIMIT {most}",
            "ALTER DATABASE {database} OWNER TO {user}",
        ),
        "drop": ("DROP DATABASE IF EXISTS {database} WITH (FORCE)", "DROP ROLE {user}"),
    },
}


@contextlib.contextmanager
def limited_user(database: Database, most: int) -> Iterator[str]:
    """Yields the URL of *database* for a new user with at most *most* connections at the same time."""
    names = {
        "user": f"om_few_{uuid.uuid4().hex[:8]}",
        "password": _PASSWORD,
        "most": most,
        "database": database.name,
    }
    statements = _STATEMENTS[database.server.product]
    with administration(database.server.url) as connection:
        for statement in statements["create"]:
            connection.execute(sa.text(statement.format(**names)))
    url = sa.make_url(database.url).set(username=str(names["user"]), password=_PASSWORD)
    try:
        yield url.render_as_string(hide_password=False)
    finally:
        database.engine.dispose()
        with administration(database.server.url) as connection:
            for statement in statements["drop"]:
                connection.execute(sa.text(statement.format(**names)))


_READER = {
    "mysql": (
        "CREATE USER {user}@'%' IDENTIFIED BY '{password}'",
        "GRANT SELECT ON {database}.{table} TO {user}@'%'",
        "DROP USER {user}@'%'",
    ),
    "postgresql": (
        "CREATE ROLE {user} LOGIN PASSWORD '{password}'",
        "GRANT SELECT ON {table} TO {user}",
        "DROP OWNED BY {user}; DROP ROLE {user}",
    ),
}
_READER["mariadb"] = _READER["mysql"]


@contextlib.contextmanager
def reader(database: Database, *, hidden: str) -> Iterator[str]:
    """Yields the URL of *database* for a new user who may read every table except *hidden*."""
    names = {
        "user": f"om_reads_{uuid.uuid4().hex[:8]}",
        "password": _PASSWORD,
        "database": database.name,
    }
    create, grant, drop = _READER[database.server.product]
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        tables = [table for table in sa.inspect(connection).get_table_names() if table != hidden]
        connection.execute(sa.text(create.format(**names)))
        for table in tables:
            connection.execute(sa.text(grant.format(table=table, **names)))
    url = sa.make_url(database.url).set(username=names["user"], password=_PASSWORD)
    try:
        yield url.render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text(drop.format(**names)))
