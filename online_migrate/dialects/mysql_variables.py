"""The variables of MySQL and MariaDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


def variables(connection: Connection, *names: str) -> dict[str, str]:
    """Returns the values, in upper case, of those variables of the session that the server has."""
    rows = connection.execute(
        sa.text("SHOW VARIABLES WHERE Variable_name IN :names").bindparams(
            sa.bindparam("names", expanding=True)
        ),
        {"names": list(names)},
    )
    return {str(name).lower(): str(value).upper() for name, value in rows}


def is_galera(connection: Connection) -> bool:
    """Returns True if the server is a node of a Galera cluster."""
    return variables(connection, "wsrep_on").get("wsrep_on") == "ON"
