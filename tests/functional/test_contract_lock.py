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
"""The point in a script at which another session tries to make a row pending."""
_SHORT_LOCK_TIMEOUT = {
    "sqlite": "PRAGMA busy_timeout = 200",
    "postgresql": "SET lock_timeout = '200ms'",
}


def try_to_make_row_pending(database: Database) -> bool:
    """Makes row 7 pending, if its table is not locked. Returns whether it did."""
    lock_timeout = _SHORT_LOCK_TIMEOUT.get(
        database.server.product, "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 1"
    )
    with schema.session(database) as other:
        other.exec_driver_sql(lock_timeout)
        try:
            other.exec_driver_sql("UPDATE volumes SET size_bytes = NULL WHERE id = 7")
            other.commit()
        except sa.exc.DBAPIError:
            return False
    return True


def drop(product: str) -> str:
    """The lines that drop what the sample's data migration reads."""
    lines = 'op.drop_index("ix_volumes_size_gb", "volumes")\nop.drop_column("volumes", "size_gb")\n'
    return schema.drop_in_step(product) + lines


@contextlib.contextmanager
def contracting(database: Database, folder: Path, script: str) -> Iterator[Project]:
    """The sample project, ready for a contract script."""
    with schema.volumes(folder / "project", database, contract=textwrap.dedent(script)) as project:
        schema.ready(project, database)
        yield project


def assert_nothing_lost(database: Database, error: OnlineMigrateError | None, *, unmigrated: bool) -> None:
    """Asserts that contract was refused and the old column exists, or was applied without a pending row."""
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


def contract_with_concurrent_write(project: Project, database: Database) -> OnlineMigrateError | None:
    """Runs contract. At the mark in its script another session makes row 7 pending, if it can."""
    unmigrated: list[bool] = []
    error: OnlineMigrateError | None = None
    with schema.happens(
        "before", "SELECT 'now'", lambda _: unmigrated.append(try_to_make_row_pending(database))
    ):
        try:
            command.contract(project.site())
        except OnlineMigrateError as refusal:
            error = refusal
    assert_nothing_lost(database, error, unmigrated=any(unmigrated))
    return error


def assert_contracts_after_rewrite(project: Project, database: Database, script: str) -> None:
    """Asserts that contract is applied after the script is rewritten and the rows are migrated."""
    [path] = (project.scripts / "contract").glob("*.py")
    head, _, _ = path.read_text().partition("def upgrade():\n")
    path.write_text(f"{head}def upgrade():\n{textwrap.indent(script, '    ')}")
    project.migrate()
    assert command.contract(project.site()).revisions == ("c2",)
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    assert rows == {row: schema.size_of(row) * GIB for row in range(1, 21)}
    assert schema.journal(database) == []


