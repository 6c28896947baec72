"""contract: statements that remove data implicitly do not run where a row may be pending."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from online_migrate import command
from online_migrate.exceptions import GateClosed, OnlineMigrateError, StatementRefused
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project

BLOCK = "with op.get_context().autocommit_block():\n    op.execute({!r})\n"
CONCURRENT = "CREATE INDEX CONCURRENTLY ix_note ON volumes (note)"
WIDEN = "op.execute('ALTER TABLE volumes MODIFY note VARCHAR(41)')\n"


def make_pending(database: Database) -> None:
    """Makes row 7 pending, as a writer of the old application version can at any moment."""
    schema.run_all(database, "UPDATE volumes SET size_bytes = NULL WHERE id = 7")


@contextlib.contextmanager
def row_becomes_pending(database: Database, moment: str, beginning: str) -> Iterator[None]:
    """Makes row 7 pending "before" or "after" the first statement, if any, that starts with *beginning*."""
    matched: list[str] = []

    def listen(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        if not matched and " ".join(statement.split()).startswith(beginning):
            matched.append(statement)
            make_pending(database)

    event.listen(Engine, f"{moment}_cursor_execute", listen)
    try:
        yield
    finally:
        event.remove(Engine, f"{moment}_cursor_execute", listen)


def rewrite(project: Project, upgrade: str) -> None:
    """The sample's contract script with another body."""
    path = next((project.scripts / "contract").glob("*.py"))
    head = path.read_text().partition("def upgrade():")[0]
    body = "".join(f"    {line}\n" for line in upgrade.splitlines())
    path.write_text(f"{head}def upgrade():\n{body}\n\ndef downgrade():\n    pass\n")


def state_of(database: Database) -> tuple[object, ...]:
    """The schema without the version, and the old values of each row."""
    rows = schema.query_all(database, "SELECT id, size_gb, legacy, note FROM volumes ORDER BY id")
    return (schema.catalog(database), rows)


# --- MySQL and MariaDB: statements not possible under LOCK TABLES, or with unknown effects ---------

PARTITIONED = (
    "ALTER TABLE volumes ADD price DECIMAL(10, 2) NOT NULL DEFAULT 1.55",
    "ALTER TABLE volumes PARTITION BY RANGE (id) "
    "(PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "CREATE TABLE plain (id INT PRIMARY KEY) ENGINE=InnoDB",
    "CREATE PROCEDURE drop_column() ALTER TABLE volumes DROP COLUMN legacy",
    "CREATE PROCEDURE delete_rows() DELETE FROM volumes WHERE id = 7",
    "CREATE FUNCTION drop_it() RETURNS INT DETERMINISTIC "
    "BEGIN DELETE FROM volumes WHERE id = 7; RETURN 1; END",
    "CREATE VIEW seen AS SELECT id FROM volumes",
)
REFUSED = (
    "ALTER TABLE volumes TRUNCATE PARTITION p0",
    "ALTER TABLE volumes EXCHANGE PARTITION p0 WITH TABLE plain",
    "ALTER TABLE volumes ENGINE=BLACKHOLE",
    "ALTER TABLE volumes DISCARD TABLESPACE",
    "CALL drop_column()",
    "CALL delete_rows()",
    "PREPARE x FROM 'DELETE FROM volumes'; EXECUTE x",
    "EXECUTE x",
    "SELECT 1; DROP TABLE volumes",
    "SELECT drop_it()",
    "DO drop_it()",
    "SET @x = drop_it()",
    "DROP VIEW seen",
    "DROP DATABASE {other}",
    "USE {other}",
    "ANALYZE DELETE FROM volumes",
    "EXPLAIN ANALYZE DELETE FROM volumes",
    "SET STATEMENT lock_wait_timeout=1 FOR DELETE FROM volumes",
    "ALTER TABLE volumes ADD x INT /*!50000 , DROP COLUMN legacy */",
    "DELETE FROM volumes",
    "CREATE TEMPORARY TABLE volumes (id INT)",
    "FROBNICATE volumes",
)


