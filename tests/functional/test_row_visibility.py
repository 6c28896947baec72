"""A count opens the gate only if it covers every row of the stored table; otherwise nothing is changed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.exceptions import Blocker, GateClosed, RollbackRefused, RowsHidden
from tests.servers import Database
from tests.servers.access import administration
from tests.support import schema
from tests.support.project import Project, execute, rows
from tests.support.schema import Snapshot

EXPAND = 'op.add_column("v", sa.Column("b", sa.Integer))'
CONTRACT = 'op.drop_column("v", "a")'
FILL = 'fill = Backfill(table={table!r}, values=lambda t: {{"b": t.c.a}}, pending=lambda t: t.c.b.is_(None))'


def create_project(folder: Path, url: str, table: str = "v", expand: str = "pass") -> Project:
    """Creates a project that copies column a to b."""
    project = Project.create(folder, url, lock_timeout=1)
    project.expand(expand)
    project.contract(CONTRACT, requires=("fill",))
    project.data("fill", FILL.format(table=table))
    return project


def create_table_v(database: Database, name: str = "v", suffix: str = "") -> None:
    """Creates a table of three pending rows."""
    execute(
        database.engine,
        f"CREATE TABLE {name} (id int PRIMARY KEY, tenant varchar(10), a int, b int){suffix}",
        f"INSERT INTO {name} VALUES (1, 'x', 10, NULL), (2, 'y', 20, NULL), (3, 'y', 30, NULL)",
    )


def assert_refused(project: Project, database: Database, *words: str, table: str | None = "v") -> Blocker:
    """Asserts that migrate, gate and contract refuse with the reason and a hint, and change nothing.

    *table*: the table whose rows must be unchanged.
    """
    project.apply_expand()
    before = Snapshot.of(database, table)
    with pytest.raises(RowsHidden) as refusal:
        project.migrate()
    assert refusal.value.exit_code == 3
    found = command.gate(project.site())
    [hidden] = [blocker for blocker in found if blocker.id == "rows-hidden"]
    for word in words:
        assert word in f"{hidden.reason} {hidden.hint}"
        assert word in f"{refusal.value} {refusal.value.hint}"
    with pytest.raises(GateClosed):
        command.contract(project.site())
    assert Snapshot.of(database, table) == before
    return hidden


# --- row-level security --------------------------------------------------------------------------


@dataclass(frozen=True)
class Owner:
    """A role that is no superuser and owns the tables of a database."""

    name: str
    url: str


@pytest.fixture
def owner(database: Database) -> Iterator[Owner]:
    name = f"om_owner_{uuid.uuid4().hex[:8]}"
    with administration(database.url) as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' NOSUPERUSER"))
        connection.execute(sa.text(f"GRANT ALL ON SCHEMA public TO {name}"))
    url = sa.make_url(database.url).set(username=name, password="secret")
    yield Owner(name, url.render_as_string(hide_password=False))
    with administration(database.url) as connection:
        connection.execute(sa.text(f"DROP OWNED BY {name} CASCADE"))
        connection.execute(sa.text(f"DROP ROLE {name}"))


RESTRICT = (
    "ALTER TABLE v ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE v FORCE ROW LEVEL SECURITY",
    "CREATE POLICY p ON v USING (tenant = current_setting('app.t', true))",
)


@pytest.mark.needs("row_security")
def test_policy_that_hides_rows_refuses_a_rollback(database: Database, owner: Owner, tmp_path: Path) -> None:
    """The rows that would lose something cannot be counted: refused, and the column stays."""
    with Project.create(tmp_path / "project", owner.url) as project:
        project.expand('op.create_table("v", sa.Column("id", sa.Integer, primary_key=True))\n', "e1")
        added = 'op.add_column("v", sa.Column("b", sa.Integer()))\n'
        project.expand(added, "e2", downgrade='op.drop_column("v", "b")\n')
        project.apply_expand()
        execute(database.engine, *RESTRICT[:2], "CREATE POLICY p ON v USING (id < 2)")
        with pytest.raises(RollbackRefused) as refused:
            command.rollback(project.site())
        assert [blocker.id for blocker in refused.value.blockers] == ["rows-hidden"]


@pytest.mark.needs("row_security")
def test_policy_that_hides_rows_closes_the_gate(database: Database, owner: Owner, tmp_path: Path) -> None:
    """Run as the table's owner, restricted by FORCE: refused, with the table, the role and the hint."""
    create_table_v(database)
    execute(database.engine, f"ALTER TABLE v OWNER TO {owner.name}", *RESTRICT)
    project = create_project(tmp_path / "project", owner.url)
    assert_refused(project, database, "row-level security of table v", owner.name, "BYPASSRLS", "NO FORCE")
    status = project.run("status")
    assert status.code in (0, 1, 3)
    assert "row-level security of table v" in status.out + status.err
    execute(database.engine, "ALTER TABLE v NO FORCE ROW LEVEL SECURITY")
    assert project.migrate()["fill"].done == 3
    assert command.contract(project.site()).revisions == ("c1",)
    assert sorted(rows(database.engine, "SELECT id, b FROM v")) == [(1, 10), (2, 20), (3, 30)]


