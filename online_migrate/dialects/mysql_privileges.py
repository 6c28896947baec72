"""Checks whether this user has the privilege LOCK TABLES.

It is read from SHOW GRANTS, which also lists the privileges of the active roles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.problem import Problem
from online_migrate.driver_errors import DATABASE_ERRORS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_GRANT = re.compile(r"GRANT (?P<what>.+?) ON (?P<database>\*|`(?:[^`]|``)*`)\.\* TO ", re.DOTALL)
_ENOUGH = frozenset({"ALL PRIVILEGES", "ALL", "LOCK TABLES"})
DENIED = frozenset({1044, 1142, 1227})
"""The server's error codes for a missing privilege."""


def lock_problem(connection: Connection) -> Problem | None:
    """Returns why the server would refuse LOCK TABLES in the current database; None if it would not.

    Returns None also if the grants cannot be read.
    """
    database = connection.scalar(sa.text("SELECT DATABASE()"))
    try:
        lines = [str(row[0]) for row in connection.execute(sa.text("SHOW GRANTS"))]
    except DATABASE_ERRORS:
        # The server has no privilege system, or does not list privileges. Contract then fails at LOCK TABLES,
        # before it changes anything.
        connection.rollback()
        return None
    if database is None or may_lock(lines, str(database)):
        return None
    user = connection.scalar(sa.text("SELECT CURRENT_USER()"))
    return Problem(
        reason=f"user {user} lacks the privilege LOCK TABLES on {database}: rows are counted under that lock",
        hint=grant(str(database), str(user)),
    )


def grant(database: str, user: str) -> str:
    """Returns the GRANT statement for an administrator to run.

    *user*: ``name@host``, as CURRENT_USER() returns it.
    """
    name, _, host = user.rpartition("@")
    return f"GRANT LOCK TABLES, SELECT ON `{database}`.* TO '{name}'@'{host}'"


def may_lock(grants: Iterable[str], database: str) -> bool:
    """Returns True if one of the lines of SHOW GRANTS grants LOCK TABLES on *database*. Pure."""
    for line in grants:
        found = _GRANT.match(line)
        if found is not None and _covers(found["database"], database):
            privileges = {word.strip().upper() for word in found["what"].split(",")}
            if privileges & _ENOUGH:
                return True
    return False


def _covers(pattern: str, database: str) -> bool:
    """Returns True if the database pattern of a GRANT, with its wildcards ``%`` and ``_``, matches
    *database*."""
    if pattern == "*":
        return True
    text = pattern[1:-1].replace("``", "`")
    expression = "".join(
        re.escape(part[1:]) if part.startswith("\\") else {"%": ".*", "_": "."}.get(part, re.escape(part))
        for part in re.findall(r"\\.|.", text)
    )
    return re.fullmatch(expression, database, re.IGNORECASE) is not None
