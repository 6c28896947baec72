"""Rows that cannot be migrated are isolated and recorded, and every other row is migrated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.command import exit_code
from online_migrate.migrate.status import Outcome
from tests.servers import Database
from tests.support.project import Project, create, execute, insert, rows, scalar

pytestmark = pytest.mark.each_product

MANY_BAD, MANY_GOOD = 60, 40
BAD, GOOD = 12, 8
TAKEN = 5_000
"""The code of a row that exists already; its key is the last one."""

SOURCES = {
    "a backfill that violates a CHECK": """
fill = Backfill(table="items", values=lambda t: {{"size": t.c.gb * 10}}{pending})
""",
    "a backfill that violates a unique key": """
fill = Backfill(table="items", values=lambda t: {{"code": t.c.wanted, "size": t.c.id}}{pending})
""",
    "a function of a row that raises": """
@row_migration(table="items"{pending})
def fill(row):
    if row.gb == 500:
        raise ValueError(f"no: {{row.gb}}")
    return {{"size": row.gb * 10}}
""",
    "a row that violates a CHECK": """
@row_migration(table="items"{pending})
def fill(row):
    return {{"size": row.gb * 10}}
""",
    "a row that violates a unique key": """
@row_migration(table="items"{pending})
def fill(row):
    return {{"code": row.wanted, "size": row.id}}
""",
    "a batch that violates a CHECK": """
@batch_migration(table="items"{pending})
def fill(connection, chunk):
    t = chunk.table
    return connection.execute(sa.update(t).where(chunk.where).values(size=t.c.gb * 10)).rowcount
""",
    "a batch that raises after its UPDATE": """
@batch_migration(table="items"{pending})
def fill(connection, chunk):
    t = chunk.table
    done = connection.execute(sa.update(t).where(chunk.where).values(size=1)).rowcount
    if connection.scalar(sa.select(sa.func.count()).select_from(t).where(chunk.range, t.c.gb == 500)):
        raise ValueError("no: 500")
    return done
""",
}
WORDS = ("small_enough", "uq_code", "items.code", "no: 500")
"""Texts that identify the reason: a constraint or its column, or the message of a function."""

TOO_LONG = """
@row_migration(table="items"{pending})
def fill(row):
    return {{"size": row.id, "note": "abcd" if row.gb == 500 else "abc"}}
