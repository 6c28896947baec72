"""contract: the table lock is proved to be held before every destructive statement of a script."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.exceptions import OnlineMigrateError
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import GIB

MARK = "op.execute(\"SELECT 'now'\")\n"
"""The moment in a script at which another session tries to make a row pending."""
_IMPATIENT = {
    "sqlite": "PRAGMA busy_timeout = 200",
    "postgresql": "SET lock_timeout = '200ms'",
}


def try_to_unmigrate(database: Database) -> bool:
    """Makes row 7 pending, if its table is not locked; says whether it did."""
    impatience = _IMPATIENT.get(
        database.server.product, "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 1"
    )
    with schema.session(database) as other:
        other.exec_driver_sql(impatience)
        try:
            other.exec_driver_sql("UPDATE volumes SET size_bytes = NULL WHERE id = 7")
            other.commit()
        except sa.exc.DBAPIError:
            return False
    return True


def drop(product: str) -> str:
    """The lines that take away what the sample's data migration reads."""
    lines = 'op.drop_index("ix_volumes_size_gb", "volumes")\nop.drop_column("volumes", "size_gb")\n'
    return schema.drop_in_step(product) + lines


@contextlib.contextmanager
def contracting(database: Database, folder: Path, script: str) -> Iterator[Project]:
    """The sample project, ready for a contract script."""
    with schema.volumes(folder / "project", database, contract=textwrap.dedent(script)) as project:
        schema.ready(project, database)
        yield project


def assert_nothing_lost(database: Database, error: OnlineMigrateError | None, *, unmigrated: bool) -> None:
    """Refused, and the old column is there; or applied, and no row was pending when it went."""
    if error is not None:
        assert error.exit_code == 3, error
        assert error.hint
    columns = schema.shape(database)["volumes"]["columns"]
    if "size_gb" in columns:
        assert error is not None, "the revision counts as applied, although its statement was not sent"
        assert schema.version_rows(database) == ["e2"]
        return
    assert not (unmigrated and error is None), "a row was pending when its old column was dropped"
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert rows == {row: schema.size_of(row) * GIB for row in range(1, 21)}


def contract_meanwhile(project: Project, database: Database) -> OnlineMigrateError | None:
    """Runs contract; at the mark of its script another session makes row 7 pending, if it can."""
    unmigrated: list[bool] = []
    error: OnlineMigrateError | None = None
    with schema.happens("before", "SELECT 'now'", lambda _: unmigrated.append(try_to_unmigrate(database))):
        try:
            command.contract(project.site())
        except OnlineMigrateError as refusal:
            error = refusal
    assert_nothing_lost(database, error, unmigrated=any(unmigrated))
    return error


def ends_contracted(project: Project, database: Database, script: str) -> None:
    """Once the script is rewritten, and the rows are migrated, contract goes through."""
    [path] = (project.scripts / "contract").glob("*.py")
    head, _, _ = path.read_text().partition("def upgrade():\n")
    path.write_text(f"{head}def upgrade():\n{textwrap.indent(script, '    ')}")
    project.migrate()
    assert command.contract(project.site()).revisions == ("c2",)
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert rows == {row: schema.size_of(row) * GIB for row in range(1, 21)}
    assert schema.journal(database) == []


_LETTING_GO = {
    "commit": "op.get_bind().commit()",
    "rollback": "op.get_bind().rollback()",
    "an autocommit block": """
        with op.get_context().autocommit_block():
            op.execute("SELECT 1")
    """,
}
_SAVEPOINTS = {
    "a savepoint in which the lock was taken": """
        op.get_bind().commit()
        savepoint = op.get_bind().begin_nested()
        op.execute("ALTER TABLE volumes ADD COLUMN extra INTEGER")
        savepoint.rollback()
    """,
    "a savepoint after an autocommit block": """
        with op.get_context().autocommit_block():
            op.execute("SELECT 1")
        savepoint = op.get_bind().begin_nested()
        op.execute("ALTER TABLE volumes ADD COLUMN extra INTEGER")
        savepoint.rollback()
    """,
}


@pytest.mark.parametrize("name", list(_LETTING_GO))
def test_a_lock_that_was_lost_is_taken_again_before_the_next_statement(
    database: Database, tmp_path: Path, name: str
) -> None:
    """The rows are looked at again under it: one that became pending meanwhile is found."""
    looks_again(database, tmp_path, _LETTING_GO[name])


@pytest.mark.needs("transactional_ddl")
@pytest.mark.parametrize("name", list(_SAVEPOINTS))
def test_a_lock_that_was_rolled_back_is_taken_again(database: Database, tmp_path: Path, name: str) -> None:
    """PostgreSQL frees what was locked inside of a savepoint when that is rolled back."""
    looks_again(database, tmp_path, _SAVEPOINTS[name])


