"""What a function of a row gives arrives as a plain UPDATE would store it, and never over what is newer."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from online_migrate.dialects import create_engine
from online_migrate.migrate.run import Outcome
from tests.functional.test_migrate_walk import KEYS
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, create, execute, insert, rows, scalar

pytestmark = pytest.mark.each_product

D = decimal.Decimal
INTEGERS = [0, -1, 2**31 - 1, -(2**31), None]
LARGE = [2**63 - 1, -(2**63), 0, None]
DECIMALS = [
    D("12345678901234567890.123456789012345"),
    D("1E-7"),
    D("-0.000000000000001"),
    D("1E+10"),
    D("0"),
    None,
    D("9999999999999999999999999.999999999999999"),
]
FLOATS = [0.1, 1e-300, 1.7976931348623157e308, 1 / 3, -0.0, 2.2250738585072014e-308, 5, None, 1e15 + 0.3]
SMALL_FLOATS = [0.5, 1e-30, 3.25e20, None, -1.0]
TEXTS = [
    "",
    "'",
    '"',
    "\\",
    "\\'",
    "%",
    "%s %(x)s %%",
    ":x ::y \\:z",
    "?",
    "{x} {{y}}",
    "日本 🐘 e\u0301",
    "\n\t\r\x1a",
    " both ",
    "NULL",
    "{1,NULL}",
    "-- ; /* ",
    "long 🐘 " * 40_000,
    None,
]
SHORT_TEXTS = [text for text in TEXTS if text is None or len(text) <= 40]
BYTES = [bytes(range(256)), b"", b"\x00", b"'\\%s:x?", b"\\x00", None, bytes(range(255, -1, -1)) * 100]
DOCUMENTS: list[Any] = [
    {"a": [1, None, "ü", 2.5], "b": {"c": True}},
    [],
    {},
    'a \'quoted\' "string" %s :x \\ \\" ?',
    {"%s": ":x", "🐘": "\\", "'": '"'},
    None,
    5,
    0.1,
    False,
    "",
    "null",
]
DATES = [datetime.date(1000, 1, 1), datetime.date(9999, 12, 31), datetime.date(2024, 2, 29), None]
TIMES = [datetime.time(0, 0), datetime.time(23, 59, 59, 999_999), datetime.time(12, 0, 0, 1), None]
MOMENTS = [
    datetime.datetime(1000, 1, 1),
    datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999),
    datetime.datetime(2024, 2, 29, 12, 0, 0, 1),
    None,
]
_ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=45))
ZONED = [moment and moment.replace(year=2024, tzinfo=_ZONE) for moment in MOMENTS]
ZONED.append(datetime.datetime(2024, 3, 31, 1, 30, tzinfo=datetime.UTC))
INTERVALS = [
    datetime.timedelta(days=-3, microseconds=1),
    datetime.timedelta(days=400, hours=25),
    datetime.timedelta(0),
    None,
]
UUIDS = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid5(uuid.NAMESPACE_DNS, "x"), None]
_FAMILY: dict[str, tuple[str, list[Any]]] = {
    "integer": ("INTEGER", INTEGERS),
    "large": ("BIGINT", LARGE),
    "unsigned": ("BIGINT UNSIGNED", [2**64 - 1, 0, 2**63, None]),
    "decimal": ("DECIMAL(40, 15)", DECIMALS),
    "double": ("DOUBLE", FLOATS),
    "float": ("FLOAT", SMALL_FLOATS),
    "boolean": ("BOOLEAN", [True, False, None, 1, 0]),
    "text": ("LONGTEXT", TEXTS),
    "varchar": ("VARCHAR(40)", SHORT_TEXTS),
    "char": ("CHAR(5)", ["", "a", "a b", "Ж%🐘", None]),
    "latin": ("VARCHAR(40) CHARACTER SET latin1", ["", "ü%s", "'\\", None]),
    "blob": ("LONGBLOB", BYTES),
    "varbinary": ("VARBINARY(300)", [value for value in BYTES if value is None or len(value) <= 300]),
    "date": ("DATE", DATES),
    "time": ("TIME(6)", [*TIMES, datetime.timedelta(hours=-26), datetime.timedelta(hours=700)]),
    "datetime": ("DATETIME(6)", MOMENTS),
    "whole datetime": ("DATETIME", MOMENTS[:1] + MOMENTS[2:]),
    "timestamp": ("TIMESTAMP(6) NULL", [datetime.datetime(2024, 2, 29, 12, 0, 0, 1), None]),
    "enum": ("ENUM('a', 'b''c', '%s', 'd:x')", ["a", "b'c", "%s", "d:x", None]),
    "set": ("SET('x', 'y', '%')", [{"x"}, {"x", "%"}, set(), None]),
    "year": ("YEAR", [1901, 2155, 2024, None]),
    "bit": ("BIT(8)", [0, 255, 37, None]),
}
TYPES: dict[str, dict[str, tuple[str, list[Any]]]] = {
    "sqlite": {
        "integer": ("INTEGER", [*INTEGERS, *LARGE]),
        "decimal": ("NUMERIC(40, 15)", [D("1.5"), D("1E-7"), D("0.123456789"), None]),
        "double": ("DOUBLE", [*FLOATS, math.inf]),
        "boolean": ("BOOLEAN", [True, False, None]),
        "text": ("TEXT", [*TEXTS, "a\x00b"]),
        "varchar": ("VARCHAR(3)", SHORT_TEXTS),
        "blob": ("BLOB", BYTES),
        "json": ("JSON", DOCUMENTS),
        "date": ("DATE", DATES),
        "time": ("TIME", TIMES),
        "datetime": ("DATETIME", MOMENTS),
    },
    "postgresql": {
        "integer": ("INTEGER", INTEGERS),
        "small": ("SMALLINT", [0, -(2**15), None]),
        "large": ("BIGINT", LARGE),
        "decimal": ("NUMERIC(40, 15)", DECIMALS),
        "numeric": ("NUMERIC", [*DECIMALS, D("NaN"), D("1E+400"), D("1.10"), D("-1E-300")]),
        "double": ("DOUBLE PRECISION", [*FLOATS, 5e-324, math.inf, -math.inf, math.nan]),
        "real": ("REAL", SMALL_FLOATS),
        "boolean": ("BOOLEAN", [True, False, None]),
        "text": ("TEXT", TEXTS),
        "varchar": ("VARCHAR(40)", SHORT_TEXTS),
        "char": ("CHAR(5)", ["", "a", "a b", "Ж%🐘", None]),
        "bytea": ("BYTEA", BYTES),
        "json": ("JSON", DOCUMENTS),
        "jsonb": ("JSONB", DOCUMENTS),
        "date": ("DATE", DATES),
        "time": ("TIME", TIMES),
        "timestamp": ("TIMESTAMP", MOMENTS),
        "timestamp(0)": ("TIMESTAMP(0)", MOMENTS[:1] + MOMENTS[2:]),
        "zoned": ("TIMESTAMP WITH TIME ZONE", ZONED),
        "interval": ("INTERVAL", INTERVALS),
        "uuid": ("UUID", UUIDS),
        "enum": ("mood", ["sad", "o'k %s", ":x", None]),
        "domain": ("short", ["a", "'", None]),
        "texts": ("TEXT[]", [["a", None, "{}", '"', "\\", "%s", ":x", "🐘", ""], [], [["a"], ["b"]], None]),
        "integers": ("INTEGER[]", [[1, None, -3], [], None, [[1, 2], [3, 4]]]),
        "address": ("INET", ["10.0.0.1", "::1", None]),
        "bits": ("BIT(3)", ["101", "000", None]),
        "range": ('VARCHAR(40) COLLATE "C"', SHORT_TEXTS),
    },
    "mysql": {**_FAMILY, "json": ("JSON", DOCUMENTS)},
    "mariadb": {
        **_FAMILY,
        "json": ("JSON", [None if value is None else json.dumps(value) for value in DOCUMENTS]),
        "uuid": ("UUID", [None, *map(str, UUIDS[:3])]),
    },
}
BEFORE = {
    "postgresql": (
        "CREATE TYPE mood AS ENUM ('sad', 'o''k %s', ':x')",
        "CREATE DOMAIN short AS VARCHAR(3) CHECK (VALUE <> 'bad')",
    )
}
READ = {"postgresql": "CAST({} AS TEXT)", "sqlite": "typeof({0}) || quote({0})"}
"""How a value is read so that nothing of it is lost on its way."""

GIVES = """
from tests.functional.test_bulk import TYPES