@pytest.mark.needs("row_security")
def test_policy_created_after_the_gate_is_detected_under_the_lock(
    database: Database, owner: Owner, tmp_path: Path
) -> None:
    """The gate was open; then a policy hides new pending rows: contract is refused, the column is kept."""
    create_table_v(database)
    execute(database.engine, f"ALTER TABLE v OWNER TO {owner.name}")
    project = create_project(tmp_path / "project", owner.url)
    project.apply_expand()
    project.migrate()

    def restrict(_connection: sa.Connection) -> None:
        execute(database.engine, *RESTRICT, "UPDATE v SET b = NULL WHERE id = 2")

    with (
        schema.happens("before", "LOCK TABLE", restrict),
        pytest.raises(GateClosed) as refusal,
    ):
        command.contract(project.site())
    assert [b.id for b in refusal.value.blockers] == ["rows-hidden"]
    assert rows(database.engine, "SELECT a FROM v WHERE id = 2") == [(20,)]


@pytest.mark.needs("row_security")
def test_policy_of_a_table_that_pending_reads_closes_the_gate(
    database: Database, owner: Owner, tmp_path: Path
) -> None:
    """The table of a subquery is checked as well."""
    create_table_v(database)
    create_table_v(database, "other")
    for name in ("v", "other"):
        execute(database.engine, f"ALTER TABLE {name} OWNER TO {owner.name}")
    execute(database.engine, *(statement.replace(" v ", " other ") for statement in RESTRICT))
    project = create_project(tmp_path / "project", owner.url)
    project.data(
        "fill",
        'fill = Backfill(table="v", values={"b": 1}, '
        "pending=lambda t: sa.literal_column("
        '"EXISTS (SELECT 1 FROM other o WHERE o.id = v.id AND v.b IS NULL)"))',
    )
    assert_refused(project, database, "row-level security of table other")


@pytest.mark.needs("row_security")
def test_sessions_raise_an_error_on_hidden_rows(database: Database, owner: Owner, tmp_path: Path) -> None:
    """A batch function gets an error of the server instead of a part of the rows."""
    create_table_v(database)
    create_table_v(database, "other")
    execute(
        database.engine, f"ALTER TABLE v OWNER TO {owner.name}", f"ALTER TABLE other OWNER TO {owner.name}"
    )
    execute(database.engine, *(statement.replace(" v ", " other ") for statement in RESTRICT))
    project = create_project(tmp_path / "project", owner.url)
    project.data(
        "fill",
        """
        @batch_migration(table="v", pending=lambda t: t.c.b.is_(None))
        def fill(connection, chunk):
            update = sa.text("UPDATE v SET b = a WHERE id IN (SELECT id FROM other)")
            return connection.execute(update).rowcount
        """,
    )
    project.apply_expand()
    result = project.migrate()["fill"]
    assert "row-level security" in (result.error or "")
    assert command.gate(project.site())


# --- relations that do not store the rows --------------------------------------------------------

_VIEWS = {
    "a part of the rows": "CREATE VIEW w AS SELECT * FROM v WHERE tenant = 'x'",
    "all rows": "CREATE VIEW w AS SELECT * FROM v",
}


@pytest.mark.parametrize("name", list(_VIEWS))
def test_view_is_refused_with_its_base_table(database: Database, tmp_path: Path, name: str) -> None:
    """Whatever rows the view has, their count proves nothing about the table."""
    create_table_v(database)
    execute(database.engine, _VIEWS[name])
    project = create_project(tmp_path / "project", database.url, table="w")
    hidden = assert_refused(project, database, "a view")
    assert hidden.hint.endswith(": v")


