"""A sync that would not be correct is refused before anything is created, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate import command
from online_migrate.dialects import dialect_of
from online_migrate.exceptions import GateClosed
from online_migrate.sync.definition import SyncRefused
from online_migrate.sync.recorded import SyncState, sync_states
from tests.functional.test_sync_writes import DIVIDED, VOLUMES, connection, create_sync, run
from tests.servers import Database
from tests.support.project import Project, execute

__all__ = ["connection"]

TABLES = (
    VOLUMES,
    "CREATE VIEW seen AS SELECT * FROM volumes",
    """CREATE TABLE odd (id INTEGER PRIMARY KEY, a INTEGER,
       g INTEGER GENERATED ALWAYS AS (a + 1) STORED)""",
)
FORWARD = {"size_bytes": "size_gb * 1024"}
BACKWARD = {"size_gb": "size_bytes"}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "column sizes does not exist": (
        "volumes",
        {"forward": {"sizes": "size_gb"}, "backward": {"size_gb": "sizes"}},
    ),
    "column missing does not exist": (
        "volumes",
        {"forward": {"size_bytes": "missing"}, "backward": BACKWARD},
    ),
    "it is a view": ("seen", {"forward": FORWARD, "backward": BACKWARD}),
    "it does not exist": ("nothing", {"forward": FORWARD, "backward": BACKWARD}),
    "column g is generated": ("odd", {"forward": {"g": "a"}, "backward": {"a": "g"}}),
    "backward is empty": ("volumes", {"forward": FORWARD, "backward": {}}),
    "belongs to both shapes": (
        "volumes",
        {"forward": {"size_bytes": "size_gb + size_bytes"}, "backward": BACKWARD},
    ),
    "uses random": ("volumes", {"forward": {"size_bytes": "random()"}, "backward": BACKWARD}),
    "is an aggregate": (
        "volumes",
        {"forward": {"size_bytes": sa.func.sum(sa.column("size_gb"))}, "backward": BACKWARD},
    ),
    "uses current_timestamp": ("volumes", {"forward": {"note": "current_timestamp"}, "backward": BACKWARD}),
    "reads another table": ("volumes", {"forward": {"size_bytes": "(SELECT 1)"}, "backward": BACKWARD}),
    "there is no expression for": (
        "volumes",
        {"forward": {"size_bytes": {"oracle": "1"}}, "backward": BACKWARD},
    ),
    "without its table": ("volumes", {"forward": {"size_bytes": "volumes.size_gb"}, "backward": BACKWARD}),
}


def test_refused(connection: Connection) -> None:
    """Wrong tables, columns and expressions; nothing is created."""
    run(connection, *TABLES)
    for reason, (table, definition) in REFUSED.items():
        with pytest.raises(SyncRefused, match=reason):
            create_sync(connection, "refused", table, **definition)
    with pytest.raises(SyncRefused, match="longer than"):
        create_sync(connection, "x" * 300, forward=FORWARD, backward=BACKWARD)
    with pytest.raises(SyncRefused, match="letters, digits"):
        create_sync(connection, "a b", forward=FORWARD, backward=BACKWARD)
    for table in ("volumes", "odd"):
        assert not dialect_of(connection).sync_triggers(connection, table, None)


def test_long_name(connection: Connection) -> None:
    """A name that exceeds the limit of the server is shortened, and stays unique."""
    run(connection, VOLUMES)
    names = ["x" * 80 + "1", "x" * 80 + "2"]
    create_sync(connection, names[0], forward={"size_bytes": "size_gb"}, backward=BACKWARD)
    create_sync(connection, names[1], forward={"title": "name"}, backward={"name": "title"})
    found = dialect_of(connection).sync_triggers(connection, "volumes", None)
    assert set(found) == {
        trigger for name in names for trigger in dialect_of(connection).sync_trigger_names(name)
    }


@pytest.mark.needs("transactional_ddl", "row_locks")
def test_postgresql_order_and_partitions(connection: Connection) -> None:
    """A trigger that fires later and names a column is refused, and so is a partition."""
    run(
        connection,
        VOLUMES,
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.size_gb := coalesce(NEW.size_gb, 3); RETURN NEW; END'",
        "CREATE TRIGGER zz BEFORE INSERT ON volumes FOR EACH ROW EXECUTE FUNCTION touch()",
    )
    with pytest.raises(SyncRefused, match="trigger zz fires after it"):
        create_sync(connection, "size", forward=FORWARD, backward=BACKWARD)
    connection.rollback()
    run(connection, "ALTER TRIGGER zz ON volumes RENAME TO aa")
    create_sync(connection, "size", forward=FORWARD, backward=BACKWARD)
    run(connection, "INSERT INTO volumes (id) VALUES (1)")
    assert connection.execute(sa.text("SELECT size_gb, size_bytes FROM volumes")).all() == [(3, 3072)]
    run(
        connection,
        "CREATE TABLE parted (id INTEGER, a INTEGER, b INTEGER) PARTITION BY RANGE (id)",
        "CREATE TABLE part PARTITION OF parted DEFAULT",
    )
    with pytest.raises(SyncRefused, match="create the sync on the partitioned table"):
        create_sync(connection, "part", "part", forward={"b": "a"}, backward={"a": "b"})
    create_sync(connection, "parted", "parted", forward={"b": "a"}, backward={"a": "b"})
    run(connection, "INSERT INTO part (id, a) VALUES (1, 2)", "INSERT INTO parted (id, b) VALUES (2, 5)")
    assert connection.execute(sa.text("SELECT id, a, b FROM parted ORDER BY 1")).all() == [
        (1, 2, 2),
        (2, 5, 5),
    ]


@pytest.mark.needs("lock_tables")
def test_existing_triggers_fire_first(connection: Connection) -> None:
    """MySQL and MariaDB fire triggers in the order of their creation."""
    run(
        connection,
        VOLUMES,
        "CREATE TRIGGER zz BEFORE INSERT ON volumes FOR EACH ROW SET NEW.size_gb = COALESCE(NEW.size_gb, 3)",
    )
    create_sync(connection, "size", forward=FORWARD, backward={"size_gb": DIVIDED})
    run(connection, "INSERT INTO volumes (id) VALUES (1)")
    assert connection.execute(sa.text("SELECT size_gb, size_bytes FROM volumes")).all() == [(3, 3072)]


@pytest.mark.needs("lock_tables")
def test_missing_privilege(connection: Connection, database: Database) -> None:
    """The statement that gives the privilege is named."""
    run(
        connection,
        VOLUMES,
        "CREATE USER om_sync_user IDENTIFIED BY 'Pw_12345678'",
        f"GRANT SELECT, INSERT ON {database.name}.* TO om_sync_user",
    )
    url = sa.make_url(database.url).set(username="om_sync_user", password="Pw_12345678")
    engine = sa.create_engine(url)
    try:
        with engine.connect() as poor, pytest.raises(SyncRefused) as refused:
            create_sync(poor, "size", forward=FORWARD, backward=BACKWARD)
        assert refused.value.hint == "GRANT TRIGGER ON volumes TO 'om_sync_user'@'%'"
    finally:
        engine.dispose()
        run(connection, "DROP USER om_sync_user")


ITEMS = """
    op.create_table(
        "items",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("a", sa.Integer),
        mysql_engine="InnoDB",
    )
