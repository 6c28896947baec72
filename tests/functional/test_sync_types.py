"""Sync triggers on columns whose type rounds, names its values, or belongs to a schema."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of
from online_migrate.runtime.catalog_schema import CatalogSchema
from online_migrate.sql.operations.parts import Name
from online_migrate.sync.comparison import out_of_step
from online_migrate.sync.definition import SyncDefinition, SyncRefused
from online_migrate.sync.recorded import as_recorded
from tests.functional.test_sync_writes import connection, create_sync, rows, run
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project

__all__ = ["connection"]

DAY = datetime.datetime(2020, 1, 1)


def test_default_that_the_column_rounds(connection: Connection, database: Database) -> None:
    """An INSERT that leaves the old column out does not write it, although 0.1 is not the stored value."""
    single = {"postgresql": "REAL", "sqlite": "REAL"}.get(database.server.product, "FLOAT")
    run(
        connection,
        f"CREATE TABLE r (id INTEGER PRIMARY KEY, price {single} DEFAULT 0.1, cents DOUBLE PRECISION)",
    )
    create_sync(connection, "price", "r", forward={"cents": "price * 100"}, backward={"price": "cents / 100"})
    run(
        connection,
        "INSERT INTO r (id, cents) VALUES (1, 500)",
        "INSERT INTO r (id, price) VALUES (2, 2)",
        "INSERT INTO r (id) VALUES (3)",
    )
    (_, price, _), second, (_, default, cents) = rows(connection, "id, price, cents", "r")
    assert (float(price), tuple(map(float, second))) == (5, (2, 2, 200))
    assert (round(float(default), 6), round(float(cents), 6)) == (0.1, 10)


@pytest.mark.needs("row_locks")
def test_default_of_the_present_time(connection: Connection, database: Database) -> None:
    """The column rounds the time to seconds."""
    type_ = {"postgresql": "TIMESTAMP(0)"}.get(database.server.product, "DATETIME")
    run(
        connection,
        f"CREATE TABLE d (id INTEGER PRIMARY KEY, at {type_} DEFAULT CURRENT_TIMESTAMP, at2 {type_})",
    )
    create_sync(connection, "at", "d", forward={"at2": "at"}, backward={"at": "at2"})
    run(connection, "INSERT INTO d (id, at2) VALUES (1, '2020-01-01 00:00:00')")
    assert rows(connection, "id, at, at2", "d") == [(1, DAY, DAY)]


@pytest.mark.needs("lock_tables")
def test_lossy_conversion_to_a_single_precision(connection: Connection) -> None:
    """A double that the old column cannot hold exactly stays as the new version wrote it."""
    run(connection, "CREATE TABLE r (id INTEGER PRIMARY KEY, price FLOAT, exact DOUBLE)")
    create_sync(connection, "price", "r", forward={"exact": "price"}, backward={"price": "exact"})
    run(connection, "INSERT INTO r (id, exact) VALUES (1, 0.1)", "UPDATE r SET price = 0.1 WHERE id = 1")
    assert rows(connection, "id, exact", "r") == [(1, 0.1)]


@pytest.mark.needs("lock_tables")
def test_enum_without_a_default(connection: Connection, database: Database) -> None:
    """Refused where the server has no value of it for a trigger, or where INSERTs of old code would fail."""
    run(
        connection,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, e ENUM('p', 'q') NOT NULL, e2 VARCHAR(4), a INTEGER, "
        "b INTEGER)",
        "INSERT INTO t (id) VALUES (1)",
    )
    with pytest.raises(SyncRefused, match="column e is an ENUM NOT NULL without a default") as refused:
        create_sync(connection, "e", "t", forward={"e2": "e"}, backward={"e": "e2"})
    _, _, mend = refused.value.hint.partition(": ")
    assert mend == "ALTER TABLE t ALTER e SET DEFAULT 'p'"
    other = {"forward": {"b": "a"}, "backward": {"a": "b"}}
    if database.server.product == "mariadb":
        with pytest.raises(SyncRefused, match="fails while the table has a BEFORE INSERT trigger"):
            create_sync(connection, "other", "t", **other)
    else:
        create_sync(connection, "other", "t", **other)
        run(connection, "INSERT INTO t (id, a) VALUES (2, 1)")
    run(connection, mend, "DELETE FROM t WHERE id = 2")
    create_sync(connection, "e", "t", forward={"e2": "e"}, backward={"e": "e2"})
    run(connection, "INSERT INTO t (id, e2) VALUES (3, 'q')", "INSERT INTO t (id) VALUES (4)")
    assert rows(connection, "id, e, e2", "t") == [(1, "p", None), (3, "q", "q"), (4, "p", "p")]


@pytest.mark.needs("schemas", "transactional_ddl")
@pytest.mark.parametrize("named", ["", ', schema="public"'], ids=["search path", "schema"])
def test_types_of_the_application(database: Database, tmp_path: Path, named: str) -> None:
    """A cast to an ENUM in the search path; one that is not there is refused before anything is created."""
    schema.run_all(
        database,
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE SCHEMA far",
        "CREATE TYPE far.away AS ENUM ('sad', 'ok')",
        "CREATE TABLE w (id integer PRIMARY KEY, m text)",
    )
    sync = 'op.create_sync("mood", "w", forward={"s": "m::away"}, backward={"m": "s::text"}' + named + ")"
    with Project.create(tmp_path / "project", database.url) as project:
        script = project.expand(f'op.execute("ALTER TABLE w ADD COLUMN s mood")\n{sync}')
        path = next(project.scripts.glob(f"expand/*_{script}.py"))
        with pytest.raises(SyncRefused, match='type "away" does not exist'):
            project.apply_expand()
        path.write_text(path.read_text().replace("m::away", "m::mood"))
        project.apply_expand()
        schema.run_all(
            database,
            "INSERT INTO w (id, m) VALUES (1, 'ok')",
            "INSERT INTO w (id, s) VALUES (2, 'sad')",
            "SET search_path = far",
            "INSERT INTO public.w (id, m) VALUES (3, 'ok')",
        )
        found = schema.query_all(database, "SELECT id, m, s::text FROM public.w ORDER BY id")
        assert found == [(1, "ok", "ok"), (2, "sad", "sad"), (3, "ok", "ok")]


@pytest.mark.needs("lock_tables")
def test_comparison_rounds_as_an_assignment_does(connection: Connection) -> None:
    """What the triggers wrote is in step: text to a number, another character set, an ENUM."""
    run(
        connection,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(9) CHARACTER SET latin1, b INTEGER, "
        "c VARCHAR(9) CHARACTER SET latin1, d VARCHAR(9) CHARACTER SET utf8mb4, e ENUM('x', 'y'), "
        "f VARCHAR(4))",
    )
    shapes = {
        "number": ({"b": "a"}, {"a": "b"}),
        "charset": ({"d": "c"}, {"c": "d"}),
        "enum": ({"f": "e"}, {"e": "f"}),
    }
    for name, (forward, backward) in shapes.items():
        create_sync(connection, name, "t", forward=forward, backward=backward)
    run(connection, "INSERT INTO t (id, a, c, e) VALUES (1, '5.7', 'é', 'y'), (2, '5', NULL, NULL)")
    assert rows(connection, "id, b, d, f", "t")[0] == (1, 6, "é", "y")
    dialect = dialect_of(connection)
    table = sa.Table("t", sa.MetaData(), autoload_with=connection)
    for name, (forward, backward) in shapes.items():
        definition = SyncDefinition(name, Name("t"), forward, backward)
        shape = definition.shape(dialect.name, CatalogSchema(connection).column)
        recorded = as_recorded(connection, shape, None)
        [(_, condition)] = out_of_step(connection, recorded, table)
        assert connection.scalars(sa.select(table.c.id).where(condition)).all() == [], (dialect.name, name)
        changed = next(iter(forward))
        value = {"b": "7", "d": "'e'", "f": "'x'"}[changed]
        trigger = dialect.sync_trigger_names(name)[1]
        run(connection, f"DROP TRIGGER {trigger}", f"UPDATE t SET {changed} = {value} WHERE id = 1")
        assert connection.scalars(sa.select(table.c.id).where(condition)).all() == [1], name
