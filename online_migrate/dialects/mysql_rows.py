"""MySQL and MariaDB: what hides rows of a table from a query, and whether a lock covers all writers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.bulk import plain_name
from online_migrate.dialects.errors import ServerFault, words_of
from online_migrate.dialects.problem import Problem, of_a_view
from online_migrate.sql.parse import Unreadable, parse

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TABLE = """
    SELECT UPPER(table_type) AS kind, UPPER(engine) AS engine FROM information_schema.tables
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_VIEW = """
    SELECT view_definition FROM information_schema.views
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_LOCAL = frozenset({"INNODB", "ROCKSDB", "TOKUDB", "MYISAM", "ARIA", "MEMORY", "CSV", "ARCHIVE"})
"""The storage engines whose tables are on this server alone, so that LOCK TABLES keeps all writers out."""
_ROUTINES = """
    SELECT DISTINCT routine_name FROM information_schema.routines
    WHERE routine_type = 'FUNCTION' AND LOWER(routine_name) IN :names
"""
_MEMBERS = """
    SELECT m.member_state AS state, m.member_role AS role, m.member_id = @@server_uuid AS is_this
    FROM performance_schema.replication_group_members m
"""
_STOP_WRITERS = (
    "stop the writers of the old shape, check with online-migrate gate, and contract after "
    "SELECT group_replication_switch_to_single_primary_mode()   (on its primary)"
)


def visibility_problem(connection: Connection, table: str, schema: str | None) -> Problem | None:
    """Why a query may not see every row of *table*, or reads another table of that name."""
    name = plain_name(connection, schema, table)
    found = connection.execute(sa.text(_TABLE), {"table": table, "schema": schema}).first()
    if found is not None and found.kind in ("VIEW", "SYSTEM VIEW"):
        return of_a_view(name, "a view", _base_tables(connection, table, schema))
    if found is not None and found.kind == "SYSTEM VERSIONED":
        return Problem(
            reason=f"table {name} is system-versioned: its history rows are not counted, and no data "
            "migration can change them",
            hint=f"ALTER TABLE {name} DROP SYSTEM VERSIONING   (which deletes the history)",
        )
    if _is_temporary(connection, name):
        return Problem(
            reason=f"{name} is a temporary table, which other sessions do not see",
            hint="drop it, or give it another name",
        )
    if found is None or found.kind != "BASE TABLE" or found.engine not in _LOCAL:
        kind = "not in information_schema" if found is None else f"{found.kind} {found.engine or ''}".strip()
        return Problem(
            reason=f"{name} is {kind}: it is not known that a lock on it keeps all writers out",
            hint="store it in InnoDB on this server, or grant this user rights on the table",
        )
    return None


def period_key_problem(connection: Connection, name: str) -> Problem | None:
    """Why *name*, a quoted name, cannot be walked by its key: a part of the key is a period of two columns.

    SQLAlchemy reflects such a key without the period, and what is left of it is not unique.
    """
    keys = [line.strip() for line in _definition(connection, name).splitlines() if "KEY " in line]
    primary = [line for line in keys if line.startswith("PRIMARY KEY ")]
    walked = primary or [line for line in keys if line.startswith("UNIQUE KEY ")]
    if not any("WITHOUT OVERLAPS" in line.upper() for line in walked):
        return None
    return Problem(
        reason=f"a key of table {name} holds a period (WITHOUT OVERLAPS), which cannot be walked",
        hint="make a primary key of its columns, and the key with the period a UNIQUE key",
    )


def _is_temporary(connection: Connection, name: str) -> bool:
    """Temporary tables hide those of the same name, and are in no catalog."""
    return _definition(connection, name).upper().startswith("CREATE TEMPORARY ")


def _definition(connection: Connection, name: str) -> str:
    row = connection.exec_driver_sql(f"SHOW CREATE TABLE {name}").first()
    return "" if row is None else str(row[1])


def _base_tables(connection: Connection, table: str, schema: str | None) -> list[str]:
    from sqlglot import exp

    text = connection.scalar(sa.text(_VIEW), {"table": table, "schema": schema})
    try:
        trees = parse(str(text or ""), "mysql")
    except Unreadable:
        return []
    return sorted({found.name for tree in trees for found in tree.find_all(exp.Table) if found.name})


def functions_problem(connection: Connection, called: Iterable[str]) -> Problem | None:
    """Why an expression may read tables that its text does not name: it calls a stored function."""
    names = sorted({name.lower() for name in called})
    statement = sa.text(_ROUTINES).bindparams(sa.bindparam("names", expanding=True))
    found = connection.scalars(statement, {"names": names or [""]}).first()
    if found is None:
        return None
    return Problem(
        reason=f"stored function {found} may read tables that are not locked",
        hint="write its expression out",
    )


def group_problem(connection: Connection) -> Problem | None:
    """Why a lock on this server keeps no writer out: the group has more than one primary."""
    rows = connection.exec_driver_sql(
        "SHOW GLOBAL VARIABLES LIKE 'group_replication_single_primary_mode'"
    ).all()
    if not rows:
        return None  # the plugin is not loaded
    try:
        members = connection.execute(sa.text(_MEMBERS)).all()
    except ServerFault as error:
        return Problem(
            reason=f"Group Replication is loaded, and its members cannot be read: {words_of(error)}",
            hint="GRANT SELECT ON performance_schema.replication_group_members to this user",
        )
    primaries = [m for m in members if m.role == "PRIMARY"]
    in_a_group = any(m.state != "OFFLINE" for m in members if m.is_this) or len(members) > 1
    if len(primaries) < 2 and not (in_a_group and str(rows[0][1]).upper() != "ON"):
        return None
    return Problem(
        reason="this is a member of a multi-primary group: a table lock holds on this member only, "
        "so counting under it proves nothing about writers on the others",
        hint=_STOP_WRITERS,
    )
