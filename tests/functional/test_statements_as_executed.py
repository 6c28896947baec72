"""What the engine reads in a statement is what the server does, whatever its comments, strings and names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.sql.catalog_effects.effect import Verdict, judge
from online_migrate.sql.statement import removed_names
from tests.servers import Database
from tests.support.project import Project, declared, execute, rows, scalar
from tests.support.schema import embedded

ON_MYSQL_FAMILY = pytest.mark.needs("lock_tables")
"""The servers of the MySQL family."""
ON_POSTGRESQL = pytest.mark.needs("transactional_ddl", "row_locks")

TABLES = (
    "CREATE TABLE t (id INT, a VARCHAR(9), b VARCHAR(9), c VARCHAR(9), CONSTRAINT k CHECK (id > 0))",
    "CREATE INDEX i ON t (c)",
    "CREATE TABLE u (id INT)",
)


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """Yields a session that sends each text as it is, in a database with two tables."""
    execute(database.engine, *TABLES)
    with database.engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT", no_parameters=True)


def _names(connection: Connection) -> set[tuple[str, str]]:
    """Returns every table as (table, table), and every column as (table, column)."""
    inspector = sa.inspect(connection)
    tables = inspector.get_table_names()
    columns = {(table, column["name"]) for table in tables for column in inspector.get_columns(table)}
    return columns | {(table, table) for table in tables}


def _removed(connection: Connection, statement: str) -> set[str]:
    """Executes *statement*; returns the tables, and the columns of remaining tables, that are gone."""
    before = _names(connection)
    connection.exec_driver_sql(statement)
    gone = before - _names(connection)
    tables = {table for table, name in gone if table == name}
    return tables | {name for table, name in gone if table not in tables}


# --- the names that a statement removes ------------------------------------------------------------


@pytest.mark.each_product
@ON_MYSQL_FAMILY
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t DROP /*!40000 COLUMN */ a",
        "ALTER TABLE t DROP COLUMN a /*! , DROP COLUMN b */",
        "ALTER TABLE t ADD CHECK (id > 1--1), DROP COLUMN a",
        "ALTER TABLE t DROP COLUMN a, # it's wide\n DROP COLUMN b # isn't it",
        "DROP TABLE t # don't\n, u # won't",
        "ALTER TABLE t ALTER a SET DEFAULT '\\'', DROP COLUMN b, ALTER c SET DEFAULT '\\''",
        'ALTER TABLE t COMMENT "it\'s", DROP COLUMN a',
        "ALTER TABLE t RENAME INDEX i TO j",
        "ALTER TABLE t RENAME TO v",
    ],
)
def test_removed_names_of_mysql(statement: str, connection: Connection) -> None:
    assert _removed(connection, statement) == set(removed_names(statement, dialect_of(connection).name))


@pytest.mark.each_product
@ON_MYSQL_FAMILY
def test_removed_names_include_those_of_a_comment_that_only_other_versions_execute(
    connection: Connection,
) -> None:
    """The version of the server is not known here: a trigger on such a column is not created again."""
    statement = "ALTER TABLE t DROP /*!999999 COLUMN a, DROP */ COLUMN b"
    assert _removed(connection, statement) == {"b"}
    assert set(removed_names(statement, dialect_of(connection).name)) == {"a", "b"}


@pytest.mark.each_product
@ON_POSTGRESQL
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t /*! DROP COLUMN a, */ DROP COLUMN b",
        'ALTER TABLE "t" DROP COLUMN "a" -- the column `a`',
        "ALTER TABLE t DROP COLUMN a /* one /* two */ , DROP COLUMN b */",
        "ALTER TABLE t ALTER a SET DEFAULT E'\\'', DROP COLUMN b, ALTER c SET DEFAULT E'\\''",
        "ALTER TABLE t ALTER a SET DEFAULT $x$ ' $x$, DROP COLUMN b",
        "ALTER TABLE T DROP COLUMN A; ALTER TABLE t DROP COLUMN b",
        "ALTER TABLE t RENAME a TO d",
        "ALTER TABLE t RENAME CONSTRAINT k TO l",
    ],
)
def test_removed_names_of_postgresql(statement: str, connection: Connection) -> None:
    assert _removed(connection, statement) == set(removed_names(statement, dialect_of(connection).name))


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t DROP COLUMN [a]",
        "ALTER TABLE [t] RENAME TO v",
        "ALTER TABLE t /*! RENAME TO v */ DROP COLUMN a",
        "ALTER TABLE t RENAME a TO d",
        "DROP TABLE u /*! , t */",
    ],
)
def test_removed_names_of_sqlite(statement: str, tmp_path: Path) -> None:
    with embedded().fresh_database(tmp_path) as database:
        execute(database.engine, *TABLES)
        with database.engine.connect() as connection:
            assert _removed(connection, statement) == set(removed_names(statement, "sqlite"))


# --- PostgreSQL ------------------------------------------------------------------------------------


@pytest.mark.each_product
@ON_POSTGRESQL
@pytest.mark.parametrize(
    ("statement", "waits_longer"),
    [
        ("DROP INDEX /* x */ CONCURRENTLY i", True),
        ("CREATE INDEX CONCURRENTLY j ON t (a)", True),
        ("DROP INDEX /*! CONCURRENTLY */ i", False),
        ("COMMENT ON TABLE t IS 'CONCURRENTLY'", False),
    ],
)
def test_only_a_concurrent_statement_waits_longer_for_a_lock(
    statement: str, waits_longer: bool, connection: Connection
) -> None:
    """A DROP INDEX that waits for its lock blocks every reader of the table."""
    before = connection.scalar(sa.text("SHOW lock_timeout"))
    with dialect_of(connection).lock_timeout_for(connection, statement):
        assert (connection.scalar(sa.text("SHOW lock_timeout")) != before) is waits_longer
        connection.exec_driver_sql(statement)


@pytest.mark.each_product
@ON_POSTGRESQL
@pytest.mark.parametrize(
    "statement",
    [
        "DROP TRIGGER keep ON t",
        "DROP TRIGGER KEEP ON T",
        'DROP TRIGGER keep ON "t" /* once `keep_old` */',
        "DROP /*! FUNCTION nothing() */ TRIGGER keep ON t",
    ],
)
def test_dropped_trigger_can_be_created_again(statement: str, connection: Connection) -> None:
    connection.exec_driver_sql(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    )
    connection.exec_driver_sql(
        "CREATE TRIGGER keep BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing()"
    )
    definition = dialect_of(connection).undo_of_drop(connection, statement)
    connection.exec_driver_sql(statement)
    assert definition is not None
    for text in definition:
        connection.exec_driver_sql(text)
    assert connection.scalar(sa.text("SELECT count(*) FROM pg_trigger WHERE tgname = 'keep'")) == 1


@pytest.mark.each_product
@ON_POSTGRESQL
@pytest.mark.parametrize("name", ["Twice", '"Twice"'])
def test_invalid_index_is_removed_whatever_its_comment(name: str, connection: Connection) -> None:
    """The name may be folded to lower case, and a comment may contain backticks."""
    connection.exec_driver_sql("INSERT INTO t (id) VALUES (1), (1)")
    statement = f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON t (id) -- see `t`"
    with pytest.raises(DATABASE_ERRORS, match="could not create unique index"):
        connection.exec_driver_sql(statement)
    invalid = sa.text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
    assert connection.scalar(invalid) == 1
    dialect_of(connection).clean_up(connection, statement)
    assert connection.scalar(invalid) == 0


# --- MySQL and MariaDB -----------------------------------------------------------------------------


@pytest.mark.each_product
@ON_MYSQL_FAMILY
@pytest.mark.parametrize(
    "head",
    [
        "CREATE /*!50003 TRIGGER */ cut",
        "CREATE # for a TABLE\n TRIGGER cut",
        "CREATE /*!999999 TABLE */ TRIGGER cut",
    ],
)
def test_trigger_behind_a_comment_gets_the_sql_mode_of_the_application(
    head: str, database: Database, tmp_path: Path
) -> None:
    """In a strict trigger the application's INSERT would fail."""
    execute(database.engine, *TABLES)
    url = sa.make_url(database.url).update_query_dict({"init_command": "SET SESSION sql_mode = ''"})
    text = f"{head} BEFORE INSERT ON t FOR EACH ROW SET NEW.a = NEW.b"
    with Project.create(tmp_path / "project", url.render_as_string(hide_password=False)) as project:
        project.expand(f"op.execute(sa.text({text!r}))", additive=declared(text))
        ran = project.run("expand")
        assert ran.code == 0, ran.err
    query = "SELECT sql_mode FROM information_schema.triggers WHERE trigger_name = 'cut'"
    assert scalar(database.engine, query) == ""