VALUES = TYPES[{product!r}][{type!r}][1]

@row_migration(table="items", pending=lambda t: t.c.done.is_(None))
def fill(row):
    return {{"value": VALUES[row.id % len(VALUES)], "done": 1}}
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as written:
        yield written


# --- values --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning")
@pytest.mark.filterwarnings("ignore:Did not recognize type:sqlalchemy.exc.SAWarning")
def test_values_of_every_type_are_stored_as_by_a_plain_update(database: Database, project: Project) -> None:
    """Many different ones in one statement: each row holds what an UPDATE of its own would have stored."""
    product = database.server.product
    schema.run_all(database, *BEFORE.get(product, ()))
    wrong: dict[str, Any] = {}
    for name, (type_, values) in TYPES[product].items():
        count = 2 * len(values) + 1
        for table in ("items", "twin"):
            schema.run_all(
                database,
                f"DROP TABLE IF EXISTS {table}",
                f"CREATE TABLE {table} (id INTEGER NOT NULL PRIMARY KEY, value {type_}, done INTEGER)",
                *[f"INSERT INTO {table} (id) VALUES ({i})" for i in range(count)],
            )
        twin = sa.Table("twin", sa.MetaData(), autoload_with=project.site().engine)
        with project.site().engine.begin() as connection:
            for i in range(count):
                update = sa.update(twin).where(twin.c.id == i)
                connection.execute(update.values(value=values[i % len(values)]))
        project.data("fill", GIVES.format(product=product, type=name))
        result = project.migrate()["fill"]
        read = READ.get(product, "{}").format("value")
        found, expected = (
            rows(database.engine, f"SELECT id, {read} FROM {table} ORDER BY id")
            for table in ("items", "twin")
        )
        if result.outcome is not Outcome.COMPLETE:
            wrong[name] = result.error, [str(f)[:300] for f in project.status("fill").failures[:2]]
        elif repr(found) != repr(expected):
            wrong[name] = [
                (repr(a)[:200], repr(b)[:200])
                for a, b in zip(found, expected, strict=True)
                if repr(a) != repr(b)
            ]
        schema.run_all(database, "DELETE FROM online_migrate_data_migration")
        schema.run_all(database, "DELETE FROM online_migrate_walk", "DELETE FROM online_migrate_failure")
    assert wrong == {}


