"""status: reads only, in each state and for each user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import Snapshot

pytestmark = pytest.mark.each_product


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project on an empty database."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


READERS = ("status", "plan", "gate", "current", "history", "heads")


def test_readers_leave_an_empty_database_empty(project: Project, database: Database) -> None:
    """No state table is created, no command fails; --json prints one document."""
    for verb in READERS:
        ran = schema.run(project, verb)
        assert ran.code == (3 if verb == "gate" else 0), (verb, ran.output)
        assert "Traceback" not in ran.err
        assert schema.run(project, verb, "--json").json is not None
        writes = [s for s in ran.statements if s != "COMMIT" and not s.startswith("START TRANSACTION READ")]
        assert writes == [], verb
    assert schema.tables(database) == []


def test_status_reports_each_stage(project: Project, database: Database) -> None:
    """Empty, expanded, half migrated, migrated, contracted: phases, counts and --exit-code."""
    assert schema.run(project, "status", "--exit-code").code == 1
    schema.as_before(project, database)
    project.apply_expand()
    report = schema.run(project, "status", "--json").json
    assert (report["expand"]["position"], report["contract"]["position"]) == ("e2", None)
    [migration] = report["migrations"]
    assert (migration["status"], migration["total"], migration["pending"]) == ("not started", 20, 20)
    project.migrate(max_count=5, batch_size=5)
    [migration] = schema.run(project, "status", "--json").json["migrations"]
    assert (migration["done"], migration["pending"], migration["failed"]) == (5, 15, 0)
    project.migrate()
    assert schema.run(project, "status", "--exit-code").code == 1
    assert schema.run(project, "contract").code == 0
    report = schema.run(project, "status", "--json", "--exit-code")
    assert report.code == 0
    assert report.json["complete"] is True
    assert report.json["migrations"][0]["status"] == "contracted"


def test_status_names_a_half_applied_revision(project: Project, database: Database) -> None:
    """Killed in the middle, where DDL commits implicitly; on other servers no revision is half applied."""
    schema.ready(project, database)
    assert schema.run(project, "contract", die_at="ALTER TABLE volumes DROP COLUMN legacy").code == -9
    report = project.report()
    transactional = database.server.has("transactional_ddl")
    assert report.half_applied == (() if transactional else ("c2",))
    shown = schema.run(project, "status")
    assert shown.code == 0, shown.output
    assert ("c2" in shown.out and "half applied" in shown.out) or transactional


def test_readers_change_nothing_at_any_stage(project: Project, database: Database) -> None:
    """Schema, version rows and rows are the same before and after."""
    schema.as_before(project, database)
    project.apply_expand()
    before = Snapshot.of(database)
    for verb in READERS:
        assert "Traceback" not in schema.run(project, verb).err
    assert Snapshot.of(database) == before


_READER = {
    "postgresql": (
        "CREATE ROLE {name} LOGIN PASSWORD 'read/only@%'",
        "GRANT USAGE ON SCHEMA public TO {name}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
    ),
    "mysql": (
        "CREATE USER '{name}'@'%' IDENTIFIED BY 'read/only@%'",
        "GRANT SELECT ON `{db}`.* TO '{name}'@'%'",
    ),
}
_READER["mariadb"] = _READER["mysql"]
_DROP_READER = {
    "postgresql": ("DROP OWNED BY {name}", "DROP ROLE {name}"),
    "mysql": ("DROP USER '{name}'@'%'",),
    "mariadb": ("DROP USER '{name}'@'%'",),
}


@pytest.mark.needs("many_writers")
def test_readers_work_for_a_read_only_user(project: Project, database: Database) -> None:
    """status, plan, gate and current run with only SELECT; commands that write name the missing privilege."""
    schema.as_before(project, database)
    project.apply_expand()
    name, product = f"reader_{database.name[-8:]}", database.server.product
    facts = {"name": name, "db": database.engine.url.database}
    schema.run_all(database, *(statement.format(**facts) for statement in _READER[product]))
    try:
        url = sa.make_url(database.url).set(username=name, password="read/only@%")
        address = url.render_as_string(hide_password=False)
        before = Snapshot.of(database)
        for verb in READERS:
            ran = schema.run(project, "--url", address, verb)
            assert ran.code == (3 if verb == "gate" else 0), (verb, ran.output)
        for verb in ("migrate", "expand"):
            refused = schema.run(project, "--url", address, verb)
            assert "Traceback" not in refused.err
            assert "read/only@%" not in refused.output
        assert refused.code in (0, 2)
        assert schema.run(project, "--url", address, "migrate").code == 2
        assert Snapshot.of(database) == before
    finally:
        schema.run_all(database, *(statement.format(**facts) for statement in _DROP_READER[product]))


@pytest.mark.needs("lock_tables")  # the servers that refuse to read a table that was altered since (1412)
def test_table_altered_during_a_read(project: Project, database: Database) -> None:
    """Another command creates or alters a table of the engine while a command reads: it reads again."""
    project.apply_expand()
    calls = []

    def read(connection: sa.Connection) -> object:
        calls.append(1)
        connection.execute(sa.text("SELECT count(*) FROM alembic_version")).all()  # the snapshot begins
        if len(calls) == 1:
            schema.run_all(database, "ALTER TABLE online_migrate_worker FORCE")
        return connection.scalar(sa.text("SELECT count(*) FROM online_migrate_worker"))

    assert project.site().read(read) == 0
    assert len(calls) == 2