"""
PENDING = ", pending=lambda t: t.c.size.is_(None)"


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as written:
        yield written


def _items(engine: sa.Engine, ids: Any = None, bad: Any = None) -> None:
    """Rows 1 to 20, of which 1 to 12 are bad."""
    ids = range(1, BAD + GOOD + 1) if ids is None else ids
    bad = range(1, BAD + 1) if bad is None else bad
    table = create(
        engine,
        sa.Table(
            "items",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("gb", sa.Integer),
            sa.Column("wanted", sa.Integer),
            sa.Column("size", sa.Integer),
            sa.Column("code", sa.Integer),
            sa.Column("note", sa.String(3)),
            sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
            sa.CheckConstraint("size <= 1000", name="small_enough"),
            sa.UniqueConstraint("code", name="uq_code"),
        ),
    )
    values = [
        {"id": i, "gb": 500, "wanted": TAKEN} if i in bad else {"id": i, "gb": i % 100, "wanted": i}
        for i in ids
    ]
    insert(engine, table, values)


def _many_items(engine: sa.Engine) -> None:
    """Rows 1 to 100, of which 1 to 60 are bad."""
    _items(engine, range(1, MANY_BAD + MANY_GOOD + 1), range(1, MANY_BAD + 1))


def _insert_taken_code(engine: sa.Engine) -> None:
    execute(
        engine,
        f"INSERT INTO items (id, gb, wanted, size, code) VALUES (900, 90, {TAKEN}, 900, {TAKEN})",
    )


def _correct(engine: sa.Engine) -> None:
    execute(engine, "UPDATE items SET gb = 1, wanted = id WHERE gb = 500")


def _bad_rows_unchanged(engine: sa.Engine) -> bool:
    """True if no column of a bad row was changed."""
    untouched = "SELECT count(*) FROM items WHERE gb = 500 AND size IS NULL AND code IS NULL AND note IS NULL"
    return bool(scalar(engine, untouched) == scalar(engine, "SELECT count(*) FROM items WHERE gb = 500"))


# --- sixty bad rows before forty good rows -------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_bisection_isolates_sixty_bad_rows_before_forty_good_rows(
    source: str, database: Database, project: Project
) -> None:
    """All good rows are migrated, all bad rows are recorded with their reason, and retry resets them."""
    _many_items(database.engine)
    _insert_taken_code(database.engine)
    project.data("fill", SOURCES[source].format(pending=PENDING))
    result = project.migrate(batch_size=50)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, MANY_GOOD, MANY_BAD)
    assert exit_code([result]) == 2
    assert "60 row(s) could not be migrated" in (result.error or "")
    assert _bad_rows_unchanged(database.engine)
    found = project.status("fill")
    assert (found.status, found.total) == ("failed", 101)
    assert (found.done, found.pending, found.failed) == (41, 0, MANY_BAD)
    assert found.failures
    for failure in found.failures:
        assert 1 <= int(failure["key"]) <= MANY_BAD
        assert any(words in failure["error"] for words in WORDS), failure
    command.retry(project.site(), "fill")
    assert project.counts("fill") == (41, MANY_BAD, 0)
    assert project.status("fill").status == "stopped"
    _correct(database.engine)
    result = project.migrate(batch_size=50)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.COMPLETE, MANY_BAD, 0)
    assert project.counts("fill") == (101, 0, 0)
    assert rows(database.engine, "SELECT id FROM items WHERE size IS NULL") == []
    assert rows(database.engine, "SELECT * FROM online_migrate_failure") == []


@pytest.mark.parametrize("source", SOURCES)
def test_bad_rows_without_pending_expression(source: str, database: Database, project: Project) -> None:
    """Only the recorded failures tell which rows are left: the next run tries those rows, and no others."""
    _items(database.engine)
    _insert_taken_code(database.engine)
    project.data("fill", SOURCES[source].format(pending=""))
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, GOOD + 1, BAD)
    assert _bad_rows_unchanged(database.engine)
    assert project.status("fill").status == "failed"
    execute(
        database.engine, f"UPDATE items SET size = 0, code = NULL WHERE id BETWEEN {BAD + 1} AND {BAD + GOOD}"
    )
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 0, BAD)
    _correct(database.engine)
    result = project.migrate()["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.COMPLETE, BAD, 0)
    assert rows(database.engine, "SELECT id FROM items WHERE size IS NULL") == []
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size = 0") == GOOD


def test_retry_keeps_failed_rows_without_pending_expression(database: Database, project: Project) -> None:
    """Without ``pending``, a row that is removed from the list and never tried again is lost."""
    _items(database.engine)
    project.data("fill", SOURCES["a function of a row that raises"].format(pending=""))
    assert project.migrate()["fill"].failed == BAD
    command.retry(project.site(), "fill")
    result = project.migrate()["fill"]
    assert (result.outcome, result.failed) == (Outcome.FAILED, BAD)
    _correct(database.engine)
    command.retry(project.site(), "fill")
    result = project.migrate()["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, BAD)
    assert rows(database.engine, "SELECT id FROM items WHERE size IS NULL") == []


def test_status_lists_failed_rows_without_pending_expression(database: Database, project: Project) -> None:
    """The result of the run points to status, which lists the failed rows."""
    _items(database.engine, bad=(7,))
    project.data("fill", SOURCES["a function of a row that raises"].format(pending=""))
    ran = project.run("migrate")
    assert ran.code == 2
    assert "1 row(s) failed (online-migrate status lists them)" in ran.out
    assert "row 7: ValueError: no: 500" in project.run("status").out


@pytest.mark.needs("typed_columns")
@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_too_long_values_fail_rows_without_truncation(
    pending: str, database: Database, project: Project
) -> None:
    """No character of them is stored, and the other rows of the same statement are stored."""
    _items(database.engine)
    project.data("fill", TOO_LONG.format(pending=pending))
    result = project.migrate(batch_size=50)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, GOOD, BAD)
    assert _bad_rows_unchanged(database.engine)
    assert rows(database.engine, f"SELECT DISTINCT note FROM items WHERE id > {BAD}") == [("abc",)]
    _correct(database.engine)
    assert project.migrate()["fill"].outcome is Outcome.COMPLETE


@pytest.mark.parametrize("key", ["integer and text", "text"])
def test_bad_rows_with_composite_and_text_keys(key: str, database: Database, project: Project) -> None:
    """Scattered bad rows, in chunks of a composite key and of a text key."""
    columns = [sa.Column("b", sa.String(20), primary_key=True)]
    if key != "text":
        columns.insert(0, sa.Column("a", sa.Integer, primary_key=True, autoincrement=False))
    table = create(
        database.engine,
        sa.Table(
            "items",
            sa.MetaData(),
            *columns,
            sa.Column("gb", sa.Integer),
            sa.Column("size", sa.Integer),
            sa.CheckConstraint("size <= 1000", name="small_enough"),
        ),
    )
    values = [{"a": i % 5, "b": f"k'%{i}", "gb": 500 if i % 7 in (2, 3) else 1} for i in range(120)]
    insert(database.engine, table, [{k: v for k, v in value.items() if k in table.c} for value in values])
    bad = sum(value["gb"] == 500 for value in values)
    project.data("fill", SOURCES["a row that violates a CHECK"].format(pending=PENDING))
    result = project.migrate(batch_size=16)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 120 - bad, bad)
    assert project.counts("fill") == (120 - bad, 0, bad)
    assert rows(database.engine, "SELECT DISTINCT gb FROM items WHERE size IS NULL") == [(500,)]
    execute(database.engine, "UPDATE items SET gb = 2 WHERE gb = 500")
    assert project.migrate(batch_size=16)["fill"].done == bad


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_max_failures_ends_run(source: str, database: Database, project: Project) -> None:
    """Eleven failures where ten are allowed, or all those of one chunk; the good rows
    are left to the next run."""
    _items(database.engine, range(1, 41), range(1, 31))
    _insert_taken_code(database.engine)
    project.data("fill", SOURCES[source].format(pending=PENDING))
    result = project.migrate(batch_size=20, max_failures=10)["fill"]
    assert result.outcome is Outcome.FAILED
    assert 11 <= result.failed <= 20
    assert result.done == 0
    assert "the limit is 10" in (result.error or "")
    found = project.status("fill")
    assert (found.status, found.failed) == ("failed", result.failed)
    assert found.pending == 40 - result.failed
    result = project.migrate(batch_size=20, max_failures=60)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 10, 30)
    assert "limit" not in (result.error or "")


def test_max_failures_zero_on_command_line(database: Database, project: Project) -> None:
    """--max-failures 0, on the command line: exit 2 after the first of them."""
    _items(database.engine, range(1, 101), bad=(33, 77))
    project.data("fill", SOURCES["a row that violates a CHECK"].format(pending=PENDING))
    ran = project.run("migrate", "--max-failures", "0", "--batch-size", "10")
    assert ran.code == 2
    assert "the limit is 0" in ran.out
    assert project.counts("fill") == (32, 67, 1)


def test_bad_rows_do_not_count_against_max_count(database: Database, project: Project) -> None:
    """--max-count counts migrated rows, also during bisection."""
    _many_items(database.engine)
    project.data("fill", SOURCES["a backfill that violates a CHECK"].format(pending=PENDING))
    result = project.migrate(max_count=15, batch_size=20)["fill"]
    assert result.done == 15
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE size IS NOT NULL") == 15
    result = project.migrate(max_count=25, batch_size=20)["fill"]
    # The budget ended before the rows that failed in the first run were retried.
    assert (result.outcome, result.done, result.failed) == (Outcome.REMAINING, 25, MANY_BAD)
    assert project.migrate(max_count=1)["fill"].outcome is Outcome.FAILED
    assert project.counts("fill") == (MANY_GOOD, 0, MANY_BAD)


# --- concurrent changes and unusual errors -------------------------------------------------------

MEANWHILE = """
other = sa.create_engine({url!r}, poolclass=sa.NullPool)

