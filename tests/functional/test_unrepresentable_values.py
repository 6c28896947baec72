"""A value that Python, or the driver, has nothing for fails its row at most, and never ends a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, rows

pytestmark = [pytest.mark.filterwarnings("ignore:Did not recognize type:sqlalchemy.exc.SAWarning")]

DRIVERS = {"postgresql": ["postgresql+psycopg2", "postgresql+psycopg"]}
_FAMILY = {
    "zero date": ("DATE", "'0000-00-00'", "'2024-01-02'"),
    "zero month": ("DATE", "'2024-00-00'", "'2024-01-02'"),
    "zero moment": ("DATETIME(6)", "'0000-00-00 00:00:00'", "'2024-01-02 03:04:05'"),
    "zero stamp": (
        "TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP",
        "'0000-00-00 00:00:00'",
        "'2024-01-02 03:04:05'",
    ),
    "zero changed": (
        "DATETIME ON UPDATE CURRENT_TIMESTAMP",
        "'0000-00-00 00:00:00'",
        "'2024-01-02 03:04:05'",
    ),
    "no member": ("VARCHAR(9)", "'b'", "'a'"),
    "long time": ("TIME", "'838:59:59'", "'23:00:00'"),
    "short time": ("TIME(6)", "'-838:59:59'", "'00:00:00.000001'"),
}
VALUES: dict[str, dict[str, tuple[str, str, str]]] = {
    "sqlite": {
        "no UTF-8": ("TEXT", "CAST(x'61ff62' AS TEXT)", "'ok'"),
        "no date": ("DATETIME", "'yesterday'", "'2024-01-02 03:04:05.000000'"),
        "a number for a date": ("DATE", "1704067200", "'2024-01-02'"),
        "no document": ("JSON", "'{'", "'{}'"),
        "bytes for a number": ("NUMERIC", "x'00ff'", "1.5"),
    },
    "postgresql": {
        "infinite moment": ("timestamp", "'infinity'", "'2024-01-02'"),
        "infinite past": ("timestamptz", "'-infinity'", "'2024-01-02'"),
        "infinite day": ("date", "'infinity'", "'2024-01-02'"),
        "before Christ": ("timestamp", "'0044-03-15 BC'", "'2024-01-02'"),
        "day before Christ": ("date", "'0044-03-15 BC'", "'2024-01-02'"),
        "far future": ("timestamptz", "'12345-06-07'", "'2024-01-02'"),
        "far day": ("date", "'12345-06-07'", "'2024-01-02'"),
        "end of the day": ("time", "'24:00'", "'23:00'"),
        "long interval": ("interval", "'178000000 years'", "'1 day'"),
        "infinite range": ("tsrange", "'[2024-01-01,infinity]'", "'[2024-01-01,2024-01-02)'"),
        "infinities": ("date[]", "'{infinity,NULL}'", "'{2024-01-01}'"),
    },
    "mysql": {**_FAMILY, "vector": ("VECTOR(2)", "TO_VECTOR('[1,2]')", "TO_VECTOR('[3,4]')")},
    "mariadb": _FAMILY,
}
"""Type, a value that is hard to represent, and one that is not."""
CANNOT_BE_WRITTEN = {"no UTF-8"}
"""Python gives no such text to SQLite: the row fails, and keeps what it has."""
NO_KEYS = {"vector", "infinities", "no document", "zero month"}
"""The last one MySQL compares with nothing, under its usual sql_mode: its data migration fails with that."""
COUNT, ODD = 20, (7, 13)

LOOKS = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    return {"size": len(str(row.value))}
"""
GIVES_BACK = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    return {"value": row.value, "copy": row.value, "size": 1}
"""
NEVER_LOOKS = """
fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""


def _cases(product: str) -> dict[str, tuple[str, str, str]]:
    return VALUES[product]