@pytest.mark.needs("lock_tables")
def test_statement_not_known_to_be_safe_is_refused_before_any_change(
    database: Database, tmp_path: Path
) -> None:
    """Exit 3 with a reason and a hint, and not even the harmless statement before it was sent."""
    other = f"{database.engine.url.database}_o"
    with schema.volumes(tmp_path / "project", database) as project:
        schema.ready(project, database)
        schema.run_all(database, *PARTITIONED, f"CREATE DATABASE {other}")
        try:
            before = state_of(database)
            for statement in REFUSED:
                text = statement.format(other=other)
                rewrite(project, f"{WIDEN}op.execute({text!r})\n")
                committed = row_becomes_pending(database, "after", "UNLOCK TABLES")
                with committed, pytest.raises(OnlineMigrateError) as refusal:
                    command.contract(project.site())
                assert refusal.value.exit_code == 3, statement
                assert refusal.value.hint, statement
                assert state_of(database) == before, statement
            assert schema.journal(database) == []
            assert schema.query_all(database, f"SHOW DATABASES LIKE '{other}'")
        finally:
            schema.run_all(database, f"DROP DATABASE IF EXISTS {other}")


CHECKED_UNDER_LOCK = (
    "ALTER TABLE volumes DROP PARTITION p0",
    "# it goes\nALTER TABLE volumes DROP COLUMN legacy",
    "ALTER TABLE volumes DROP COLUMN legacy -- it goes",
    "/*!50000 ALTER TABLE volumes DROP COLUMN legacy */",
    "ALTER TABLE volumes CHANGE legacy gone VARCHAR(40)",
)


@pytest.mark.needs("lock_tables")
def test_statement_that_removes_data_runs_after_check_under_lock(database: Database, tmp_path: Path) -> None:
    """A row that became pending without the lock is found; without such a row the statement runs."""
    with schema.volumes(tmp_path / "project", database) as project:
        schema.ready(project, database)
        schema.run_all(database, *PARTITIONED[:2])
        for length, statement in enumerate(CHECKED_UNDER_LOCK, 41):
            # A statement that an earlier run has executed is not sent again.
            widen = WIDEN.replace("41", str(length))
            rewrite(project, f"{widen}op.execute({statement!r})\n")
            with row_becomes_pending(database, "after", "UNLOCK TABLES"), pytest.raises(GateClosed):
                command.contract(project.site())
            rows = dict(schema.query_all(database, "SELECT id, legacy FROM volumes"))
            assert 7 in rows, statement
            # The script of a half-applied revision must not change.
            schema.run_all(database, "DELETE FROM online_migrate_journal")
            project.migrate()
        rewrite(project, f"op.execute({CHECKED_UNDER_LOCK[0]!r})\nop.execute({CHECKED_UNDER_LOCK[1]!r})\n")
        assert command.contract(project.site()).revisions == ("c2",)
    assert "legacy" not in schema.shape(database)["volumes"]["columns"]
    assert schema.query_all(database, "SELECT min(id) FROM volumes") == [(10,)]


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize(
    "change", ["MODIFY price INT", "CHANGE price price INT # shorter", "MODIFY note INT"]
)
def test_value_conversion_without_lock_is_refused(database: Database, tmp_path: Path, change: str) -> None:
    """DECIMAL to INT rounds: the server is asked to convert no value, and refuses."""
    script = f"op.execute('ALTER TABLE volumes {change}')\n"
    with schema.volumes(tmp_path / "project", database, contract=script) as project:
        schema.ready(project, database)
        schema.run_all(database, PARTITIONED[0], "UPDATE volumes SET note = '5.7'")
        committed = row_becomes_pending(database, "after", "UNLOCK TABLES")
        with committed, pytest.raises(StatementRefused) as refusal:
            command.contract(project.site())
        assert "data migration" in refusal.value.hint
        prices = schema.query_all(database, "SELECT DISTINCT CAST(price AS CHAR), note FROM volumes")
        assert prices == [("1.55", "5.7")]
        assert schema.version_rows(database) == ["e2"]


# --- PostgreSQL: statements that no lock covers ---------------------------------------------------

