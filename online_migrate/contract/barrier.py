"""The barrier of a data migration, and whether it and the verification of every row hold.

Invariants:

* A verification counts only for the barrier after which it began: what is recorded of the rows is forgotten
  when a barrier is created.
* A barrier counts only if the catalog shows it as it was recorded when it was created.
* What is not known to hold does not count: then the rows are counted, or the gate is closed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from online_migrate import exceptions, state
from online_migrate.dialects import dialect_of
from online_migrate.dialects.facets.barriers import BarrierText, LiveBarrier
from online_migrate.dialects.problem import Problem
from online_migrate.dialects.query import sql_text
from online_migrate.exceptions import Blocker
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.pending import fails_verify, is_pending
from online_migrate.kinds.subject import Subject
from online_migrate.kinds.visibility import holds_text, reads_of
from online_migrate.state import BarrierState, Verification, VerifyStatus

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

PREFIX = "online_migrate_barrier_"
TABLE_ALTERED = "table-altered"
"""The state of a barrier whose table was altered after it was created: the rows are counted again."""
_LONGEST = 56
"""Characters of a name, so that a trigger's suffix fits into the 63 of PostgreSQL and the 64 of MySQL."""
BARRIER_GONE = ("barrier-missing", "barrier-changed", "barrier-disabled")
"""The blockers of a barrier that was recorded and is not in place."""
_COUNTED = "contract counts the rows under its lock"


class NoBarrier(exceptions.Refused):
    """Data migration {name!r} cannot have a barrier: {reason}"""


def barrier_name(name: str) -> str:
    """Returns the name, in the database, of the barrier of data migration *name*. Pure."""
    plain = re.sub(r"[^a-z0-9_]", "_", name)
    if plain == name and len(PREFIX + name) <= _LONGEST:
        return PREFIX + name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{(PREFIX + plain)[: _LONGEST - 9]}_{digest}"


def bad_row(subject: Subject) -> sa.ColumnElement[bool]:
    """Returns the condition of a row that is pending or fails ``verify``; its value is never unknown."""
    conditions = [] if subject.pending is None else [is_pending(subject.pending)]
    wrong = fails_verify(subject)
    if wrong is not None:
        conditions.append(wrong)
    return sa.or_(sa.false(), *conditions) if len(conditions) != 1 else conditions[0]


def expressions_text(connection: Connection, subject: Subject) -> str:
    """Returns the condition of a bad row as SQL text, with its values: another text is another condition."""
    query: sa.Select[Any] = (
        sa.select(sa.literal_column("1")).select_from(subject.table).where(bad_row(subject))
    )
    try:
        return str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    except (sa.exc.CompileError, NotImplementedError):
        compiled = query.compile(dialect=connection.dialect)
        return f"{compiled} {sorted((name, repr(value)) for name, value in compiled.params.items())}"


def barrier_of(connection: Connection, migration: DataMigration, subject: Subject) -> BarrierText:
    """Returns the barrier of *migration*. Locks nothing and changes nothing.

    Raises :class:`NoBarrier` if this server, its table or its expressions do not permit one that stops every
    writer.
    """
    dialect, table = dialect_of(connection), subject.table
    problem = dialect.barrier_problem(connection, table.name, table.schema)
    problem = problem or _reads_problem(connection, subject)
    if problem is None:
        condition = _condition(connection, subject)
        if isinstance(condition, Problem):
            problem = condition
        else:
            barrier = BarrierText(barrier_name(migration.name), table.name, table.schema, condition)
            problem = dialect.condition_problem(connection, barrier)
            if problem is None:
                return barrier
    raise NoBarrier(name=migration.name, reason=problem.reason, hint=problem.hint)


def _reads_problem(connection: Connection, subject: Subject) -> Problem | None:
    """Returns why the conditions do not depend on the row alone; None: they read no other row."""
    reads = reads_of(connection, subject)
    if reads.problem is not None:
        return reads.problem
    others = [target.table for target in reads.targets if target.table != subject.table.name]
    if others:
        return Problem(reason=f"its expressions read table {others[0]}", hint=_COUNTED)
    queries = [part for part in visitors.iterate(bad_row(subject)) if isinstance(part, sa.SelectBase)]
    if queries:
        return Problem(reason="its expressions read other rows of the table", hint=_COUNTED)
    return None


def _condition(connection: Connection, subject: Subject) -> str | Problem:
    """Returns the condition of a bad row as SQL text, in which the columns are those of the written row."""
    dialect, bad = dialect_of(connection), bad_row(subject)
    if holds_text(bad):
        return Problem(
            reason="its expressions contain SQL text, whose columns are not known",
            hint=f"write them with the columns of the table, or {_COUNTED}",
        )

    def named(part: Any, **_given: Any) -> Any:
        if isinstance(part, sa.ColumnClause) and not part.is_literal and part.table is not None:
            return sa.literal_column(dialect.barrier_column(connection, part.name), type_=part.type)
        return None

    replaced = visitors.replacement_traverse(bad, {}, cast(Any, named))
    try:
        return sql_text(connection, replaced)
    except (sa.exc.CompileError, NotImplementedError) as error:
        return Problem(reason=f"a value of its expressions has no SQL text: {error}", hint=_COUNTED)


# --- whether they hold ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Standing:
    """Whether the barrier and the verification of a data migration replace a count of its rows."""

    holds: bool = False
    blocker: Blocker | None = None
    """Why the gate is closed: a barrier was recorded that is not in place."""


def standing_of(
    connection: Connection, migration: DataMigration, subject: Subject, *, records: Connection
) -> Standing:
    """Returns whether the barrier and the verification hold now. Reads no row of the table.

    *records*: reads the bookkeeping tables.
    """
    recorded = state.get_verification(records, migration.name)
    if recorded is None or recorded.barrier_state is not BarrierState.CREATED:
        return Standing()
    live = live_barrier(connection, recorded)
    blocker = barrier_blocker(recorded, live)
    if blocker is not None or live is None:
        return Standing(blocker=blocker)
    table = subject.table
    holds = (
        recorded.status is VerifyStatus.COMPLETE
        and live.proves_rows
        and live.has_table_version(recorded.definition)
        and (recorded.table_name, recorded.schema_name) == (table.name, table.schema)
        and recorded.expressions == expressions_text(connection, subject)
        and dialect_of(connection).barrier_problem(connection, table.name, table.schema) is None
    )
    return Standing(holds)


def live_barrier(connection: Connection, recorded: Verification) -> LiveBarrier | None:
    """Returns the barrier that was recorded, as it is now; None if it is not there."""
    assert recorded.barrier is not None
    return dialect_of(connection).live_barrier(
        connection, recorded.barrier, recorded.table_name, recorded.schema_name
    )


def barrier_blocker(recorded: Verification, live: LiveBarrier | None) -> Blocker | None:
    """Returns why a barrier that was recorded is not in place; None if it is. Pure."""
    hint = (
        f"online-migrate verify {recorded.name}   (creates it again and verifies every row; or, to let "
        f"contract count the rows: online-migrate verify {recorded.name} --drop-barrier)"
    )
    where = f"the barrier {recorded.barrier} of {recorded.table_name}"
    if live is None:
        return Blocker("barrier-missing", recorded.name, f"{where} was dropped after it was created", hint)
    if not live.has_definition(recorded.definition):
        return Blocker("barrier-changed", recorded.name, f"{where} is not the one that was created", hint)
    if live.disabled is not None:
        return Blocker("barrier-disabled", recorded.name, f"{where} is not enforced: {live.disabled}", hint)
    return None