@pytest.mark.needs("typed_columns")
def test_a_value_that_is_too_long_fails_its_row_and_is_not_cut(database: Database, project: Project) -> None:
    """Not even by spaces that nobody sees the loss of."""
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, value VARCHAR(3), raw CHAR(3), done INTEGER)",
        *[f"INSERT INTO items (id) VALUES ({i})" for i in range(10)],
    )
    project.data(
        "fill",
        """
        @row_migration(table="items", pending=lambda t: t.c.done.is_(None))
        def fill(row):
            return {"value": {4: "abcd", 5: "🐘🐘🐘🐘"}.get(row.id, "🐘🐘🐘"),
                    "raw": "wxyz" if row.id == 6 else "xyz", "done": 1}
        """,
    )
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 7, 3)
    untouched = "SELECT id FROM items WHERE value IS NULL AND raw IS NULL AND done IS NULL ORDER BY id"
    assert rows(database.engine, untouched) == [(4,), (5,), (6,)]
    assert rows(database.engine, "SELECT DISTINCT value, raw FROM items WHERE done = 1") == [
        ("🐘🐘🐘", "xyz")
    ]


# --- keys ----------------------------------------------------------------------------------------

_ANY_CASE = sa.String(20).with_variant(sa.String(20, collation="NOCASE"), "sqlite")
_ANY_CASE = _ANY_CASE.with_variant(mysql.VARCHAR(20, collation="utf8mb4_general_ci"), "mysql", "mariadb")
MORE_KEYS: dict[str, tuple[Any, list[tuple[Any, ...]]]] = {
    **KEYS,
    "text without case": (
        lambda: [sa.Column("k0", _ANY_CASE, primary_key=True)],
        [("a",), ("B",), ("C%",), ("d:x",), ("É",), ("f'\\",), ("日",), ("Z ",)],
    ),
    "text without case and integer": (
        lambda: [
            sa.Column("k0", _ANY_CASE, primary_key=True),
            sa.Column("k1", sa.Integer, primary_key=True, autoincrement=False),
        ],
        [(a, b) for a in ("a", "B", "É") for b in (1, 2, 3)],
    ),
}


