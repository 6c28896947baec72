"""Every table that pending and verify read is found and locked, or the data migration opens no gate."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.evidence.visibility import reads_of
from online_migrate.exceptions import GateClosed
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute, rows
from tests.support.schema import Snapshot

TEXTS = {
    "exists": "t.b IS NULL AND EXISTS (SELECT 1 FROM other WHERE other.id = t.id AND other.open = 1)",
    "an alias": "t.b IS NULL AND EXISTS (SELECT 1 FROM other AS o WHERE o.id = t.id AND o.open = 1)",
    "in": "t.b IS NULL AND t.id IN (SELECT id FROM other WHERE open = 1)",
    "a scalar": "t.b IS NULL AND (SELECT max(o.open) FROM other o WHERE o.id = t.id) = 1",
    "with": "t.b IS NULL AND t.id IN (WITH c AS (SELECT id FROM other WHERE open = 1) SELECT id FROM c)",
    "a query in from": "t.b IS NULL AND t.id IN (SELECT q.id FROM (SELECT * FROM other WHERE open = 1) AS q)",
    "both sides of a union": "t.b IS NULL AND t.id IN "
    "(SELECT id FROM third UNION ALL SELECT id FROM other WHERE open = 1)",
    "a join": "t.b IS NULL AND EXISTS "
    "(SELECT 1 FROM third x RIGHT JOIN other o ON o.id = x.id WHERE o.id = t.id AND o.open = 1)",
    "a name like that of a query": "t.b IS NULL AND t.id IN (WITH other2 AS (SELECT id FROM other) "
    "SELECT o.id FROM other o JOIN other2 ON other2.id = o.id WHERE o.open = 1)",
}


def project_of(folder: Path, database: Database, pending: str, verify: str | None = None) -> Project:
    """A project whose pending, or verify, is SQL that was written as a text."""
    execute(
        database.engine,
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int)",
        "CREATE TABLE other (id int PRIMARY KEY, open int)",
        "CREATE TABLE third (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1, 10, NULL), (2, 20, NULL), (3, 30, NULL)",
        "INSERT INTO other VALUES (1, 1), (2, 0), (3, 0)",
    )
    project = Project.create(folder, database.url, lock_timeout=1, lock_attempts=3)
    project.expand("pass")
    project.contract('op.drop_column("t", "a")', requires=("fill",))
    checked = "" if verify is None else f", verify=sa.literal_column({verify!r}, sa.Boolean)"
    project.data(
        "fill",
        f"""
        fill = Backfill(table="t", values=lambda t: {{"b": t.c.a}},
                        pending=sa.literal_column({pending!r}, sa.Boolean){checked})
        """,
    )
    project.apply_expand()
    return project


@pytest.mark.parametrize("name", list(TEXTS))
def test_what_a_text_reads_is_found_and_contract_gets_through(
    database: Database, tmp_path: Path, name: str
) -> None:
    """Gate and contract agree: with the pending row both refuse, without it both let it pass."""
    project = project_of(tmp_path / "project", database, TEXTS[name])
    assert {"t", "other"} <= {target.table for target in _reads(project, database)}
    assert [blocker.count for blocker in command.gate(project.site())] == [1]
    assert project.migrate()["fill"].done == 1
    assert command.gate(project.site()) == []
    assert command.contract(project.site()).revisions == ("c1",)


def _reads(project: Project, database: Database) -> tuple[object, ...]:
    site = project.site()
    with site.engine.connect() as connection:
        subject = site.project.data_migrations["fill"].subject(connection)
        return reads_of(connection, subject).targets


@pytest.mark.needs("row_locks")
@pytest.mark.parametrize("name", ["exists", "an alias", "with"])
def test_a_write_to_the_other_table_cannot_come_between_the_count_and_the_drop(
    database: Database, tmp_path: Path, name: str
) -> None:
    """The row that would make one of t pending waits for the lock, and comes after the column is gone."""
    project = project_of(tmp_path / "project", database, TEXTS[name])
    project.migrate()
    wrote: list[str] = []

    def write() -> None:
        with database.engine.connect() as connection, connection.begin():
            connection.execute(sa.text("UPDATE other SET open = 1 WHERE id = 2"))
        wrote.append("written")

    writer = threading.Thread(target=write, daemon=True)

    def begin(_connection: sa.Connection) -> None:
        writer.start()
        writer.join(1.0)
        wrote.append("the count was made while it waited" if writer.is_alive() else "too early")

    with schema.happens("after", "SELECT 1", begin):
        command.contract(project.site())
    writer.join(30)
    assert wrote == ["the count was made while it waited", "written"]


def test_verify_is_read_as_well(database: Database, tmp_path: Path) -> None:
    """Its tables are locked too."""
    verify = "EXISTS (SELECT 1 FROM other o WHERE o.id = t.id)"
    project = project_of(tmp_path / "project", database, "t.b IS NULL", verify)
    assert {"t", "other"} <= {target.table for target in _reads(project, database)}
    project.migrate()
    assert command.contract(project.site()).revisions == ("c1",)


@pytest.mark.needs("schemas")
@pytest.mark.each_product
def test_a_table_of_another_schema_is_found(database: Database, tmp_path: Path) -> None:
    """By its qualified name, quoted or not."""
    schema_name = f"{database.name}_x"
    with database.engine.connect() as connection:
        quote = connection.dialect.identifier_preparer.quote_identifier
    execute(
        database.engine,
        f"CREATE SCHEMA {schema_name}",
        f"CREATE TABLE {schema_name}.far (id int PRIMARY KEY)",
        f"CREATE TABLE {schema_name}.{quote('Far Off')} (id int PRIMARY KEY)",
    )
    try:
        project = project_of(
            tmp_path / "project",
            database,
            f"t.b IS NULL OR t.id IN (SELECT id FROM {schema_name}.far) "
            f"OR t.id IN (SELECT id FROM {quote(schema_name)}.{quote('Far Off')})",
        )
        found = {(target.schema, target.table) for target in _reads(project, database)}  # type: ignore[attr-defined]
        assert {(schema_name, "far"), (schema_name, "Far Off")} <= found
        project.migrate()
        assert command.contract(project.site()).revisions == ("c1",)
    finally:
        with database.engine.connect() as connection, connection.begin():
            connection.execute(sa.text(f"DROP TABLE {schema_name}.far, {schema_name}.{quote('Far Off')}"))
            connection.execute(sa.text(f"DROP SCHEMA {schema_name}"))


# --- what is not known ---------------------------------------------------------------------------


def assert_unknown(project: Project, database: Database, *words: str) -> None:
    """gate and contract refuse with the reason, after the rows were migrated; the column is there."""
    project.migrate()
    before = Snapshot.of(database, "t")
    [blocker] = command.gate(project.site())
    assert blocker.id == "reads-unknown"
    assert blocker.hint
    for word in words:
        assert word in blocker.reason
    with pytest.raises(GateClosed) as refusal:
        command.contract(project.site())
    assert [b.id for b in refusal.value.blockers] == ["reads-unknown"]
    assert Snapshot.of(database, "t") == before
    assert rows(database.engine, "SELECT count(a) FROM t") == [(3,)]


@pytest.fixture
def function(database: Database) -> str:
    """A function of the user that reads a table."""
    create = {
        "postgresql": "CREATE FUNCTION is_open(x int) RETURNS int LANGUAGE sql STABLE "
        "AS 'SELECT open FROM other WHERE id = x'",
        "mysql": "CREATE FUNCTION is_open(x int) RETURNS int READS SQL DATA "
        "RETURN (SELECT open FROM other WHERE id = x)",
    }
    create["mariadb"] = create["mysql"]
    return create[database.server.product]


@pytest.mark.needs("schemas")
@pytest.mark.parametrize("spelling", ["is_open(t.id)", "IS_OPEN (t.id)"])
def test_a_function_of_the_user_is_refused(
    database: Database, tmp_path: Path, function: str, spelling: str
) -> None:
    """It reads a table that is not locked; by sa.func as well as in a text."""
    project = project_of(tmp_path / "project", database, f"t.b IS NULL AND {spelling} = 1")
    execute(database.engine, function)
    assert_unknown(project, database, "function is_open")
    project.data(
        "fill",
        'fill = Backfill(table="t", values=lambda t: {"b": t.c.a}, '
        "pending=lambda t: t.c.b.is_(None) & (sa.func.is_open(t.c.id) == 1))",
    )
    assert_unknown(project, database, "function is_open")


@pytest.mark.needs("row_security")
@pytest.mark.each_product
def test_a_function_that_promises_to_read_nothing_is_accepted(database: Database, tmp_path: Path) -> None:
    """IMMUTABLE, on PostgreSQL; and its own functions."""
    pending = "t.b IS NULL AND twice(t.id) = 2 AND lower('A') = 'a' AND coalesce(t.b, 0) = 0"
    project = project_of(tmp_path / "project", database, pending)
    execute(
        database.engine,
        "CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * x'",
    )
    project.migrate()
    assert command.gate(project.site()) == []


@pytest.mark.needs("row_security")
@pytest.mark.each_product
@pytest.mark.parametrize(
    "condition",
    [
        "(xpath_exists('/x', query_to_xml('SELECT 1 FROM other', true, true, '')) OR true)",
        "(t.is_open_row = 1)",
        "(t.id <-> t.id)",
    ],
)
def test_hidden_ways_to_read_a_table_are_refused(database: Database, tmp_path: Path, condition: str) -> None:
    """A query in a text, a function written as a column, an operator."""
    project = project_of(tmp_path / "project", database, f"t.b IS NULL AND {condition}")
    execute(
        database.engine,
        "CREATE FUNCTION is_open_row(x t) RETURNS int LANGUAGE sql AS 'SELECT max(open) FROM other'",
        "CREATE FUNCTION same(x int, y int) RETURNS boolean LANGUAGE sql "
        "AS 'SELECT EXISTS (SELECT 1 FROM other)'",
        "CREATE OPERATOR <-> (LEFTARG = int, RIGHTARG = int, FUNCTION = same)",
    )
    assert_unknown(project, database, "may read tables that are not locked")


@pytest.mark.needs("lock_tables")
def test_a_comment_that_the_server_executes_is_refused(database: Database, tmp_path: Path) -> None:
    """What it holds is no comment to the server."""
    pending = "t.b IS NULL /*! AND EXISTS (SELECT 1 FROM other WHERE other.id = t.id) */"
    assert_unknown(project_of(tmp_path / "project", database, pending), database, "comment")


@pytest.mark.needs("virtual_tables")
def test_a_table_that_is_named_without_a_query_is_refused(database: Database, tmp_path: Path) -> None:
    """``x IN table``, which SQLite knows."""
    project = project_of(tmp_path / "project", database, "t.b IS NULL AND t.id IN third")
    assert_unknown(project, database, "without a query")


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize(
    "pending",
    [
        "t.b IS NULL AND t.id <= (SELECT max(id) FROM t)",
        "t.b IS NULL AND (t.id IN (SELECT id FROM other) OR t.id IN (SELECT open FROM other))",
        "t.b IS NULL AND (t.id IN (SELECT id FROM other o) OR t.id IN (SELECT open FROM other o))",
    ],
)
def test_a_name_that_is_used_twice_is_refused_by_the_gate(
    database: Database, tmp_path: Path, pending: str
) -> None:
    """LOCK TABLES would refuse the query under the lock; the gate says so before."""
    project = project_of(tmp_path / "project", database, pending)
    assert_unknown(project, database, "twice")


@pytest.mark.parametrize("alias", ["other.alias()", "other.alias('o_1')", "other"])
def test_a_typed_query_is_locked_by_the_names_that_are_sent(
    database: Database, tmp_path: Path, alias: str
) -> None:
    """Also the names that SQLAlchemy makes up."""
    project = project_of(tmp_path / "project", database, "t.b IS NULL")
    project.data(
        "fill",
        f"""
        other = sa.table("other", sa.column("id"), sa.column("open"))

        def pending(t):
            o = {alias}
            return t.c.b.is_(None) & sa.exists().where(o.c.id == t.c.id)

        fill = Backfill(table="t", values=lambda t: {{"b": t.c.a}}, pending=pending)
        """,
    )
    assert project.migrate()["fill"].done == 3
    assert command.gate(project.site()) == []
    assert command.contract(project.site()).revisions == ("c1",)


def test_typed_expressions_open_the_gate(database: Database, tmp_path: Path) -> None:
    """Parameters, IN lists, LIKE with a per cent sign, CASE, CAST, functions of every server."""
    project = project_of(tmp_path / "project", database, "t.b IS NULL")
    project.data(
        "fill",
        """
        other = sa.table("other", sa.column("id"), sa.column("open"))

        def pending(t):
            o = other.alias("o_1")
            found = sa.exists().where(o.c.id == t.c.id)
            text = sa.cast(t.c.id, sa.String(20))
            return (
                t.c.b.is_(None)
                & t.c.id.in_([1, 2, 3])
                & found
                & ~text.like("%x")
                & (sa.func.coalesce(t.c.b, sa.func.length(text)) > 0)
                & (sa.case((t.c.a > 15, 1), else_=2) < 3)
                & t.c.a.between(0, 1000)
            )

        fill = Backfill(table="t", values=lambda t: {"b": t.c.a}, pending=pending)
        """,
    )
    assert project.migrate()["fill"].done == 3
    assert command.gate(project.site()) == []
    assert command.contract(project.site()).revisions == ("c1",)