@pytest.mark.each_product
@ON_MYSQL_FAMILY
@pytest.mark.parametrize("statement", ["DROP TABLE u, t", "DROP TABLE u /*!50000 , t */"])
def test_drop_that_fails_half_way_does_not_count_as_done(statement: str, connection: Connection) -> None:
    """MariaDB drops the first table before it refuses the second; MySQL drops both or none."""
    connection.exec_driver_sql("ALTER TABLE t ADD PRIMARY KEY (id)")
    connection.exec_driver_sql("CREATE TABLE child (id INT, FOREIGN KEY (id) REFERENCES t (id))")
    dialect = dialect_of(connection)
    expected = dialect.expected(statement)
    before = [dialect.holds(connection, effect) for effect in expected.effects]
    with pytest.raises(DATABASE_ERRORS, match="foreign key constraint"):
        connection.exec_driver_sql(statement)
    after = [dialect.holds(connection, effect) for effect in expected.effects]
    assert not expected.atomic
    assert judge(before, after) is not Verdict.DONE


# --- SQLite ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("comment", ["", " /*! a comment */", " -- `x`", ";"])
def test_copy_of_a_table_is_compared_whatever_the_comment(comment: str, tmp_path: Path) -> None:
    """A copy with losses is refused, also if it is made without batch mode."""
    with (
        embedded().fresh_database(tmp_path) as database,
        Project.create(tmp_path / "project", database.url) as project,
    ):
        execute(database.engine, "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE)")
        copy = (
            "CREATE TABLE _alembic_tmp_items (id INTEGER PRIMARY KEY, name TEXT)",
            "INSERT INTO _alembic_tmp_items (id, name) SELECT id, name FROM items",
            f"DROP TABLE items{comment}",
            "ALTER TABLE _alembic_tmp_items RENAME TO items",
        )
        project.expand("\n".join(f"op.execute({text!r})" for text in copy))
        ran = project.run("expand")
        assert ran.code == 3, ran.err
        assert "COLLATE NOCASE on column name" in ran.err


@pytest.mark.parametrize("pragma", ["PRAGMA user_version = 7", "PRAGMA /*! foreign_keys */ user_version = 7"])
def test_pragma_that_writes_is_not_sent_by_a_command_that_reads(pragma: str, tmp_path: Path) -> None:
    """A comment that only MySQL executes is not a part of the statement."""
    with (
        embedded().fresh_database(tmp_path) as database,
        Project.create(tmp_path / "project", database.url) as project,
    ):
        assert project.run("expand").code == 0
        [env_py] = project.folder.rglob("env.py")
        env_py.write_text(
            f"""
import sqlalchemy as sa

with sa.create_engine({database.url!r}).connect() as connection:
    connection.exec_driver_sql({pragma!r})
"""
            + env_py.read_text()
        )
        project.run("status")
        assert rows(database.engine, "PRAGMA user_version") == [(0,)]