@pytest.mark.parametrize("key", MORE_KEYS)
@pytest.mark.filterwarnings("ignore:Dialect sqlite:sqlalchemy.exc.SAWarning")
def test_every_row_is_found_again_by_its_key(key: str, database: Database, project: Project) -> None:
    """Each row gets the value that was made for it, whatever its key is made of.

    Whether or not somebody said what is pending.
    """
    columns, keys = MORE_KEYS[key]
    notes = [sa.Column(name, sa.String(200)) for name in ("note_all", "note_some")]
    counts = ("hits_all", "hits_some")
    hits = [sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in counts]
    table = sa.Table("items", sa.MetaData(), *columns(), *notes, *hits, mysql_charset="utf8mb4")
    create(database.engine, table)
    names = [column.name for column in table.c][:-4]
    insert(database.engine, table, [dict(zip(names, values, strict=True)) for values in keys])
    project.data(
        "fill",
        f"""
        @row_migration(table="items")
        def all(row):
            return {{"note_all": repr(tuple(row[:{len(names)}])), "hits_all": row.hits_all + 1}}

        @row_migration(table="items", pending=lambda t: t.c.hits_some == 0)
        def some(row):
            return {{"note_some": repr(tuple(row[:{len(names)}])), "hits_some": row.hits_some + 1}}
        """,
    )
    results = project.migrate(batch_size=5)
    assert {name: (result.outcome, result.done) for name, result in results.items()} == {
        "all": (Outcome.COMPLETE, len(keys)),
        "some": (Outcome.COMPLETE, len(keys)),
    }
    reflected = sa.Table("items", sa.MetaData(), autoload_with=database.engine)
    reader = create_engine(database.url)  # in a session at UTC, like the one in which the function was called
    with reader.connect() as connection:
        found = connection.execute(sa.select(reflected)).all()
    reader.dispose()
    made = [repr(tuple(row[: len(names)])) for row in found]
    assert [row.note_all for row in found] == made
    assert [row.note_some for row in found] == made
    assert {(row.hits_all, row.hits_some) for row in found} == {(1, 1)}


