"""Barriers of PostgreSQL: a CHECK constraint. No role and no setting of a session passes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.barriers import Barriers, BarrierText, LiveBarrier
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.query import rows
from online_migrate.driver_errors import DATABASE_ERRORS, error_message
from online_migrate.writers.bulk import plain_name

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_TRIED = "online_migrate_condition"
_LIVE = """
    SELECT c.oid::bigint AS id, c.conrelid::bigint AS "table", c.convalidated AS is_valid,
           c.connoinherit AS is_alone, pg_get_expr(c.conbin, c.conrelid) AS condition,
           COALESCE(to_jsonb(c) ->> 'conenforced', 'true') = 'true' AS is_enforced
    FROM pg_constraint c
    WHERE c.conrelid = to_regclass(:table) AND c.conname = :name AND c.contype = 'c'
"""
_NOT_BUILTIN = """
    SELECT COALESCE(p.proname, o.oprname) AS name
    FROM pg_depend d
    LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
    LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = to_regclass(:index)
      AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
"""
_HINT = "contract counts the rows under its lock; or write it with immutable, built-in functions"


class PostgreSQLBarriers(Barriers):
    """Creates CHECK constraints that are NOT VALID at first, and validates them after the walk."""

    barrier_reads_rows: ClassVar[bool] = True

    def barrier_problem(self, connection: Connection, table: str, schema: str | None) -> Problem | None:
        return None

    def condition_problem(self, connection: Connection, barrier: BarrierText) -> Problem | None:
        # The server checks that a predicate of an index is immutable, and does not check a CHECK.
        table = plain_name(connection, barrier.schema, barrier.table)
        try:
            with connection.begin_nested() as savepoint:
                _send(connection, f"CREATE TEMPORARY TABLE {_TRIED} (LIKE {table})")
                _send(
                    connection,
                    f"CREATE INDEX {_TRIED}_index ON pg_temp.{_TRIED} ((1)) WHERE NOT ({barrier.condition})",
                )
                own = rows(connection, _NOT_BUILTIN, index=f"pg_temp.{_TRIED}_index")
                savepoint.rollback()
        except DATABASE_ERRORS as error:
            return Problem(reason=f"a barrier cannot have this condition: {error_message(error)}", hint=_HINT)
        if own:
            return Problem(reason=f"{own[0].name} is not built-in, and its result can change", hint=_HINT)
        return None

    def barrier_column(self, connection: Connection, name: str) -> str:
        return plain_name(connection, name)

    def create_barrier(
        self, connection: Connection, barrier: BarrierText, send: Callable[[str], None]
    ) -> None:
        table = plain_name(connection, barrier.schema, barrier.table)
        name = plain_name(connection, barrier.name)
        send(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK (NOT ({barrier.condition})) NOT VALID")

    def validate_barrier(self, connection: Connection, barrier: BarrierText) -> str | None:
        table = plain_name(connection, barrier.schema, barrier.table)
        return f"ALTER TABLE {table} VALIDATE CONSTRAINT {plain_name(connection, barrier.name)}"

    def drop_barrier(
        self, connection: Connection, name: str, table: str, schema: str | None
    ) -> Sequence[str]:
        qualified, quoted = plain_name(connection, schema, table), plain_name(connection, name)
        return [f"ALTER TABLE IF EXISTS {qualified} DROP CONSTRAINT IF EXISTS {quoted}"]

    def live_barrier(
        self, connection: Connection, name: str, table: str, schema: str | None
    ) -> LiveBarrier | None:
        found = rows(connection, _LIVE, table=plain_name(connection, schema, table), name=name)
        if not found:
            return None
        [row] = found
        recorded = {"id": row.id, "table": row.table, "condition": row.condition, "alone": row.is_alone}
        disabled = None if row.is_enforced else "it is NOT ENFORCED"
        return LiveBarrier(json.dumps(recorded, sort_keys=True), disabled, bool(row.is_valid))

    def barrier_refusal(self, connection: Connection, error: BaseException) -> Problem | None:
        if getattr(getattr(error, "orig", None), "pgcode", None) != "42501":
            return None
        user = connection.scalar(sa.text("SELECT current_user"))
        return Problem(
            reason=f"user {user} may not create it: {error_message(error)}",
            hint=f"ALTER TABLE ... OWNER TO {user}, or run verify as the owner of the table",
        )


def _send(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