@pytest.mark.needs("updatable_views")
def test_view_with_a_check_option_is_refused(database: Database, tmp_path: Path) -> None:
    """WITH CHECK OPTION keeps rows in the view, and does not include the others."""
    create_table_v(database)
    execute(database.engine, "CREATE VIEW w AS SELECT * FROM v WHERE id < 3 WITH CHECK OPTION")
    assert_refused(create_project(tmp_path / "project", database.url, table="w"), database, "a view")


def test_view_that_pending_reads_is_refused(database: Database, tmp_path: Path) -> None:
    """The tables of the view are not those that are locked."""
    create_table_v(database)
    execute(database.engine, "CREATE VIEW w AS SELECT * FROM v WHERE id < 3")
    project = create_project(tmp_path / "project", database.url)
    project.data(
        "fill",
        'fill = Backfill(table="v", values={"b": 1}, '
        'pending=sa.literal_column("b IS NULL AND id IN (SELECT id FROM w)"))',
    )
    assert_refused(project, database, "w is a view")


def test_view_that_replaced_the_table_is_refused(database: Database, tmp_path: Path) -> None:
    """The table was replaced by a view over it after the data migration was complete."""
    create_table_v(database)
    project = create_project(tmp_path / "project", database.url)
    project.apply_expand()
    project.migrate()
    assert command.gate(project.site()) == []
    execute(
        database.engine,
        "ALTER TABLE v RENAME TO v_old",
        "INSERT INTO v_old VALUES (4, 'z', 40, NULL)",
        "CREATE VIEW v AS SELECT * FROM v_old WHERE b IS NOT NULL",
    )
    before = Snapshot.of(database, "v_old")
    [hidden] = command.gate(project.site())
    assert (hidden.id, hidden.hint) == ("rows-hidden", "use its base table instead: v_old")
    with pytest.raises(GateClosed):
        command.contract(project.site())
    assert Snapshot.of(database, "v_old") == before


@pytest.mark.needs("virtual_tables")
def test_virtual_table_is_refused(database: Database, tmp_path: Path) -> None:
    """The database does not store the rows of a virtual table."""
    execute(database.engine, "CREATE VIRTUAL TABLE v USING fts5(a, b)")
    assert_refused(create_project(tmp_path / "project", database.url), database, "a virtual table")


@pytest.mark.needs("virtual_tables")
def test_table_without_rowid_is_walked(database: Database, tmp_path: Path) -> None:
    """Its primary key is sufficient."""
    create_table_v(database, suffix=" WITHOUT ROWID")
    project = create_project(tmp_path / "project", database.url)
    project.apply_expand()
    assert project.migrate()["fill"].done == 3
    assert command.gate(project.site()) == []


# --- relations in PostgreSQL ---------------------------------------------------------------------


def create_inherited(database: Database) -> None:
    create_table_v(database)
    execute(
        database.engine,
        "CREATE TABLE child () INHERITS (v)",
        "INSERT INTO child VALUES (2, 'child', 99, NULL)",
    )


def create_with_rule(database: Database) -> None:
    create_table_v(database)
    execute(database.engine, "CREATE RULE swallow AS ON UPDATE TO v DO INSTEAD NOTHING")


def create_foreign(database: Database) -> None:
    create_table_v(database, "elsewhere")
    execute(
        database.engine,
        "CREATE FOREIGN DATA WRAPPER nothing NO HANDLER",
        "CREATE SERVER far FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE v (id int, tenant text, a int, b int) SERVER far",
    )


def create_with_foreign_partition(database: Database) -> None:
    execute(
        database.engine,
        "CREATE TABLE v (id int, tenant text, a int, b int) PARTITION BY LIST (id)",
        "CREATE FOREIGN DATA WRAPPER nothing NO HANDLER",
        "CREATE SERVER far FOREIGN DATA WRAPPER nothing",
        "CREATE TABLE near PARTITION OF v FOR VALUES IN (1)",
        "CREATE FOREIGN TABLE part PARTITION OF v FOR VALUES IN (2) SERVER far",
    )