def looks_again(database: Database, tmp_path: Path, letting_go: str) -> None:
    """Contracts, with a moment between *letting_go* and the destructive statements."""
    script = textwrap.dedent(letting_go) + "\n" + MARK + drop(database.server.product)
    with contracting(database, tmp_path, script) as project:
        contract_meanwhile(project, database)
        if "size_gb" in schema.shape(database)["volumes"]["columns"]:
            ends_contracted(project, database, drop(database.server.product))


_ANOTHER_WAY = {
    "a raw cursor's COMMIT": 'op.get_bind().connection.cursor().execute("COMMIT")\n',
    "a raw cursor's ROLLBACK": 'op.get_bind().connection.cursor().execute("ROLLBACK")\n',
    "the driver connection's commit": "op.get_bind().connection.driver_connection.commit()\n",
    "the raw connection's commit": "op.get_bind().connection.commit()\n",
    "the driver connection's cursor": (
        'op.get_bind().connection.driver_connection.cursor().execute("COMMIT")\n'
    ),
    "a raw cursor that drops": (
        'op.get_bind().connection.cursor().execute("ALTER TABLE volumes DROP COLUMN legacy")\n'
    ),
    "a second connection": (
        "with op.get_bind().engine.connect() as other:\n"
        '    other.exec_driver_sql("ALTER TABLE volumes DROP COLUMN legacy")\n'
    ),
    "a second transaction": (
        "with op.get_bind().engine.begin() as other:\n"
        '    other.exec_driver_sql("ALTER TABLE volumes DROP COLUMN legacy")\n'
    ),
    "a second connection that reads": (
        'with op.get_bind().engine.connect() as other:\n    other.exec_driver_sql("SELECT 1").all()\n'
    ),
    "a raw connection of the pool": "op.get_bind().engine.raw_connection().close()\n",
    "an engine of its own": "sa.create_engine(op.get_bind().engine.url).connect().close()\n",
    "the driver": "op.get_bind().dialect.loaded_dbapi.connect()\n",
    "a connection that is replaced": "op.get_bind().invalidate()\nop.get_bind().rollback()\n",
}


@pytest.mark.parametrize("name", list(_ANOTHER_WAY))
def test_what_goes_past_the_lock_is_refused(database: Database, tmp_path: Path, name: str) -> None:
    """Exit 3 with a way out, nothing is dropped; without that line it goes through."""
    with contracting(
        database, tmp_path, _ANOTHER_WAY[name] + MARK + drop(database.server.product)
    ) as project:
        before = schema.catalog(database)
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3, refusal.value
        assert refusal.value.hint
        assert schema.catalog(database) == before
        assert schema.journal(database) == []
        ends_contracted(project, database, drop(database.server.product))


@pytest.mark.parametrize("name", ["a raw cursor's COMMIT", "a second connection"])
def test_a_refusal_that_the_script_catches_is_no_success(
    database: Database, tmp_path: Path, name: str
) -> None:
    """``except Exception: pass`` around it does not make the revision applied."""
    script = f"try:\n{textwrap.indent(_ANOTHER_WAY[name], '    ')}except Exception:\n    pass\n"
    with contracting(database, tmp_path, script) as project:
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3, refusal.value
        assert schema.version_rows(database) == ["e2"]
        ends_contracted(project, database, drop(database.server.product))


def test_a_connection_opened_before_the_script_is_refused(database: Database, tmp_path: Path) -> None:
    """A module of the project may hold one: its statements would bypass the lock and the journal."""
    script = "other.exec_driver_sql('SELECT 1')\n" + MARK + drop(database.server.product)
    with contracting(database, tmp_path, script) as project:
        [path] = (project.scripts / "contract").glob("*.py")
        opened = f"other = sa.create_engine({database.url!r}).connect()\n"
        path.write_text(path.read_text().replace("def upgrade", f"{opened}def upgrade", 1))
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3, refusal.value
        assert "size_gb" in schema.shape(database)["volumes"]["columns"]


def test_a_script_that_reads_on_its_own_connection_is_let_through(database: Database, tmp_path: Path) -> None:
    """Inspection, a query and a savepoint on ``op.get_bind()`` are no reason to refuse."""
    script = """
        assert "size_gb" in [c["name"] for c in sa.inspect(op.get_bind()).get_columns("volumes")]
        with op.get_bind().begin_nested():
            assert op.get_bind().execute(sa.text("SELECT count(*) FROM volumes")).scalar() == 20
    """
    with contracting(database, tmp_path, textwrap.dedent(script) + drop(database.server.product)) as project:
        assert command.contract(project.site()).revisions == ("c2",)
    assert "size_gb" not in schema.shape(database)["volumes"]["columns"]


@pytest.mark.needs("transactional_ddl")
def test_rows_that_the_script_itself_makes_pending_are_found(database: Database, tmp_path: Path) -> None:
    """An UPDATE of the script is followed by another look before the next destructive statement."""
    script = 'op.execute("UPDATE volumes SET size_bytes = NULL WHERE id = 7")\n'
    with contracting(database, tmp_path, script + drop(database.server.product)) as project:
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3
        assert "size_gb" in schema.shape(database)["volumes"]["columns"]
        ends_contracted(project, database, drop(database.server.product))