def _create(database: Database, declared: str, key: str, values: list[str]) -> None:
    """Each value twice: in one column and in a twin that no migration writes."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    twin = declared.replace(" ON UPDATE CURRENT_TIMESTAMP", "").replace(" NULL", "")
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        if database.server.has("self_updating"):
            cursor.execute("SET SESSION sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute("DROP TABLE IF EXISTS items")
        null = " NOT NULL" if "value" in key else " NULL"
        cursor.execute(
            f"CREATE TABLE items (id INTEGER NOT NULL, value {declared.replace(' NULL', '')}{null}, "
            f"twin {twin} NULL, copy {twin} NULL, size INTEGER, {key})"
        )
        for number, value in enumerate(values):
            cursor.execute(f"INSERT INTO items (id, value, twin) VALUES ({number}, {value}, {value})")


def _forget(database: Database) -> None:
    """What the engine remembers of the table that is made anew."""
    tables = ("data_migration", "walk", "worker", "failure")
    schema.run_all(database, *[f"DELETE FROM online_migrate_{table}" for table in tables])


def _session(database: Database, number: int) -> str:
    """By the drivers in turns: each kind of value has two that are much alike."""
    given, _, rest = database.url.partition("://")
    drivers = DRIVERS.get(database.server.product, [given])
    return f"{drivers[number % len(drivers)]}://{rest}"


@pytest.mark.parametrize(
    "source", [LOOKS, GIVES_BACK, NEVER_LOOKS], ids=["looks", "gives back", "never looks"]
)
def test_a_value_that_is_hard_to_represent_ends_nothing(
    source: str, database: Database, tmp_path: Path
) -> None:
    """It is given to the function exactly, or its row alone fails; a Backfill does not notice it."""
    wrong = {}
    for number, (name, (declared, odd, usual)) in enumerate(_cases(database.server.product).items()):
        url = _session(database, number)
        values = [odd if i in ODD else usual for i in range(COUNT)]
        _create(database, declared, "PRIMARY KEY (id)", values)
        with Project.create(tmp_path / f"project-{number}", url) as project:
            project.data("fill", source)
            result = project.migrate(batch_size=6)["fill"]
            failures = {failure["key"]: failure["error"] for failure in project.status("fill").failures}
        changed = "value <> twin OR (value IS NULL) <> (twin IS NULL)"
        if declared in ("JSON", "VECTOR(2)"):
            changed = "1 = 0"
        kept = rows(database.engine, f"SELECT id FROM items WHERE {changed}")
        done = rows(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL")
        expected = COUNT, [], [(COUNT,)], set()
        if name in CANNOT_BE_WRITTEN and source == GIVES_BACK:
            expected = COUNT - len(ODD), [], [(COUNT - len(ODD),)], set(map(str, ODD))
        if (result.done, kept, done, set(failures)) != expected:
            wrong[name] = result, kept, done, failures
        _forget(database)
    assert wrong == {}, str(wrong)


TYPED = {
    "sqlite": ("no date", "sa.DateTime()"),
    "postgresql": ("far future", "sa.DateTime(timezone=True)"),
    "mysql": ("no member", 'sa.Enum("a")'),
    "mariadb": ("no member", 'sa.Enum("a")'),
}
BY_TYPE = """
items = sa.Table(
    "items", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("size", sa.Integer),
    sa.Column("value", {}))

@row_migration(table=items, pending=lambda t: t.c.size.is_(None))
def fill(row):
    return {{"size": 1}}
"""


@pytest.mark.parametrize("batch_size", [1, 6, 100])
def test_a_value_that_cannot_be_read_under_the_users_type_fails_its_row(
    batch_size: int, database: Database, tmp_path: Path
) -> None:
    """The rows around it, and those behind it, are done; it is recorded with its key and the reason."""
    name, type_ = TYPED[database.server.product]
    declared, odd, usual = _cases(database.server.product)[name]
    _create(database, declared, "PRIMARY KEY (id)", [odd if i in ODD else usual for i in range(COUNT)])
    with Project.create(tmp_path / "project", database.url) as project:
        project.data("fill", BY_TYPE.format(type_))
        result = project.migrate(batch_size=batch_size)["fill"]
        found = project.status("fill")
    assert (result.done, result.failed) == (COUNT - len(ODD), len(ODD)), result
    assert (found.done, found.pending, found.failed) == (COUNT - len(ODD), 0, len(ODD))
    assert {failure["key"] for failure in found.failures} == set(map(str, ODD))
    assert all(failure["error"] for failure in found.failures)
    assert rows(database.engine, "SELECT id FROM items WHERE size IS NULL ORDER BY id") == [(i,) for i in ODD]


HITS = """
backfill = Backfill(table="items", values=lambda t: {"size": t.c.size + 1})

