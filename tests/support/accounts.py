"""Users of a server that may open few connections. What only one server understands stands in tables."""

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
    """The URL of *database* for a new user, who may open *most* connections at the same time."""
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
