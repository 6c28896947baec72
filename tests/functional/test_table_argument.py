"""table= of a data migration: a name, a sa.Table, a sa.table(...), a mapped class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import exceptions
from online_migrate.migrate.run import Outcome
from tests.servers import Database
from tests.support.project import Project, execute, rows

pytestmark = pytest.mark.each_product

TABLES = {
    "sa.table": """
t = sa.table("volumes", sa.column("gb"), sa.column("size"))
""",
    "sa.table of typed columns": """
t = sa.table("volumes", sa.column("gb", sa.Integer), sa.column("size", sa.BigInteger))
""",
    "a mapped class": """
from sqlalchemy import orm

class Base(orm.DeclarativeBase):
    pass

class Volume(Base):
    __tablename__ = "volumes"
    id = sa.Column(sa.Integer, primary_key=True)
    gigabytes = sa.Column("gb", sa.Integer)
    name = sa.Column("note", sa.String(40))
    bytes = sa.Column("size", sa.BigInteger)

t = Volume
""",
    "a class that is mapped by hand": """
from sqlalchemy import orm

class Volume:
    pass

orm.registry().map_imperatively(Volume, sa.Table("volumes", sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True), sa.Column("gb", sa.Integer),
    sa.Column("size", sa.BigInteger)))
t = Volume
""",
}
COLUMNS = {
    "sa.table": ("t.c.gb", "t.c.size"),
    "sa.table of typed columns": ("t.c.gb", "t.c.size"),
    "a mapped class": ("t.gigabytes", "t.bytes"),
    "a class that is mapped by hand": ("t.gb", "t.size"),
}
KINDS = {
    "expressions": """
fill = Backfill(table=t, values={{"size": {gb} * 10}}, pending={size}.is_(None) & {gb}.is_not(None),
                verify={size} == {gb} * 10)
""",
    "columns as keys": """
fill = Backfill(table=t, values={{{size}: {gb} * 10}}, pending={size}.is_(None))
""",
    "functions": """
fill = Backfill(table=t, values=lambda live: {{"size": live.c.gb * 10}},
                pending=lambda live: live.c.size.is_(None))
""",
    "functions of another object": """
fill = Backfill(table=t, values=lambda live: {{"size": {gb} * 10}}, pending=lambda live: {size}.is_(None))
""",
    "a subquery of the same table": """
other = sa.table("factors", sa.column("factor", sa.Integer))
fill = Backfill(table=t, values={{"size": {gb} * 10}},
                pending={size}.is_(None) & sa.exists().where(other.c.factor >= {gb}))
""",
    "rows": """
@row_migration(table=t, pending={size}.is_(None))
def fill(row):
    return {{"size": row.gb * 10}}
""",
    "a batch": """
@batch_migration(table=t, pending={size}.is_(None))
def fill(connection, chunk):
    live = chunk.table
    return connection.execute(sa.update(live).where(chunk.where).values(size=live.c.gb * 10)).rowcount
""",
}


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project on a table of seven rows."""
    execute(
        database.engine,
        "CREATE TABLE volumes (id INTEGER PRIMARY KEY, gb INTEGER, size BIGINT, note VARCHAR(40))",
        "CREATE TABLE factors (factor INTEGER)",
        "INSERT INTO factors VALUES (100)",
        *(f"INSERT INTO volumes (id, gb) VALUES ({row}, {row})" for row in range(1, 8)),
    )
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("table", TABLES)
def test_every_form_of_table_gives_the_same_rows(
    database: Database, project: Project, table: str, kind: str
) -> None:
    """Rows are migrated and counted; the gate counts them too."""
    gb, size = COLUMNS[table]
    project.data("fill", TABLES[table] + KINDS[kind].format(gb=gb, size=size))
    project.contract('op.drop_column("volumes", "note")', requires=("fill",), branch_labels=("contract",))
    assert project.run("gate").code == 3
    assert project.migrate(batch_size=3)["fill"].outcome is Outcome.COMPLETE
    assert project.counts("fill") == (7, 0, 0)
    assert project.run("gate").code == 0
    assert project.run("plan").code == 0
    expected = [(row, row * 10) for row in range(1, 8)]
    assert rows(database.engine, "SELECT id, size FROM volumes ORDER BY id") == expected


WRONG = {
    "a class that is not mapped": ("class t: pass", "the class t"),
    "a query": ('t = sa.select(sa.column("a")).subquery()', "a Subquery"),
    "a column": ('t = sa.column("volumes")', "a ColumnClause"),
    "a number": ("t = 1", "a int"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_table_is_refused(database: Database, project: Project, wrong: str) -> None:
    """127, and what was given is said."""
    source, said = WRONG[wrong]
    project.data(
        "fill", f'{source}\nfill = Backfill(table=t, values={{"size": 1}}, pending=sa.column("size") == 0)'
    )
    with pytest.raises(exceptions.DataMigrationBroken, match=said):
        project.migrate()


def test_a_column_that_only_the_lightweight_table_has(database: Database, project: Project) -> None:
    """It is named, and nothing is changed."""
    project.data(
        "fill",
        't = sa.table("volumes", sa.column("sise"))\nfill = Backfill(table=t, values={"size": 1}, '
        "pending=t.c.sise.is_(None))",
    )
    result = project.migrate()["fill"]
    assert result.outcome is Outcome.FAILED
    assert "sise" in str(result.error)


@pytest.mark.needs("schemas", "lock_tables")
def test_a_lightweight_table_of_another_schema(database: Database, project: Project) -> None:
    """schema= of sa.table() counts."""
    other = f"{database.name}_b"
    execute(
        database.engine,
        f"CREATE DATABASE {other}",
        f"CREATE TABLE {other}.things (id INTEGER PRIMARY KEY, gb INTEGER, size BIGINT)",
        f"INSERT INTO {other}.things (id, gb) VALUES (1, 1)",
    )
    try:
        project.data(
            "fill",
            f't = sa.table("things", sa.column("gb"), sa.column("size"), schema="{other}")\n'
            'fill = Backfill(table=t, values={"size": t.c.gb * 10}, pending=t.c.size.is_(None))',
        )
        assert project.migrate()["fill"].outcome is Outcome.COMPLETE
        assert rows(database.engine, f"SELECT size FROM {other}.things") == [(10,)]
    finally:
        execute(database.engine, f"DROP DATABASE {other}")