SUBJECTS = (
    "CREATE FUNCTION drop_it() RETURNS int LANGUAGE plpgsql AS "
    "$$ BEGIN DELETE FROM volumes WHERE size_bytes IS NULL; RETURN 1; END $$",
    "CREATE TYPE pair AS (a int, b int)",
    "CREATE TABLE pairs (id int, p pair)",
    "CREATE VIEW seen AS SELECT id FROM volumes",
    "CREATE SCHEMA old",
    "CREATE TABLE parted (id int) PARTITION BY LIST (id)",
    "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1)",
)
IN_A_BLOCK = (
    "SELECT drop_it()",
    "EXPLAIN ANALYZE DELETE FROM volumes",
    "CREATE TABLE gone AS WITH d AS (DELETE FROM volumes RETURNING *) SELECT * FROM d",
    "CREATE TABLE gone AS WITH d AS (DELETE FROM volumes RETURNING *) TABLE d",
    "ALTER TYPE pair DROP ATTRIBUTE b",
    "ALTER VIEW seen RENAME TO unseen",
    "ALTER SCHEMA old RENAME TO older",
    "ALTER TABLE parted DETACH PARTITION part CONCURRENTLY",
    "ALTER TABLE volumes ALTER COLUMN legacy TYPE varchar(1) USING left(legacy, 1)",
    "CREATE INDEX CONCURRENTLY i ON volumes (id); DROP TABLE volumes",
    "DO $$ BEGIN DELETE FROM volumes; END $$",
)
IN_A_TRANSACTION = (
    "COMMIT",
    "UPDATE volumes SET note = NULL; COMMIT",
    "SELECT 1; COMMIT; DROP TABLE volumes",
    "SET search_path = old",
    "SET SESSION AUTHORIZATION DEFAULT",
    "CREATE TEMP TABLE volumes (id int)",
)


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_statement_that_no_lock_covers_is_refused(database: Database, tmp_path: Path) -> None:
    """In an autocommit_block, or in the transaction: exit 3, and nothing is changed.

    In the transaction the lock is held, so no row can become pending while the script runs.
    """
    with schema.volumes(tmp_path / "project", database) as project:
        schema.ready(project, database)
        schema.run_all(database, *SUBJECTS)
        before = state_of(database)
        scripts = {statement: BLOCK.format(statement) for statement in IN_A_BLOCK}
        scripts |= {s: f"op.execute({s!r})\nop.drop_column('volumes', 'legacy')\n" for s in IN_A_TRANSACTION}
        for statement, script in scripts.items():
            rewrite(project, script)
            writer = row_becomes_pending(database, "before", statement)
            with (
                writer if statement in IN_A_BLOCK else contextlib.nullcontext(),
                pytest.raises(OnlineMigrateError) as refusal,
            ):
                command.contract(project.site())
            assert refusal.value.exit_code == 3, statement
            assert refusal.value.hint, statement
            assert state_of(database) == before, statement
            project.migrate()
        assert schema.query_all(database, "SELECT count(*) FROM parted") == [(0,)]


@pytest.mark.needs("transactional_ddl", "many_writers")
@pytest.mark.parametrize("statement", ["SELECT drop_it()", "EXPLAIN ANALYZE DELETE FROM volumes"])
def test_query_that_may_write_is_locked_after_autocommit_block(
    database: Database, tmp_path: Path, statement: str
) -> None:
    """A row that became pending while the index was built is found before the query is sent."""
    script = BLOCK.format(CONCURRENT) + f"op.execute({statement!r})\n"
    with schema.volumes(tmp_path / "project", database, contract=script) as project:
        schema.ready(project, database)
        schema.run_all(database, SUBJECTS[0])
        with row_becomes_pending(database, "before", CONCURRENT), pytest.raises(GateClosed):
            command.contract(project.site())
        assert schema.query_all(database, "SELECT count(*) FROM volumes") == [(20,)]


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_lock_released_by_savepoint_rollback_is_reacquired(database: Database, tmp_path: Path) -> None:
    """ROLLBACK TO SAVEPOINT releases locks acquired after it; the rows are counted again."""
    script = (
        BLOCK.format(CONCURRENT)
        + "nested = op.get_bind().begin_nested()\n"
        + "op.execute('ALTER TABLE volumes ALTER note SET NOT NULL')\n"
        + "nested.rollback()\n"
        + "op.drop_column('volumes', 'legacy')\n"
    )
    with schema.volumes(tmp_path / "project", database, contract=script) as project:
        schema.ready(project, database)
        schema.run_all(database, "UPDATE volumes SET note = 'x'")
        committed = schema.happens("after", "ROLLBACK TO", lambda _: make_pending(database))
        with committed, pytest.raises(GateClosed):
            command.contract(project.site())
        assert "legacy" in schema.shape(database)["volumes"]["columns"]


# --- allowed statements ---------------------------------------------------------------------------