NAMES = [
    "select",
    "a b",
    "100%",
    "%s",
    "%(x)s",
    "x:y",
    ":x",
    "quo'te",
    'quo"te',
    "Ünï",
    "UPPER",
    "c0",
    "c1",
    "t",
    "v",
    "online_migrate_value_0",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_need_quoting(name: str, database: Database, project: Project) -> None:
    """Of tables, of keys and of columns, also where they look like placeholders, or like names of ours."""
    named = {
        "a_table": (name, "id", "size"),
        "a_key": ("with_key", name, "size"),
        "a_column": ("with_column", "id", name),
    }
    made = {what: create(database.engine, _called(*names)) for what, names in named.items()}
    for what, (_, key, _) in named.items():
        insert(database.engine, made[what], [{key: i} for i in range(5)])
    project.data("fill", "".join(BY_NAME.format(what, *names) for what, names in named.items()))
    results = project.migrate()
    for what, (_, key, _) in named.items():
        assert (results[what].outcome, results[what].done) == (Outcome.COMPLETE, 5), results[what]
        with database.engine.connect() as connection:
            found = connection.execute(sa.select(made[what]).order_by(made[what].c[key])).all()
        assert [tuple(row) for row in found] == [(i, i * 100, i) for i in range(5)], what


BY_NAME = """
@row_migration(table={1!r}, pending=lambda t: t.c[{3!r}].is_(None))
def {0}(row):
    return {{{3!r}: row[0] * 100, "other": row[0]}}
"""


def _called(table: str, key: str, column: str) -> sa.Table:
    return sa.Table(
        table,
        sa.MetaData(),
        sa.Column(key, sa.Integer, primary_key=True, autoincrement=False),
        sa.Column(column, sa.Integer),
        sa.Column("other", sa.Integer),
    )


# --- what is newer -------------------------------------------------------------------------------

STALE = """
other = sa.create_engine({url!r}, poolclass=sa.NullPool)

@row_migration(table="items"{pending})
def fill(row):
    if row.id == 5 and not (FOLDER / "changed").exists():
        (FOLDER / "changed").touch()
        with other.begin() as application:
            application.execute(sa.text({statement!r}))
    return {{"size": row.gb * 10, "hits": row.hits + 1}}
"""
PENDING = ", pending=lambda t: t.c.size.is_(None)"
CHANGES = {
    "what the value is made of": ("UPDATE items SET gb = 77 WHERE id = 5", (5, 77, 770, 1)),
    "the value itself": ("UPDATE items SET size = 123 WHERE id = 5", (5, 5, 123, 0)),
    "another column": ("UPDATE items SET hits = 40 WHERE id = 5", (5, 5, 50, 41)),
    "its key": ("UPDATE items SET id = 500 WHERE id = 5", (500, 5, 50, 1)),
    "everything, and back": (
        "UPDATE items SET gb = gb WHERE id = 5",
        (5, 5, 50, 1),
    ),
}


def _items(database: Database) -> None:
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, gb INTEGER, size INTEGER, hits INTEGER)",
        *[f"INSERT INTO items (id, gb, hits) VALUES ({i}, {i}, 0)" for i in range(10)],
    )


@pytest.mark.parametrize(
    "pending",
    [
        "lambda t: t.c.size.is_(None)",
        "sa.column('size').is_(None)",
        "lambda t: sa.exists().where(sa.table('one', sa.column('n')).c.n == sa.func.coalesce(t.c.size, 1))",
        "lambda t: sa.literal_column('size IS NULL', sa.Boolean())",
        "lambda t: sa.and_(sa.text('size IS NULL'), t.c.gb >= 0)",
    ],
    ids=["of the table", "of an untyped column", "in a query of its own", "a literal", "partly a text"],
)
def test_a_row_that_the_application_migrated_meanwhile_is_left_alone(
    pending: str, database: Database, project: Project
) -> None:
    """Also if the function reads another column only, which has not changed."""
    _items(database)
    execute(database.engine, "CREATE TABLE one (n INTEGER)", "INSERT INTO one VALUES (1)")
    source = STALE.replace("row.hits + 1", "7").replace(
        'table="items"', 'table="items", columns=["id", "gb"]'
    )
    change = "UPDATE items SET size = 123 WHERE id = 5"
    project.data("fill", source.format(url=database.url, statement=change, pending=f", pending={pending}"))
    result = project.migrate()["fill"]
    assert (result.outcome, result.failed) == (Outcome.COMPLETE, 0)
    assert rows(database.engine, "SELECT size, hits FROM items WHERE id = 5") == [(123, 0)]
    others = "SELECT count(*) FROM items WHERE size = gb * 10 AND hits = 7 AND id <> 5"
    assert scalar(database.engine, others) == 9