def create_materialized(database: Database) -> None:
    create_table_v(database, "base")
    execute(database.engine, "CREATE MATERIALIZED VIEW v AS SELECT * FROM base")


_RELATIONS: dict[str, tuple[Callable[[Database], None], tuple[str, ...]]] = {
    "child tables": (create_inherited, ("INHERITS (child)", "NO INHERIT")),
    "a rule": (create_with_rule, ("rule swallow", "DISABLE RULE swallow")),
    "a foreign table": (create_foreign, ("a foreign table", "cannot be locked")),
    "a foreign partition": (create_with_foreign_partition, ("part, a part of table v", "cannot be locked")),
    "a materialized view": (create_materialized, ("a materialized view", "base table instead: base")),
}


@pytest.mark.needs("row_security")
@pytest.mark.parametrize("name", list(_RELATIONS))
def test_relation_with_rows_in_other_places_is_refused(database: Database, tmp_path: Path, name: str) -> None:
    """Refused by name, with the hint."""
    prepare, words = _RELATIONS[name]
    prepare(database)
    assert_refused(create_project(tmp_path / "project", database.url), database, *words, table=None)


@pytest.mark.needs("row_security")
def test_row_migration_does_not_write_to_child_tables(database: Database, tmp_path: Path) -> None:
    """The parent's key occurs in the child again: refused, and no row is written."""
    create_inherited(database)
    project = create_project(tmp_path / "project", database.url)
    project.data(
        "fill",
        """
        @row_migration(table="v", pending=lambda t: t.c.b.is_(None))
        def fill(row):
            return {"b": row.a}
        """,
    )
    assert_refused(project, database, "INHERITS (child)")
    assert rows(database.engine, "SELECT count(*) FROM v WHERE b IS NOT NULL") == [(0,)]


@pytest.mark.needs("row_security")
def test_partitions_are_walked_and_a_half_detached_one_is_refused(database: Database, tmp_path: Path) -> None:
    """After an incomplete DETACH PARTITION CONCURRENTLY no count includes the rows of the partition."""
    execute(
        database.engine,
        "CREATE TABLE v (id int PRIMARY KEY, tenant text, a int, b int) PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF v FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE high PARTITION OF v FOR VALUES FROM (10) TO (20)",
        "INSERT INTO v VALUES (1, 'x', 10, NULL), (11, 'x', 11, NULL)",
    )
    project = create_project(tmp_path / "project", database.url)
    project.apply_expand()
    assert project.migrate()["fill"].done == 2
    assert command.gate(project.site()) == []
    with schema.session(database) as reader:
        reader.execute(sa.text("SELECT count(*) FROM v")).all()
        # It waits for the reader, times out, and leaves the partition half detached.
        with administration(database.url) as other:
            other.execute(sa.text("SET lock_timeout = '300ms'"))
            with pytest.raises(sa.exc.DBAPIError):
                other.execute(sa.text("ALTER TABLE v DETACH PARTITION high CONCURRENTLY"))
    [hidden] = command.gate(project.site())
    assert (hidden.id, hidden.hint) == ("rows-hidden", "ALTER TABLE v DETACH PARTITION high FINALIZE")
    execute_autocommit(database, hidden.hint)
    assert command.gate(project.site()) == []


def execute_autocommit(database: Database, statement: str) -> None:
    """Executes one statement in autocommit mode."""
    with administration(database.url) as connection:
        connection.execute(sa.text(statement))


@pytest.mark.needs("row_security")
def test_temporary_table_that_hides_the_table_is_refused(database: Database, tmp_path: Path) -> None:
    """The data migration's own session creates it; its rows are not the rows of the intended table."""
    create_table_v(database)
    project = create_project(tmp_path / "project", database.url)
    project.data(
        "fill",
        """
        @sa.event.listens_for(sa.engine.Engine, "connect")
        def shadow(connection, _record):
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("CREATE TEMPORARY TABLE v (id int PRIMARY KEY, tenant text, a int, b int)")
            connection.autocommit = False

        fill = Backfill(table="v", values=lambda t: {"b": t.c.a}, pending=lambda t: t.c.b.is_(None))
        """,
    )
    expanded = project.run("expand")
    assert expanded.code == 0, expanded.err
    refused = project.run("migrate")
    assert refused.code == 3, refused.err
    assert "v is a temporary table" in " ".join(refused.complaint)
    assert project.run("contract").code == 3
    assert rows(database.engine, "SELECT count(a) FROM v WHERE b IS NULL") == [(3,)]


