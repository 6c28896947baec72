"""MySQL and MariaDB: checks whether a query returns every row of a table, and a lock blocks every writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects import mysql_charsets as charsets
from online_migrate.dialects import mysql_privileges
from online_migrate.dialects.facets.checks import Checks
from online_migrate.dialects.mysql_variables import is_galera, variables
from online_migrate.dialects.problem import Problem, of_a_view
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.sql.parse import Unreadable, parse
from online_migrate.writers.bulk import plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

TRANSACTIONAL = frozenset({"INNODB", "NDBCLUSTER", "ROCKSDB", "TOKUDB"})
"""The storage engines that have transactions."""
_LOCATION = "SELECT DATABASE() AS `database`, CURRENT_USER() AS user, CURRENT_ROLE() AS role"
_OF_THE_SERVER = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid', 'hostname', 'port', "
    "'datadir', 'server_id', 'group_replication_group_name')"
)
_OF_THE_CLUSTER = "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'"
_TABLE = """
    SELECT UPPER(table_type) AS kind, UPPER(engine) AS engine FROM information_schema.tables
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_VIEW = """
    SELECT view_definition FROM information_schema.views
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_LOCAL = frozenset({"INNODB", "ROCKSDB", "TOKUDB", "MYISAM", "ARIA", "MEMORY", "CSV", "ARCHIVE"})
"""The storage engines whose tables exist on this server only, so that LOCK TABLES blocks all writers."""
_ROUTINES = """
    SELECT DISTINCT routine_name FROM information_schema.routines
    WHERE routine_type = 'FUNCTION' AND LOWER(routine_name) IN :names
"""
_MEMBERS = """
    SELECT m.member_state AS state, m.member_role AS role, m.member_id = @@server_uuid AS is_this
    FROM performance_schema.replication_group_members m