@pytest.mark.parametrize("change", CHANGES)
def test_a_row_that_the_application_changes_meanwhile_is_not_written_over(
    change: str, database: Database, project: Project
) -> None:
    """It is read again, and the function is called again: nothing of what it gave before is kept."""
    _items(database)
    statement, expected = CHANGES[change]
    project.data("fill", STALE.format(url=database.url, statement=statement, pending=PENDING))
    result = project.migrate()["fill"]
    assert (result.outcome, result.failed) == (Outcome.COMPLETE, 0)
    assert rows(database.engine, f"SELECT id, gb, size, hits FROM items WHERE id = {expected[0]}") == [
        expected
    ]
    others = "SELECT count(*) FROM items WHERE size = gb * 10 AND hits = 1 AND id NOT IN (5, 500)"
    assert scalar(database.engine, others) == 9


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("DELETE FROM items WHERE id = 5", []),
        ("UPDATE items SET gb = 77, hits = 7 WHERE id = 5", [(77, 770, 8)]),
    ],
    ids=["deleted", "changed"],
)
def test_a_row_that_is_deleted_or_changed_meanwhile(
    statement: str, left: list[Any], pending: str, database: Database, project: Project
) -> None:
    """One that is gone is nobody's error, with or without pending."""
    _items(database)
    project.data("fill", STALE.format(url=database.url, statement=statement, pending=pending))
    result = project.migrate()["fill"]
    assert (result.outcome, result.failed) == (Outcome.COMPLETE, 0), result
    assert rows(database.engine, "SELECT gb, size, hits FROM items WHERE id = 5") == left
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size = gb * 10 AND hits = 1") == 9


@pytest.mark.needs("many_writers", "row_locks")
@pytest.mark.parametrize("change", ["what the value is made of", "the value itself"])
def test_a_row_that_is_changed_just_before_it_is_written(
    change: str, database: Database, project: Project
) -> None:
    """After everything was read and the function was called; the statement itself must not write over it.

    Where the row is locked by then, the application waits and comes after us.
    """
    _items(database)
    statement, expected = CHANGES[change]
    project.data("fill", STALE.format(url=database.url, statement="SELECT 1", pending=PENDING))
    application = sa.create_engine(database.url, poolclass=sa.NullPool)
    waits = {"postgresql": "SET lock_timeout = '1s'"}.get(
        database.server.product, "SET SESSION innodb_lock_wait_timeout = 1"
    )
    came_first = []

    def act(_connection: Any) -> None:
        with application.connect() as connection:
            connection.execute(sa.text(waits))
            try:
                connection.execute(sa.text(statement))
            except sa.exc.DBAPIError:
                return
            connection.commit()
            came_first.append(True)

    written = "UPDATE (SELECT" if database.server.has("lock_tables") else "UPDATE items"
    with schema.happens("before", written, act):
        assert project.migrate()["fill"].outcome is Outcome.COMPLETE
    wanted = expected if came_first else (5, 5, 50, 1)
    assert rows(database.engine, "SELECT id, gb, size, hits FROM items WHERE id = 5") == [wanted]


# --- columns that change by themselves -----------------------------------------------------------

KINDS = {
    "backfill": """
fill = Backfill(table={table}, values={{"size": 1}}, pending=lambda t: t.c.size.is_(None){touch})
""",
    "row": """
@row_migration(table={table}, pending=lambda t: t.c.size.is_(None){touch})
def fill(row):
    return {{"size": 1}}
""",
    "row, in two groups of columns": """
@row_migration(table={table}, pending=lambda t: t.c.size.is_(None){touch})
def fill(row):
    return {{"size": 1}} if row.id % 2 else {{"size": 1, "note": "x"}}
""",
}
OLD = "2001-02-03 04:05:06"


