"""A function of OpenStack connects by itself: to the database of the command, or it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate.migrate.status import Outcome
from tests.servers import Database
from tests.support.project import Project, execute, scalar

pytestmark = pytest.mark.each_product

ROWS = 120
MANAGER = """
from oslo_db.sqlalchemy import enginefacade

manager = enginefacade.transaction_context()
manager.configure(connection={elsewhere!r})

@manager.writer
def _move(context, max_count):
    ids = context.session.scalars(sa.text("SELECT id FROM volumes WHERE size IS NULL")).all()
    for number in ids[:max_count]:
        context.session.execute(sa.text("UPDATE volumes SET size = gb WHERE id = :id"), {{"id": number}})
    return len(ids), len(ids[:max_count])

def move(context, max_count):
    return _move(context, max_count)

move = counted(move{options})
"""
PLAIN = """
engine = sa.create_engine({elsewhere!r}, poolclass=sa.NullPool)
early = []
aborted = []
held = {{}}

def _moved(connection, max_count):
    ids = connection.scalars(sa.text("SELECT id FROM volumes WHERE size IS NULL")).all()[:max_count]
    for number in ids:
        connection.execute(sa.text("UPDATE volumes SET size = gb WHERE id = :id"), {{"id": number}})
    connection.commit()
    return len(ids), len(ids)

def direct(context, max_count):
    with (held.get("engine") or engine).connect() as connection:
        return _moved(connection, max_count)

def opened_before(context, max_count):
    with early[0]:
        return _moved(early[0], max_count)

def aborted_before(context, max_count):
    connection = aborted[0]
    try:
        connection.execute(sa.text("SELECT 1"))
    except Exception:
        connection.rollback()
    with connection:
        return _moved(connection, max_count)

def caught(context, max_count):
    try:
        return direct(context, max_count)
    except Exception:
        return 0, 0

def in_a_thread(context, max_count):
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(direct, context, max_count).result()

def bound(database):
    held["engine"] = database.engine
    assert sa.make_url(database.configuration("api").api.connection).database == database.engine.url.database
    return held.clear

def both(context, max_count):
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    return direct(context, max_count)
"""


@pytest.fixture
def other(database: Database, tmp_path: Path) -> Iterator[Database]:
    """A second database, with the same rows as the first one."""
    (tmp_path / "other").mkdir()
    with database.server.fresh_database(tmp_path / "other", "other") as fresh:
        for one in (database, fresh):
            execute(one.engine, "CREATE TABLE volumes (id INTEGER PRIMARY KEY, gb INTEGER, size INTEGER)")
            rows = [{"id": i, "gb": i} for i in range(1, ROWS + 1)]
            with one.engine.begin() as connection:
                connection.execute(sa.text("INSERT INTO volumes (id, gb) VALUES (:id, :gb)"), rows)
        yield fresh


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as written:
        yield written


def _left(database: Database) -> int:
    return int(scalar(database.engine, "SELECT count(*) FROM volumes WHERE size IS NULL"))


def test_function_of_another_configuration_is_refused_or_bound(
    database: Database, other: Database, project: Project
) -> None:
    """``--url A`` while the project's own configuration says B: no row of B moves, nothing is complete."""
    project.data("move", MANAGER.format(elsewhere=other.url, options=""))
    ran = project.run("online_data_migrations", "--url", database.url)
    assert ran.code == 2, ran
    assert "the function uses another database than the command" in ran.err
    assert "counted(..., bind=...)" in ran.err
    assert (_left(database), _left(other)) == (ROWS, ROWS)
    assert project.status("move").status == "failed"
    project.data("move", MANAGER.format(elsewhere=other.url, options=", bind=manager"))
    ran = project.run("online_data_migrations", "--url", database.url, "--max_count", "7")
    assert ran.code == 1, ran
    assert "| move      |          120 |         7 |" in ran.out
    assert (_left(database), _left(other)) == (ROWS - 7, ROWS)
    patched = ", bind=lambda database: database.patch(manager)"
    project.data("move", MANAGER.format(elsewhere=other.url, options=patched))
    result = project.migrate("move", batch_size=50)["move"]
    assert result.outcome is Outcome.COMPLETE, result
    assert (_left(database), _left(other)) == (0, ROWS)