"""
COLUMNS = """
op.add_column("items", sa.Column("b", sa.Integer))
op.add_column("items", sa.Column("c", sa.Integer))
"""
FIRST = 'op.create_sync("first", "items", forward={"b": "a + 1"}, backward={"a": "b - 1"})\n'
SECOND = 'op.create_sync("second", "items", forward={{"c": "{0} + 1"}}, backward={{"{0}": "c - 1"}}{1})\n'


@pytest.mark.parametrize("in_one_revision", [True, False])
@pytest.mark.parametrize("form", ["the same name", "another case", "a schema"])
def test_two_syncs_of_one_column(
    database: Database, tmp_path: Path, form: str, in_one_revision: bool
) -> None:
    """The second one is refused, also if it spells the column, or the schema, in another way."""
    column, schema = "b", ""
    if form == "another case":
        column = "b" if database.server.product == "postgresql" else "B"
    elif form == "a schema":
        default = sa.inspect(database.engine).default_schema_name
        schema = f", schema={default!r}" if database.server.product != "sqlite" else ""
    second = SECOND.format(column, schema)
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(ITEMS)
        if in_one_revision:
            project.expand(COLUMNS + FIRST + second)
        else:
            project.expand(COLUMNS + FIRST)
            project.expand(second)
        with pytest.raises(SyncRefused, match="sync first uses column b too"):
            project.apply_expand()
        recorded = [one.sync.name for one in sync_states_of(database)]
        assert recorded == ([] if in_one_revision else ["first"])


def sync_states_of(database: Database) -> list[SyncState]:
    """Returns the recorded syncs."""
    with database.engine.connect() as connection:
        return sync_states(connection)


def test_contract_script_that_spells_the_column_in_another_case(database: Database, tmp_path: Path) -> None:
    """The triggers use the column that is dropped: each later write would fail."""
    spelled = "a" if database.server.product == "postgresql" else "A"
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(ITEMS)
        project.expand(COLUMNS + FIRST.replace('"a"', f'"{spelled}"'))
        project.contract('op.drop_column("items", "a")', "c1")
        project.apply_expand()
        assert [one.id for one in command.gate(project.site())] == ["sync-in-use"]
        script = next(project.scripts.glob("contract/*_c1.py"))
        script.write_text(script.read_text().replace('"items", "a"', f'"items", "{spelled}"'))
        assert [one.id for one in command.gate(project.site())] == ["sync-in-use"]


def test_contract_that_requires_no_data_migration_of_the_table(database: Database, tmp_path: Path) -> None:
    """Rows from before the sync are not in the new shape: the column is not dropped."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(ITEMS)
        project.apply_expand()
        execute(database.engine, "INSERT INTO items (id, a) VALUES (1, 5)")
        project.expand(COLUMNS + FIRST)
        project.contract('op.drop_sync("first")\nop.drop_column("items", "a")', "c1", requires=())
        project.apply_expand()
        with pytest.raises(GateClosed) as closed:
            command.contract(project.site())
        assert [one.id for one in closed.value.blockers] == ["sync-without-data-migration"]
        assert rows_of(database) == [(1, 5, None)]
        project.data(
            "moved",
            """
            moved = Backfill(table="items", values=lambda t: {"b": t.c.a + 1},
                             pending=lambda t: t.c.b.is_(None) & t.c.a.is_not(None))
            """,
        )
        script = next(project.scripts.glob("contract/*_c1.py"))
        script.write_text(script.read_text().replace("requires = ()", "requires = ('moved',)"))
        project.migrate()
        assert command.contract(project.site()).revisions == ("c1",)


def rows_of(database: Database) -> list[tuple[Any, ...]]:
    """Returns id, a and b of each row."""
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text("SELECT id, a, b FROM items ORDER BY id"))]