@pytest.mark.needs("self_updating")
@pytest.mark.parametrize("touch", [False, True], ids=["untouched", "touched"])
@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_the_server_updates_stay_as_they_are(
    kind: str, touch: bool, database: Database, project: Project
) -> None:
    """A migration is no change of the row to the application, unless somebody says touch=True."""
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER, note VARCHAR(9), "
        "changed TIMESTAMP NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP, "
        "`also %s:x` DATETIME(3) NULL ON UPDATE CURRENT_TIMESTAMP(3))",
        *[f"INSERT INTO items VALUES ({i}, NULL, NULL, '{OLD}', NULL)" for i in range(5)],
    )
    project.data("fill", KINDS[kind].format(table='"items"', touch=", touch=True" if touch else ""))
    assert project.migrate()["fill"].done == 5
    found = rows(database.engine, "SELECT changed, `also %s:x` FROM items")
    before = (datetime.datetime.fromisoformat(OLD), None)
    if touch:
        assert all(row[0] > before[0] and row[1] is not None for row in found)
    else:
        assert found == [before] * 5


TYPED = """sa.Table("items", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("size", sa.Integer), sa.Column("note", sa.String(9)),
    sa.Column("changed", sa.String(20), onupdate=lambda: "touched"))"""


@pytest.mark.parametrize("touch", [False, True], ids=["untouched", "touched"])
@pytest.mark.parametrize("kind", KINDS)
def test_columns_that_a_typed_table_updates_stay_as_they_are(
    kind: str, touch: bool, database: Database, project: Project
) -> None:
    """The same for an onupdate= of the application's own table."""
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER, note VARCHAR(9), changed VARCHAR(20))",
        *[f"INSERT INTO items VALUES ({i}, NULL, NULL, 'old')" for i in range(5)],
    )
    project.data("fill", KINDS[kind].format(table=TYPED, touch=", touch=True" if touch else ""))
    assert project.migrate()["fill"].done == 5
    assert rows(database.engine, "SELECT DISTINCT changed FROM items") == [("touched" if touch else "old",)]


def test_a_column_that_changes_by_itself_can_be_migrated(database: Database, project: Project) -> None:
    """What the function gives for it counts, and not what it would become."""
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER, note VARCHAR(9), changed VARCHAR(20))",
        *[f"INSERT INTO items VALUES ({i}, NULL, NULL, 'old')" for i in range(5)],
    )
    source = KINDS["row"].replace('{{"size": 1}}', '{{"size": 1, "changed": str(row.id)}}')
    project.data("fill", source.format(table=TYPED, touch=""))
    assert project.migrate()["fill"].done == 5
    assert rows(database.engine, "SELECT id FROM items WHERE changed = CAST(id AS CHAR(1))") != []
    assert {row[0] for row in rows(database.engine, "SELECT changed FROM items")} == set("01234")


# --- triggers ------------------------------------------------------------------------------------

TRIGGERS = {
    "sqlite": (
        "CREATE TRIGGER noted AFTER UPDATE ON items BEGIN INSERT INTO notes VALUES (NEW.id, NEW.size); END",
    ),
    "postgresql": (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO notes VALUES (NEW.id, NEW.size); RETURN NEW; END $$",
        "CREATE TRIGGER noted AFTER UPDATE ON items FOR EACH ROW EXECUTE FUNCTION note()",
    ),
    "mysql": (
        "CREATE TRIGGER noted AFTER UPDATE ON items FOR EACH ROW INSERT INTO notes VALUES (NEW.id, NEW.size)",
    ),
}
TRIGGERS["mariadb"] = TRIGGERS["mysql"]


def test_triggers_fire_once_for_each_row(database: Database, project: Project) -> None:
    """With the new values, also where many rows are written by one statement."""
    _items(database)
    schema.run_all(
        database,
        "CREATE TABLE notes (id INTEGER, size INTEGER)",
        *TRIGGERS[database.server.product],
    )
    project.data("fill", STALE.format(url=database.url, statement="SELECT 1", pending=PENDING))
    assert project.migrate(batch_size=4)["fill"].done == 10
    found = rows(database.engine, "SELECT id, size FROM notes ORDER BY id")
    assert found == [(i, i * 10) for i in range(10)]