@batch_migration(table="items"{pending})
def fill(connection, chunk):
    t = chunk.table
    ids = connection.scalars(sa.select(t.c.id).where(chunk.range)).all()
    if ids == [7]:
        with other.begin() as application:
            application.execute(sa.text({statement!r}))
    if 7 in ids:
        raise ValueError("no: 500")
    return connection.execute(sa.update(t).where(chunk.where).values(size=1)).rowcount
"""


@pytest.mark.needs("many_writers")
@pytest.mark.parametrize(
    ("statement", "pending"),
    [
        ("DELETE FROM items WHERE id = 7", PENDING),
        ("DELETE FROM items WHERE id = 7", ""),
        ("UPDATE items SET size = 1 WHERE id = 7", PENDING),
        ("UPDATE items SET id = 700 WHERE id = 7", PENDING),
    ],
    ids=["deleted", "deleted, without pending", "migrated", "moved"],
)
def test_bad_row_removed_before_it_is_recorded(
    statement: str, pending: str, database: Database, project: Project
) -> None:
    """The application removes the bad row before it is isolated: then there is nothing to record."""
    _items(database.engine, ids=range(1, 41), bad=())
    project.data("fill", MEANWHILE.format(url=database.url, statement=statement, pending=pending))
    result = project.migrate(batch_size=10)["fill"]
    assert (result.outcome, result.failed) == (Outcome.COMPLETE, 0), result
    assert rows(database.engine, "SELECT id FROM items WHERE size IS NULL") == []


@pytest.mark.parametrize(
    "text", ["a\\x00b", "\\udcff", "\\U0001f418" * 3_000, "", "%s %(x)s :x {x}"], ids=ascii
)
def test_failure_with_any_error_text_is_recorded(text: str, database: Database, project: Project) -> None:
    """Characters that a server does not store, a text of many bytes, or an empty one: the row is recorded."""
    _items(database.engine, ids=range(1, 11), bad=())
    project.data(
        "fill",
        f"""
        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            if row.id == 7:
                raise ValueError("{text}")
            return {{"size": 1}}
        """,
    )
    result = project.migrate(batch_size=5)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 9, 1)
    [failure] = project.status("fill").failures
    assert failure["key"] == "7"
    assert failure["error"].startswith("ValueError")
    ran = project.run("status")
    assert ran.code == 0
    assert ran.complaint == []


@pytest.mark.needs("typed_columns")
@pytest.mark.parametrize("value", ['"a\\x00b"', '"\\udcff"', "2**40", '"x"', "[1]", "[1, 2]", "float('nan')"])
def test_rejected_value_fails_only_its_row(value: str, database: Database, project: Project) -> None:
    """Whether the driver or the server rejects them: the other rows and the run do not fail."""
    _items(database.engine, ids=range(1, 11), bad=())
    column = "note" if value in ('"a\\x00b"', '"\\udcff"') else "gb"
    stored = _stored_by_an_update(database.engine, column, eval(value))
    project.data(
        "fill",
        f"""
        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            return {{"size": 1, "{column}": {value} if row.id in (7, 8) else row.{column}}}
        """,
    )
    result = project.migrate(batch_size=5)["fill"]
    if stored is None:
        assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 8, 2)
        assert {failure["key"] for failure in project.status("fill").failures} == {"7", "8"}
        return
    # This driver converts the value: then the result is the same as that of a plain UPDATE.
    assert result.outcome is Outcome.COMPLETE
    assert rows(database.engine, f"SELECT {column} FROM items WHERE id IN (7, 8)") == [stored, stored]


def _stored_by_an_update(engine: sa.Engine, column: str, value: Any) -> tuple[Any, ...] | None:
    """The stored form of *value*; None if it is rejected."""
    table = sa.Table("items", sa.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        if connection.dialect.name in ("mysql", "mariadb"):
            connection.exec_driver_sql("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
        try:
            connection.execute(sa.update(table).where(table.c.id == 7).values({column: value}))
        except (sa.exc.DBAPIError, ValueError):
            return None
        found = connection.execute(sa.select(table.c[column]).where(table.c.id == 7)).one()
        connection.rollback()
        return tuple(found)


def test_sweep_does_not_retry_failed_rows(database: Database, project: Project) -> None:
    """Sweeps for rows that became pending behind the walk do not retry a failed row in the same run."""
    _items(database.engine, ids=range(1, 31), bad=())
    project.data(
        "fill",
        f"""
        other = sa.create_engine({database.url!r}, poolclass=sa.NullPool)

        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            if row.id == 7:
                with (FOLDER / "tried").open("a") as file:
                    print("tried", file=file)
                raise ValueError("no: 500")
            if row.id == 25 and not (FOLDER / "undone").exists():
                (FOLDER / "undone").touch()
                with other.begin() as application:
                    application.execute(sa.text("UPDATE items SET size = NULL WHERE id IN (3, 8)"))
            return {{"size": 1, "hits": row.hits + 1}}
        """,
    )
    result = project.migrate(batch_size=10)["fill"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, 31, 1)
    assert rows(database.engine, "SELECT id FROM items WHERE size IS NULL") == [(7,)]
    assert rows(database.engine, "SELECT id FROM items WHERE hits = 2 ORDER BY id") == [(3,), (8,)]
    assert (project.folder / "tried").read_text().split() == ["tried"]