@row_migration(table="items")
def by_row(row):
    return {"copy": row.value, "hits": row.hits + 1}

@row_migration(table="items", pending=lambda t: t.c.copied.is_(None))
def fails(row):
    if row.id in (7, 13):
        raise ValueError("no")
    return {"copied": 1}
"""


def test_a_value_that_is_hard_to_represent_is_a_key_like_any_other(
    database: Database, tmp_path: Path
) -> None:
    """Each row is visited once, in chunks that end at such a key, and one that fails is recorded by it."""
    wrong = {}
    for number, (name, (declared, odd, usual)) in enumerate(_cases(database.server.product).items()):
        if name in NO_KEYS:
            continue
        url = _session(database, number)
        values = [odd if i in ODD else usual for i in range(COUNT)]
        _create(database, declared, "PRIMARY KEY (value, id)", values)
        schema.run_all(
            database,
            "ALTER TABLE items ADD COLUMN hits INTEGER DEFAULT 0 NOT NULL",
            "ALTER TABLE items ADD COLUMN copied INTEGER",
            "UPDATE items SET size = 0",
        )
        with Project.create(tmp_path / f"project-{number}", url) as project:
            project.data("hits", HITS)
            results = project.migrate(batch_size=3)
            done = {one.name: (one.done, one.failed) for one in results.values()}
            again = project.migrate("fails", batch_size=3)["fails"]
            counts = project.counts("fails")
        errors = [one.error or "" for one in results.values()]
        if name in CANNOT_BE_WRITTEN:
            # A Backfill does not mind, unless a chunk ends there.
            if not all("items' cannot be walked" in error and "UTF-8" in error for error in errors[1:]):
                wrong[name] = errors
        else:
            visited = rows(database.engine, "SELECT DISTINCT size, hits FROM items")
            expected = {"backfill": (COUNT, 0), "by_row": (COUNT, 0), "fails": (COUNT - 2, 2)}
            if (done, visited, again.failed, counts) != (expected, [(1, 1)], 2, (COUNT - 2, 0, 2)):
                wrong[name] = done, visited, again, counts, errors
        _forget(database)
    assert wrong == {}, str(wrong)


@pytest.mark.needs("temporal_keys")
def test_a_key_that_ends_with_a_period_is_walked(database: Database, tmp_path: Path) -> None:
    """WITHOUT OVERLAPS: the period is a part of the key, also one without an end, or one that is infinite."""
    periods = ["[2024-01-01,2024-02-01)", "[2024-02-01,infinity)", "(,2023-01-01)", "[infinity,)"]
    schema.run_all(
        database,
        "CREATE EXTENSION btree_gist",
        "CREATE TABLE items (id INTEGER, value daterange, twin daterange, copy daterange, "
        "size INTEGER DEFAULT 0, hits INTEGER DEFAULT 0, copied INTEGER, "
        "PRIMARY KEY (id, value WITHOUT OVERLAPS))",
        *[f"INSERT INTO items VALUES ({i}, '{period}', '{period}')" for i in range(5) for period in periods],
    )
    with Project.create(tmp_path / "project", database.url) as project:
        project.data("hits", HITS.replace("(7, 13)", "(3,)"))
        results = project.migrate(batch_size=3)
        counts = project.counts("fails")
    assert {name: (one.done, one.failed) for name, one in results.items()} == {
        "backfill": (20, 0),
        "by_row": (20, 0),
        "fails": (16, 4),
    }
    assert counts == (16, 0, 4)
    assert rows(database.engine, "SELECT DISTINCT size, hits, copy = twin FROM items") == [(1, 1, True)]
