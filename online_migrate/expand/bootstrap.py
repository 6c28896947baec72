"""Creates and migrates the bookkeeping tables of the engine with the engine's own scripts.

The first script runs before any of these tables exists, so two processes are kept apart by a lock of the
server that needs no table. Each script can be repeated.
"""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import HeadMaintainer, MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError

import online_migrate
from online_migrate import exceptions, state
from online_migrate.config import Settings
from online_migrate.ddl.session import Session, connect, ddl_session
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.observe.unlogged import no_context_logged
from online_migrate.script.graph import Graph
from online_migrate.script.reading import from_scripts
from online_migrate.waiting import Clock, Stop, backoff

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_CONTRACT = "contract_"


@functools.cache
def scripts() -> ScriptDirectory:
    """Returns the engine's own scripts."""
    package = Path(str(online_migrate.__file__)).parent
    return ScriptDirectory(
        str(package / "expand"),
        version_locations=[str(package / "expand" / "versions"), str(package / "contract" / "versions")],
    )


@functools.cache
def graph() -> Graph:
    """Returns the graph of the engine's own revisions."""
    return from_scripts(list(scripts().walk_revisions()))


def is_current(connection: Connection) -> bool:
    """Returns True if the bookkeeping tables are as this engine needs them.

    Raises :class:`~online_migrate.exceptions.NewerState` if a newer engine has applied a contract revision.
    Expand revisions of a newer engine are accepted, because they only add.
    """
    rows = state.version_rows(connection, state.VERSION_TABLE, None)
    return not _missing(rows)


def _missing(rows: tuple[str, ...]) -> list[str]:
    known, unknown = state.partition_known(rows, graph().revisions)
    newer = [row for row in unknown if row.startswith(_CONTRACT)]
    if newer:
        raise exceptions.NewerState(revision=newer[0])
    if unknown:
        # A newer engine has applied expand revisions after all those that are known here.
        known = [*known, *graph().heads.values()]
    applied = graph().applied(known)
    return [revision for revision in graph().revisions if revision not in applied]


def ensure(engine: Engine, settings: Settings, *, clock: Clock, stop: Stop) -> bool:
    """Creates or changes the bookkeeping tables, if they are not as this engine needs them.

    Returns True if the database had none. Raises :class:`~online_migrate.exceptions.NewerState` and
    :class:`~online_migrate.exceptions.OtherMigrator`.
    """
    with connect(engine) as connection:
        if is_current(connection):
            return False
    with ddl_session(engine, settings, clock=clock, stop=stop) as session:
        connection = session.connection
        rows = state.version_rows(connection, state.VERSION_TABLE, None)
        missing = _missing(rows)
        connection.rollback()
        with session.dialect.write_transaction(connection):
            for revision in missing:
                _apply_patiently(session, revision, settings, clock=clock, stop=stop)
    return not rows


def _apply_patiently(
    session: Session, revision: str, settings: Settings, *, clock: Clock, stop: Stop
) -> None:
    """Applies *revision*, and tries again after a transient error, such as a lock timeout.

    Another session may hold a lock that the script needs; locks on InnoDB's table statistics are included. On
    a cluster the migrator's lock excludes only processes on the same node, so it also tries again if another
    process did the same at the same time.
    """
    alone = session.dialect.sees_all_sessions(session.connection)
    session.connection.rollback()
    pauses = backoff(
        waited=settings.lock_timeout, attempts=settings.lock_attempts, longest=5.0, jitter=random.Random()
    )
    while True:
        try:
            _apply(session.connection, revision)
            if not alone:
                _forget_overtaken(session.connection)
            return
        except (*DATABASE_ERRORS, CommandError) as error:
            again = session.dialect.is_transient(error) or (not alone and _is_done_by_another(session, error))
            pause = next(pauses, None)
            if pause is None or not again or clock.wait(pause, stop):
                raise


def _is_done_by_another(session: Session, error: BaseException) -> bool:
    # Alembic raises CommandError if the version row is no longer the one that it has just read.
    return isinstance(error, CommandError) or session.dialect.is_already_there(error)


def _apply(connection: Connection, revision: str) -> None:
    """Applies *revision*, unless another process has applied it in the meantime."""
    with no_context_logged():
        context = MigrationContext.configure(
            connection, opts={"version_table": state.VERSION_TABLE, "transactional_ddl": True}
        )
    step: Any = MigrationStep.upgrade_from_script(scripts().revision_map, scripts().get_revision(revision))
    with connection.begin():
        context._ensure_version_table()
        rows = state.version_rows(connection, state.VERSION_TABLE, None)
        if revision not in _missing(rows):
            return
        maintainer = HeadMaintainer(context, rows)
        with Operations.context(context):
            step.migration_fn()
        maintainer.update_to_step(step)


def _forget_overtaken(connection: Connection) -> None:
    """Deletes a version row that was written after a process on another node had applied a later revision."""
    version = sa.table(state.VERSION_TABLE, sa.column("version_num"))
    with connection.begin():
        rows = state.version_rows(connection, state.VERSION_TABLE, None)
        known, _unknown = state.partition_known(rows, graph().revisions)
        for row in known:
            if row in graph().applied([other for other in known if other != row]):
                connection.execute(sa.delete(version).where(version.c.version_num == row))


def drop_all(connection: Connection) -> None:
    """Drops the bookkeeping tables; for tests, and for a project that stops using online-migrate."""
    state.metadata.drop_all(connection)
    sa.Table(state.VERSION_TABLE, sa.MetaData()).drop(connection, checkfirst=True)
