"""Barriers of MySQL and MariaDB: two AFTER triggers that SIGNAL.

An AFTER trigger reads the row as it was stored, whatever other triggers have changed before, and no trigger
can change it afterwards. IGNORE does not turn the error of SIGNAL into a warning.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.barriers import Barriers, BarrierText, LiveBarrier
from online_migrate.dialects.mysql_errors import error_code
from online_migrate.dialects.mysql_variables import variables
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.query import rows
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.sql.parse import Unreadable
from online_migrate.sql.row_condition import unknown_parts, values_used
from online_migrate.writers.bulk import plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_EVENTS = {"insert": "INSERT", "update": "UPDATE"}
_LIVE = """
    SELECT trigger_name AS name, event_manipulation AS event, action_timing AS timing,
           action_statement AS body, sql_mode AS mode, definer, UNIX_TIMESTAMP(created) AS created
    FROM information_schema.triggers
    WHERE event_object_schema = COALESCE(:schema, DATABASE()) AND event_object_table = :table
      AND trigger_name IN (:insert, :update)
    ORDER BY trigger_name
"""
_TABLE = """
    SELECT UNIX_TIMESTAMP(create_time) AS altered_at,
        UNIX_TIMESTAMP(create_time) = UNIX_TIMESTAMP() AS in_this_second
    FROM information_schema.tables
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_CASCADES = """
    SELECT constraint_name AS name FROM information_schema.referential_constraints
    WHERE constraint_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND (update_rule NOT IN ('NO ACTION', 'RESTRICT')
           OR delete_rule NOT IN ('NO ACTION', 'RESTRICT', 'CASCADE'))
"""
_PARTITIONS = """
    SELECT COUNT(partition_name) AS parts FROM information_schema.partitions
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_COLUMNS = """
    SELECT column_name AS name, data_type AS type FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
"""
_CHANNELS = """
    SELECT COUNT(*) FROM performance_schema.replication_connection_configuration
    WHERE channel_name NOT LIKE 'group_replication%'