_RELEASES = {
    "commit": "op.get_bind().commit()",
    "rollback": "op.get_bind().rollback()",
    "an autocommit block": """
        with op.get_context().autocommit_block():
            op.execute("SELECT 1")
    """,
}
_SAVEPOINTS = {
    "a savepoint that acquired the lock": """
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


@pytest.mark.parametrize("name", list(_RELEASES))
def test_lost_lock_is_reacquired_before_next_statement(database: Database, tmp_path: Path, name: str) -> None:
    """The rows are checked again under the new lock: one that became pending in between is found."""
    assert contract_after_release(database, tmp_path, _RELEASES[name])


@pytest.mark.needs("transactional_ddl")
@pytest.mark.parametrize("name", list(_SAVEPOINTS))
def test_rolled_back_lock_is_reacquired(database: Database, tmp_path: Path, name: str) -> None:
    """PostgreSQL releases locks acquired inside of a savepoint when it is rolled back."""
    assert contract_after_release(database, tmp_path, _SAVEPOINTS[name])


@pytest.mark.needs("transactional_ddl")
def test_rows_are_verified_again_after_savepoint_is_rolled_back(database: Database, tmp_path: Path) -> None:
    """A verification inside of a savepoint counts values that its rollback takes back; the lock remains."""
    script = """
        op.execute("UPDATE volumes SET size_bytes = NULL WHERE id = 7")
        savepoint = op.get_bind().begin_nested()
        op.execute("UPDATE volumes SET size_bytes = size_gb * 1073741824 WHERE id = 7")
        op.drop_index("ix_volumes_size_gb", "volumes")
        savepoint.rollback()
        op.drop_column("volumes", "size_gb")
    """
    with contracting(database, tmp_path, script) as project:
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3
        assert "size_gb" in schema.shape(database)["volumes"]["columns"]
        assert_contracts_after_rewrite(project, database, drop(database.server.product))


def contract_after_release(database: Database, tmp_path: Path, release: str) -> bool:
    """Runs contract, with the mark between *release* and the destructive statements.

    Returns True if the column was dropped, at once or after the script was rewritten, and no value is lost.
    """
    script = textwrap.dedent(release) + "\n" + MARK + drop(database.server.product)
    with contracting(database, tmp_path, script) as project:
        contract_with_concurrent_write(project, database)
        if "size_gb" in schema.shape(database)["volumes"]["columns"]:
            assert_contracts_after_rewrite(project, database, drop(database.server.product))
        return "size_gb" not in schema.shape(database)["volumes"]["columns"]


_BYPASSES = {
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
    "a second engine": "sa.create_engine(op.get_bind().engine.url).connect().close()\n",
    "a second driver connection": "op.get_bind().dialect.loaded_dbapi.connect()\n",
    "a connection that is replaced": "op.get_bind().invalidate()\nop.get_bind().rollback()\n",
}


@pytest.mark.parametrize("name", list(_BYPASSES))
def test_statement_that_bypasses_lock_is_refused(database: Database, tmp_path: Path, name: str) -> None:
    """Exit 3 with a hint, nothing is dropped; without that line contract is applied."""
    with contracting(database, tmp_path, _BYPASSES[name] + MARK + drop(database.server.product)) as project:
        before = schema.catalog(database)
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3, refusal.value
        assert refusal.value.hint
        assert schema.catalog(database) == before
        assert schema.journal(database) == []
        assert_contracts_after_rewrite(project, database, drop(database.server.product))


@pytest.mark.parametrize("name", ["a raw cursor's COMMIT", "a second connection"])
def test_refusal_caught_by_script_still_fails_revision(database: Database, tmp_path: Path, name: str) -> None:
    """``except Exception: pass`` around it does not make the revision applied."""
    script = f"try:\n{textwrap.indent(_BYPASSES[name], '    ')}except Exception:\n    pass\n"
    with contracting(database, tmp_path, script) as project:
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3, refusal.value
        assert schema.version_rows(database) == ["e2"]
        assert_contracts_after_rewrite(project, database, drop(database.server.product))


def test_connection_opened_by_module_is_refused(database: Database, tmp_path: Path) -> None:
    """A module of the project may hold a connection: its statements would bypass the lock and the journal."""
    script = "other.exec_driver_sql('SELECT 1')\n" + MARK + drop(database.server.product)
    with contracting(database, tmp_path, script) as project:
        [path] = (project.scripts / "contract").glob("*.py")
        opened = f"other = sa.create_engine({database.url!r}).connect()\n"
        path.write_text(path.read_text().replace("def upgrade", f"{opened}def upgrade", 1))
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3, refusal.value
        assert "size_gb" in schema.shape(database)["volumes"]["columns"]


def test_script_that_reads_on_bind_is_allowed(database: Database, tmp_path: Path) -> None:
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
def test_rows_made_pending_by_script_are_found(database: Database, tmp_path: Path) -> None:
    """An UPDATE of the script is followed by another check before the next destructive statement."""
    script = 'op.execute("UPDATE volumes SET size_bytes = NULL WHERE id = 7")\n'
    with contracting(database, tmp_path, script + drop(database.server.product)) as project:
        with pytest.raises(OnlineMigrateError) as refusal:
            command.contract(project.site())
        assert refusal.value.exit_code == 3
        assert "size_gb" in schema.shape(database)["volumes"]["columns"]
        assert_contracts_after_rewrite(project, database, drop(database.server.product))
