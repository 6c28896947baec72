"""Whether this user may use LOCK TABLES, read from SHOW GRANTS: it lists what the active roles give, too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.errors import ServerFault
from online_migrate.dialects.problem import Problem

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_GRANT = re.compile(r"GRANT (?P<what>.+?) ON (?P<database>\*|`(?:[^`]|``)*`)\.\* TO ", re.DOTALL)
_ENOUGH = frozenset({"ALL PRIVILEGES", "ALL", "LOCK TABLES"})
DENIED = frozenset({1044, 1142, 1227})
"""The server's errors for a missing privilege."""


def lock_problem(connection: Connection) -> Problem | None:
    """Why LOCK TABLES would be refused in the current database; None also where it cannot be told."""
    database = connection.scalar(sa.text("SELECT DATABASE()"))
    try:
        lines = [str(row[0]) for row in connection.execute(sa.text("SHOW GRANTS"))]
    except ServerFault:
        # A server without privileges, or one that shows none: contract finds out, before it changes anything.
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
    """The statement to type, as a user who may."""
    name, _, host = user.rpartition("@")
    return f"GRANT LOCK TABLES, SELECT ON `{database}`.* TO '{name}'@'{host}'"


def may_lock(grants: Iterable[str], database: str) -> bool:
    """True if one of the lines of SHOW GRANTS gives LOCK TABLES on *database*. Pure."""
    for line in grants:
        found = _GRANT.match(line)
        if found is not None and _covers(found["database"], database):
            privileges = {word.strip().upper() for word in found["what"].split(",")}
            if privileges & _ENOUGH:
                return True
    return False


def _covers(pattern: str, database: str) -> bool:
    """True if a database of a GRANT, with its wildcards ``%`` and ``_``, means *database*."""
    if pattern == "*":
        return True
    text = pattern[1:-1].replace("``", "`")
    expression = "".join(
        re.escape(part[1:]) if part.startswith("\\") else {"%": ".*", "_": "."}.get(part, re.escape(part))
        for part in re.findall(r"\\.|.", text)
    )
    return re.fullmatch(expression, database, re.IGNORECASE) is not None