"""
_NO_TRIGGER, _NO_SUPER = (1142, 1227), (1419,)
_COUNTED = "contract counts the rows under its lock"
_DEPENDENT = frozenset({"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "TRADITIONAL"})
"""Modes of SQL in which an expression raises an error where a query gets a warning."""


class MySQLBarriers(Barriers):
    """Creates a trigger for INSERT and one for UPDATE; REPLACE and upserts fire them."""

    name: ClassVar[str]

    def barrier_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        found = rows(connection, _CASCADES, table=table, schema=schema)
        if found:
            return Problem(
                reason=f"foreign key {found[0].name} of {table} changes rows by cascade: no trigger fires",
                hint=_COUNTED,
            )
        if rows(connection, _PARTITIONS, table=table, schema=schema)[0].parts:
            return Problem(
                reason=f"{table} is partitioned, and EXCHANGE PARTITION fires no trigger", hint=_COUNTED
            )
        return self._cluster_problem(connection) or self._replica_problem(connection)

    def _cluster_problem(self, connection: Connection) -> Problem | None:
        method = variables(connection, "wsrep_osu_method").get("wsrep_osu_method", "TOI")
        if method == "TOI":
            return None
        return Problem(
            reason=f"wsrep_osu_method is {method}: a trigger is created on this node of the cluster only",
            hint="SET GLOBAL wsrep_osu_method = 'TOI', then reconnect and run verify again",
        )

    def _replica_problem(self, connection: Connection) -> Problem | None:
        """The rows that a replica applies from the binary log fire no trigger."""
        try:
            is_replica = self._is_replica(connection)
        except DATABASE_ERRORS as error:
            return Problem(
                reason=f"it is not known whether this server is a replica: {error_message(error)}",
                hint="GRANT SELECT ON performance_schema.replication_connection_configuration to this user",
            )
        if not is_replica:
            return None
        return Problem(
            reason="this server is a replica, and the rows that it applies fire no trigger", hint=_COUNTED
        )

    def _is_replica(self, connection: Connection) -> bool:
        return bool(connection.scalar(sa.text(_CHANNELS)))

    def condition_problem(self, connection: Connection, barrier: BarrierText) -> Problem | None:
        columns = {
            str(row.name): str(row.type).lower()
            for row in rows(connection, _COLUMNS, table=barrier.table, schema=barrier.schema)
        }
        try:
            unknown = unknown_parts(barrier.condition, self.name, columns)
            zoned = [name for name, type_ in columns.items() if type_ == "timestamp"]
            unknown += values_used(barrier.condition, self.name, zoned)
        except Unreadable as error:
            unknown = [str(error)]
        if not unknown:
            return None
        return Problem(
            reason=f"the value of {unknown[0]} may depend on the session, and not on the row alone",
            hint=_COUNTED,
        )

    def barrier_column(self, connection: Connection, name: str) -> str:
        return f"NEW.{plain_name(connection, name)}"

    def create_barrier(
        self, connection: Connection, barrier: BarrierText, send: Callable[[str], None]
    ) -> None:
        table = plain_name(connection, barrier.schema, barrier.table)
        # The time of an ALTER TABLE is recorded in seconds: a later one must have another time.
        while rows(connection, _TABLE, table=barrier.table, schema=barrier.schema)[0].in_this_second:
            connection.execute(sa.text("SELECT SLEEP(0.1)"))
        with _lenient(connection):
            for suffix, event in _EVENTS.items():
                name = plain_name(connection, barrier.schema, f"{barrier.name}_{suffix}")
                send(
                    f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW IF {barrier.condition} "
                    "THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = "
                    f"'{barrier.name} refuses a row that is not migrated'; END IF"
                )

    def drop_barrier(
        self, connection: Connection, name: str, table: str, schema: str | None
    ) -> Sequence[str]:
        names = [plain_name(connection, schema, f"{name}_{suffix}") for suffix in _EVENTS]
        return [f"DROP TRIGGER IF EXISTS {trigger}" for trigger in names]

    def live_barrier(
        self, connection: Connection, name: str, table: str, schema: str | None
    ) -> LiveBarrier | None:
        names = {suffix: f"{name}_{suffix}" for suffix in _EVENTS}
        found = rows(connection, _LIVE, table=table, schema=schema, **names)
        if len(found) < len(_EVENTS):
            return None
        listed = [{key: str(value) for key, value in row._mapping.items()} for row in found]
        [altered] = rows(connection, _TABLE, table=table, schema=schema)
        definition = json.dumps(listed, sort_keys=True)
        # Without the time of the last ALTER TABLE it is not known whether there was a later one.
        known = altered.altered_at is not None
        return LiveBarrier(definition, proves_rows=known, table_version=str(altered.altered_at))

    def barrier_refusal(self, connection: Connection, error: BaseException) -> Problem | None:
        code = error_code(error)
        database, user = connection.execute(sa.text("SELECT DATABASE(), CURRENT_USER()")).one()
        account, _, host = str(user).rpartition("@")
        if code in _NO_TRIGGER:
            return Problem(
                reason=f"user {user} may not create a trigger: {error_message(error)}",
                hint=f"GRANT TRIGGER ON `{database}`.* TO '{account}'@'{host}'",
            )
        if code in _NO_SUPER:
            return Problem(
                reason=f"the binary log forbids it: {error_message(error)}",
                hint="SET GLOBAL log_bin_trust_function_creators = ON, or run verify as a user with SUPER",
            )
        return None


class MariaDBBarriers(MySQLBarriers):
    """Reads in the status of the server whether it is a replica, which every user may."""

    def _is_replica(self, connection: Connection) -> bool:
        found = connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'Slaves_running'")).all()
        return any(str(row[1]) not in ("0", "") for row in found)


@contextlib.contextmanager
def _lenient(connection: Connection) -> Iterator[None]:
    """Creates triggers whose conversions give a warning, as in a query, and no error."""
    before = str(connection.scalar(sa.text("SELECT @@SESSION.sql_mode")))
    modes = [mode for mode in before.split(",") if mode not in _DEPENDENT]
    connection.execute(sa.text("SET SESSION sql_mode = :modes"), {"modes": ",".join(modes)})
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.execute(sa.text("SET SESSION sql_mode = :modes"), {"modes": before})