"""
_STOP_WRITERS = (
    "stop the writers of the old schema, check with online-migrate gate, then run contract after "
    "SELECT group_replication_switch_to_single_primary_mode()   (on its primary)"
)


def visibility_problem(connection: Connection, table: str, schema: str | None) -> Problem | None:
    """Returns why a query may not return every row of *table*, or reads another table of that name.

    None: the query returns every row, and LOCK TABLES blocks every writer of the table.
    """
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
            reason=f"{name} is a temporary table, which is not visible to other sessions",
            hint="drop it, or rename it",
        )
    if found is None or found.kind != "BASE TABLE" or found.engine not in _LOCAL:
        kind = "not in information_schema" if found is None else f"{found.kind} {found.engine or ''}".strip()
        return Problem(
            reason=f"{name} is {kind}: it is not known whether a lock on it blocks all writers",
            hint="store it in InnoDB on this server, or grant this user privileges on the table",
        )
    return None


def period_key_problem(connection: Connection, name: str) -> Problem | None:
    """Returns why the table cannot be walked by its key, if the key contains a period of two columns.

    *name*: the quoted name of the table. SQLAlchemy reflects such a key without the period, and the remaining
    columns are not unique. None: no key that would be walked contains a period.
    """
    keys = [line.strip() for line in _definition(connection, name).splitlines() if "KEY " in line]
    primary = [line for line in keys if line.startswith("PRIMARY KEY ")]
    walked = primary or [line for line in keys if line.startswith("UNIQUE KEY ")]
    if not any("WITHOUT OVERLAPS" in line.upper() for line in walked):
        return None
    return Problem(
        reason=f"a key of table {name} contains a period (WITHOUT OVERLAPS), which cannot be walked",
        hint="make a primary key of its columns, and the key with the period a UNIQUE key",
    )


def _is_temporary(connection: Connection, name: str) -> bool:
    """Returns True if the name refers to a temporary table.

    A temporary table hides the permanent table of the same name, and is listed in no catalog.
    """
    return _definition(connection, name).upper().startswith("CREATE TEMPORARY ")


def _definition(connection: Connection, name: str) -> str:
    # The driver takes a percent sign for the beginning of a placeholder.
    doubled = name.replace("%", "%%")
    row = connection.exec_driver_sql(f"SHOW CREATE TABLE {doubled}").first()
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
    """Returns why an expression may read tables that its text does not name, if it calls a stored function.

    *called*: the names of the functions that it calls. None: none of them is a stored function.
    """
    names = sorted({name.lower() for name in called})
    statement = sa.text(_ROUTINES).bindparams(sa.bindparam("names", expanding=True))
    found = connection.scalars(statement, {"names": names or [""]}).first()
    if found is None:
        return None
    return Problem(
        reason=f"stored function {found} may read tables that are not locked",
        hint="replace the call with its expression",
    )


def group_problem(connection: Connection) -> Problem | None:
    """Returns why a table lock on this server does not block every writer, in a multi-primary group.

    None: the server is in no group, or the group has a single primary.
    """
    rows = connection.exec_driver_sql(
        "SHOW GLOBAL VARIABLES LIKE 'group_replication_single_primary_mode'"
    ).all()
    if not rows:
        return None  # the plugin is not loaded
    try:
        members = connection.execute(sa.text(_MEMBERS)).all()
    except DATABASE_ERRORS as error:
        return Problem(
            reason=f"Group Replication is loaded, and its members cannot be read: {error_message(error)}",
            hint="GRANT SELECT ON performance_schema.replication_group_members to this user",
        )
    primaries = [m for m in members if m.role == "PRIMARY"]
    in_a_group = any(m.state != "OFFLINE" for m in members if m.is_this) or len(members) > 1
    if len(primaries) < 2 and not (in_a_group and str(rows[0][1]).upper() != "ON"):
        return None
    return Problem(
        reason="this is a member of a multi-primary group: a table lock holds on this member only, "
        "so the verification under it does not cover writers on the other members",
        hint=_STOP_WRITERS,
    )


class MySQLChecks(Checks):
    """Checks the binary log, the storage engines, the keys, and whether a lock reaches every writer."""

    location_hint: ClassVar[str] = (
        "set the database in the URL (--url), and the role with SET DEFAULT ROLE ... TO the user of the URL"
    )

    def check_data_server(self, connection: Connection) -> Problem | None:
        found = variables(connection, "log_bin", "binlog_format")
        if found.get("log_bin") == "ON" and found.get("binlog_format", "ROW") == "STATEMENT":
            return Problem(
                reason="binlog_format=STATEMENT refuses every write under READ COMMITTED (error 1665)",
                hint="SET GLOBAL binlog_format = 'ROW'   (or MIXED), then reconnect and run again",
            )
        return None

    def check_table(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        engine = connection.scalar(
            sa.text(
                "SELECT engine FROM information_schema.tables "
                "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table"
            ),
            {"schema": schema, "table": table},
        )
        if engine is None or str(engine).upper() in TRANSACTIONAL:
            problem = charsets.key_problem(connection, table, schema)
            return problem or period_key_problem(connection, plain_name(connection, schema, table))
        return Problem(
            reason=f"table {table!r} uses the engine {engine}, which has no transactions: "
            "a chunk and its checkpoint cannot commit together",
            hint=f"ALTER TABLE {table} ENGINE=InnoDB",
        )

    def check_visibility(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        return visibility_problem(connection, table, schema)

    def check_functions(
        self, connection: Connection, called: Sequence[str], words: Sequence[str], text: str
    ) -> Problem | None:
        return functions_problem(connection, called)

    def check_contract_server(self, connection: Connection, *, barriers: bool = False) -> Problem | None:
        if is_galera(connection) and not barriers:
            return Problem(
                reason="this is a Galera node: a table lock holds on this node only, "
                "so the verification under it does not cover writers on the other nodes",
                hint="online-migrate verify   (creates a barrier on every node, and verifies every row), "
                "then run contract again",
            )
        return mysql_privileges.lock_problem(connection) or group_problem(connection)

    def lock_stops_all_writers(self, connection: Connection) -> bool:
        return not is_galera(connection)

    def location(self, connection: Connection) -> dict[str, str]:
        row = connection.execute(sa.text(_LOCATION)).one()
        return {str(name): str(value) for name, value in row._mapping.items()}

    def identity(self, connection: Connection) -> dict[str, str]:
        found = {str(name): str(value) for name, value in connection.exec_driver_sql(_OF_THE_SERVER)}
        clusters = [
            *(str(value) for _, value in connection.exec_driver_sql(_OF_THE_CLUSTER)),
            found.pop("group_replication_group_name", ""),
        ]
        cluster = next((name for name in clusters if name), None)
        server = found if cluster is None else {"cluster": cluster}
        return {"database": str(connection.exec_driver_sql("SELECT DATABASE()").scalar()), **server}