ALLOWED = {
    "postgresql": [
        "SET lock_timeout = '2s'",
        "SET LOCAL statement_timeout = 0",
        "COMMENT ON TABLE volumes IS 'it''s; fine'",
        "ALTER TABLE volumes ADD CONSTRAINT c CHECK (size_bytes >= 0) NOT VALID",
        "ALTER TABLE volumes VALIDATE CONSTRAINT c",
        "UPDATE volumes SET note = 'x'",
        "DO $$ BEGIN EXECUTE 'ALTER TABLE volumes DROP COLUMN legacy'; END $$",
        "DROP TRIGGER volumes_in_step ON volumes; DROP FUNCTION volumes_in_step()",
        "ALTER TABLE volumes ALTER COLUMN note TYPE varchar(10) USING left(note, 10)",
        "SELECT count(*), max(coalesce(note, 'x')) FROM volumes",
    ],
    "sqlite": [
        "PRAGMA foreign_keys = ON",
        "UPDATE volumes SET note = 'x'",
        "DROP TRIGGER volumes_in_step",
        "ALTER TABLE volumes DROP COLUMN legacy",
        "SELECT count(*) FROM volumes",
    ],
    "mysql": [
        "SET SESSION foreign_key_checks = 1, lock_wait_timeout = 5",
        "SELECT count(*), max(coalesce(note, 'x')) FROM volumes",
        "DROP TRIGGER volumes_in_step",
        "ALTER TABLE volumes DROP COLUMN legacy # gone",
        "ALTER TABLE volumes ADD COLUMN third INT NOT NULL DEFAULT 3, ADD INDEX i (note(10))",
        "ALTER TABLE volumes MODIFY size_bytes BIGINT NOT NULL -- all rows have it",
        "ALTER TABLE volumes COMMENT 'it''s; fine', ENGINE=InnoDB",
        "CREATE TABLE fresh AS SELECT id, upper(note) AS note FROM volumes",
        "CREATE TRIGGER t BEFORE INSERT ON fresh FOR EACH ROW BEGIN IF NEW.id > 5 THEN SET NEW.note = 'y';"
        " END IF; END",
        "ANALYZE TABLE volumes",
    ],
}
ALLOWED["mariadb"] = ALLOWED["mysql"]


def test_allowed_statements_run(database: Database, tmp_path: Path) -> None:
    """Settings, comments, constraints, additions, queries, and destructive statements after a check."""
    script = schema.executed(ALLOWED[database.server.product]) + "\n"
    if database.server.has("transactional_ddl") and database.server.has("many_writers"):
        script += BLOCK.format(CONCURRENT)
        script += "assert op.get_bind().execute(sa.text('SELECT drop_it()')).scalar() == 1\n"
    with schema.volumes(tmp_path / "project", database, contract=script) as project:
        schema.ready(project, database)
        if database.server.has("transactional_ddl") and database.server.has("many_writers"):
            schema.run_all(database, SUBJECTS[0])
        assert command.contract(project.site()).revisions == ("c2",)
    columns = schema.shape(database)["volumes"]["columns"]
    assert "legacy" not in columns
    assert schema.query_all(database, "SELECT count(*) FROM volumes") == [(20,)]
    assert schema.journal(database) == []


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_harmless_functions_match_server_catalog(database: Database) -> None:
    """Each is a keyword of the grammar, or STABLE or IMMUTABLE; those that are neither are listed here."""
    from online_migrate.sql.classification.harmless_functions import HARMLESS

    query = "SELECT upper(proname) FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace "
    built_in = {row[0] for row in schema.query_all(database, query)}
    volatile = {row[0] for row in schema.query_all(database, f"{query} AND provolatile = 'v'")}
    keywords = {row[0] for row in schema.query_all(database, "SELECT upper(word) FROM pg_get_keywords()")}
    harmless = HARMLESS["postgresql"]
    assert harmless - built_in <= keywords
    assert harmless & volatile <= {
        *("CLOCK_TIMESTAMP", "GEN_RANDOM_UUID", "RANDOM", "PG_SLEEP", "PG_IS_IN_RECOVERY"),
        *("PG_DATABASE_SIZE", "PG_INDEXES_SIZE", "PG_RELATION_SIZE", "PG_TABLE_SIZE"),
        "PG_TOTAL_RELATION_SIZE",
    }