def test_every_visible_way_to_another_database_is_refused(
    database: Database, other: Database, project: Project
) -> None:
    """A connection from before, an aborted transaction, a caught exception, a thread; an error in bind."""
    names = ("direct", "opened_before", "aborted_before", "caught", "in_a_thread")
    added = "early.append(engine.connect())\n"
    added += "aborted.append(engine.connect())\n"
    added += "try: aborted[0].execute(sa.text('SELECT missing FROM volumes'))\nexcept Exception: pass\n"
    added += "".join(f"{name}_ = counted({name}, name={name!r})\n" for name in names)
    added += "lost = counted(lambda c, m: (0, 0), name='lost', bind=lambda database: 1 / 0)\n"
    project.data("all", PLAIN.format(elsewhere=other.url) + added)
    results = project.migrate()
    for name in names:
        assert results[name].outcome is Outcome.FAILED, name
        assert "uses another database" in (results[name].error or ""), results[name]
    assert results["lost"].error == "bind of lost: ZeroDivisionError: division by zero"
    assert (_left(database), _left(other)) == (ROWS, ROWS)


def test_engine_is_handed_over_and_other_databases_can_be_allowed(
    database: Database, other: Database, project: Project
) -> None:
    """``bind=`` gets the engine, and its result is called at the end; other databases alone are refused."""
    added = (
        "both_elsewhere = counted(both, name='both_elsewhere', other_databases=True)\n"
        "bound_only = counted(direct, name='bound_only', bind=bound)\n"
        "both_bound = counted(both, name='both_bound', bind=bound, other_databases=True)\n"
    )
    project.data("all", PLAIN.format(elsewhere=other.url) + added)
    refused = project.migrate("both_elsewhere", max_count=1)["both_elsewhere"]
    assert refused.outcome is Outcome.FAILED
    assert project.migrate("bound_only", max_count=5)["bound_only"].done == 5
    assert _left(database) == ROWS - 5
    execute(other.engine, "UPDATE volumes SET size = gb")
    result = project.migrate("both_bound")["both_bound"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, ROWS - 5)
    assert _left(database) == 0


def test_error_at_the_end_of_a_binding_is_one_of_the_function(
    database: Database, other: Database, project: Project
) -> None:
    """The data migration fails with it, after the error of a call; the engine is closed, others still run."""
    added = (
        "def badly(database):\n"
        "    bound(database)\n"
        "    sa.event.listen(database.engine, 'engine_disposed', lambda engine: print('disposed'))\n"
        "    return lambda: 1 / 0\n"
        "counted_rows = {'table': 'volumes', 'pending': lambda t: t.c.size.is_(None)}\n"
        "moved = counted(direct, name='moved', bind=badly, **counted_rows)\n"
        "odd = counted(lambda c, m: 7, name='odd', bind=badly)\n"
        "later = counted(lambda c, m: (0, 0), name='later')\n"
    )
    project.data("all", PLAIN.format(elsewhere=other.url) + added)
    ran = project.run("migrate")
    assert ran.code == 2, ran
    assert "this is a bug" not in ran.err
    assert ran.out.count("disposed") == 2
    ended = "end of the binding of moved: ZeroDivisionError: division by zero"
    assert (project.status("moved").status, project.status("moved").error) == ("failed", ended)
    odd = "odd (max_count 1000): returned 7, not (found, done); end of the binding of odd: ZeroDivisionError"
    assert (project.status("odd").error or "").startswith(odd)
    assert project.status("later").status == "complete"
    assert _left(database) == 0