# --- settings that truncate a result -------------------------------------------------------------


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize(
    "setting", ["sql_select_limit=1", "sql_big_selects=0", "max_join_size=1", "sql_auto_is_null=1"]
)
def test_settings_that_truncate_a_result_are_overridden(
    database: Database, tmp_path: Path, setting: str
) -> None:
    """As a default of the server or in the URL: still every row is migrated and counted."""
    create_table_v(database)
    url = sa.make_url(database.url).update_query_dict({"init_command": f"SET SESSION {setting}"})
    project = create_project(tmp_path / "project", url.render_as_string(hide_password=False))
    project.data(
        "fill",
        """
        @row_migration(table="v", pending=lambda t: t.c.b.is_(None))
        def fill(row):
            return {"b": row.a}
        """,
    )
    project.apply_expand()
    assert [blocker.count for blocker in command.gate(project.site())] == [3]
    assert project.migrate()["fill"].done == 3
    execute(database.engine, "UPDATE v SET b = NULL WHERE id > 1")
    [blocker] = command.gate(project.site())
    assert (blocker.count, blocker.keys) == (2, ("2", "3"))


@pytest.mark.needs("system_versioning")
def test_system_versioned_table_is_refused(database: Database, tmp_path: Path) -> None:
    """Its history rows would lose the column, and no data migration can change them."""
    create_table_v(database, suffix=" WITH SYSTEM VERSIONING")
    assert_refused(create_project(tmp_path / "project", database.url), database, "system-versioned")


@pytest.mark.needs("system_versioning")
def test_application_time_table_is_migrated_for_each_period(database: Database, tmp_path: Path) -> None:
    """The key includes the period: rows with the same id are distinguished."""
    execute(
        database.engine,
        "CREATE TABLE v (id int NOT NULL, f date NOT NULL, t date NOT NULL, a int, b int, "
        "PERIOD FOR p(f, t), UNIQUE (id, p WITHOUT OVERLAPS), PRIMARY KEY (id, f))",
        "INSERT INTO v VALUES (1, '2020-01-01', '2021-01-01', 10, NULL), "
        "(1, '2021-01-01', '2022-01-01', 11, NULL)",
    )
    project = create_project(tmp_path / "project", database.url)
    project.data(
        "fill",
        """
        @row_migration(table="v", pending=lambda t: t.c.b.is_(None))
        def fill(row):
            return {"b": row.a}
        """,
    )
    project.apply_expand()
    assert project.migrate()["fill"].done == 2
    assert sorted(rows(database.engine, "SELECT a, b FROM v")) == [(10, 10), (11, 11)]


@pytest.mark.needs("system_versioning")
@pytest.mark.parametrize("key", ["PRIMARY KEY", "UNIQUE"])
def test_key_with_a_period_is_refused(database: Database, tmp_path: Path, key: str) -> None:
    """Reflected without its period, the key is not unique: a row would get the value of another one."""
    execute(
        database.engine,
        "CREATE TABLE v (id int NOT NULL, f date NOT NULL, t date NOT NULL, a int, b int, "
        f"PERIOD FOR p(f, t), {key} (id, p WITHOUT OVERLAPS))",
        "INSERT INTO v VALUES (1, '2020-01-01', '2021-01-01', 10, NULL), "
        "(1, '2021-01-01', '2022-01-01', 11, NULL)",
    )
    assert_refused(create_project(tmp_path / "project", database.url), database, "WITHOUT OVERLAPS")


@pytest.mark.needs("row_security")
def test_invalid_unique_index_is_not_used_as_key(database: Database, tmp_path: Path) -> None:
    """A failed CREATE UNIQUE INDEX CONCURRENTLY leaves an index over rows that are not unique."""
    execute(
        database.engine,
        "CREATE TABLE v (id int NOT NULL, a int, b int)",
        "INSERT INTO v VALUES (1, 10, NULL), (1, 11, NULL)",
    )
    with pytest.raises(sa.exc.DBAPIError):
        execute_autocommit(database, "CREATE UNIQUE INDEX CONCURRENTLY u ON v (id)")
    assert_refused(create_project(tmp_path / "project", database.url), database, "unique index u is invalid")
