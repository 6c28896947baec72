"""Statements on a key range use the index of the key, whatever the optimizer statistics are.

Statistics are most outdated while rows are being moved. MySQL then uses a skip scan of a secondary index,
or reads the whole table, for every chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate.migrate.status import Outcome
from tests.servers import Database
from tests.support.project import Project, create, execute, insert, rows

pytestmark = pytest.mark.needs("lock_tables")  # the servers of the MySQL family

COUNT = 2_000
KINDS = {
    "backfill": 'fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))',
    "row": """
        @row_migration(table="items", pending=lambda t: t.c.size.is_(None))
        def fill(row):
            return {"size": 1}
    """,
}
KEYS = {"primary": "PRIMARY", "unique": "uq"}


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, batch_size=100) as written:
        yield written


def _items(database: Database, key: str) -> None:
    """A table whose statistics say that it is empty."""
    table = create(
        database.engine,
        sa.Table(
            "items",
            sa.MetaData(),
            sa.Column("id", sa.String(36), primary_key=key == "primary", nullable=False),
            sa.Column("host", sa.String(50), nullable=False, index=True),
            sa.Column("size", sa.Integer),
        ),
    )
    if key == "unique":
        # MySQL uses the first unique key as its primary key; the key with fewer columns is walked.
        execute(database.engine, "CREATE UNIQUE INDEX a ON items (id, host)")
        execute(database.engine, "CREATE UNIQUE INDEX uq ON items (id)")
    insert(database.engine, table, [{"id": f"{i:09}", "host": f"h{i % 5}"} for i in range(COUNT)])
    execute(database.engine, "ALTER TABLE items STATS_AUTO_RECALC = 0")
    stale = "n_rows = 0, clustered_index_size = 1, sum_of_other_index_sizes = 1"
    this = "table_name = 'items' AND database_name = DATABASE()"
    execute(database.engine, f"UPDATE mysql.innodb_table_stats SET {stale} WHERE {this}")
    execute(database.engine, "FLUSH TABLES items")


@pytest.fixture
def sent(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements on ranges of items that a run sends, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if re.search(r"\bitems\b.*\b(ORDER BY|SET|online_migrate_upper)", statement, re.DOTALL):
            statements.append((statement, parameters))

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", record)
    yield statements
    sa.event.remove(sa.engine.Engine, "before_cursor_execute", record)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", KEYS)
def test_range_statements_use_index_of_key(
    key: str, kind: str, database: Database, project: Project, sent: list[tuple[str, Any]]
) -> None:
    _items(database, key)
    project.data("fill", KINDS[kind])
    project.site().ensure_state_tables()
    sent.clear()  # statements that created the tables
    result = project.migrate()["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, COUNT)
    statements = dict(sent)
    assert len(statements) >= 4
    for statement, parameters in statements.items():
        assert _indexes(database, statement, parameters) == {KEYS[key]}, statement[:300]


def test_sweep_has_no_index_hint(database: Database, project: Project, sent: list[tuple[str, Any]]) -> None:
    """Few rows behind the walk are pending: an index on the pending columns finds them directly."""
    _items(database, "primary")
    project.data("fill", KINDS["backfill"])
    assert project.migrate()["fill"].done == COUNT
    execute(database.engine, "UPDATE items SET size = NULL WHERE id IN ('000000007', '000001500')")
    sent.clear()
    assert project.migrate()["fill"].done == 2
    assert len(sent) >= 4
    assert [statement for statement, _parameters in sent if "FORCE INDEX" in statement] == []


def _indexes(database: Database, statement: str, parameters: Any) -> set[str | None]:
    """The indexes by which a statement finds rows of items; None means a full table scan."""
    explain = "EXPLAIN FORMAT=TRADITIONAL" if database.server.product == "mysql" else "EXPLAIN"
    with database.engine.connect() as connection:
        found = connection.exec_driver_sql(f"{explain} {statement}", parameters).mappings().all()
    return {row["key"] for row in found if row["table"] in ("items", "t")}


def test_invisible_key_is_walked_without_hint(database: Database, project: Project) -> None:
    """An index hint cannot name an invisible index."""
    _items(database, "unique")
    hide = "INVISIBLE" if database.server.product == "mysql" else "IGNORED"
    execute(database.engine, f"ALTER TABLE items ALTER INDEX uq {hide}")
    project.data("fill", KINDS["backfill"])
    result = project.migrate()["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, COUNT)
    assert rows(database.engine, "SELECT size, count(*) FROM items GROUP BY size") == [(1, COUNT)]
