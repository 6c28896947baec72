"""Contract of a table in another database of the same server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate.migrate.run import Outcome
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute, rows

pytestmark = [pytest.mark.each_product, pytest.mark.needs("schemas", "lock_tables")]


@pytest.fixture
def other(database: Database) -> Iterator[str]:
    """The name of a second database with a table of the same name as one of the first."""
    name = f"{database.name}_other"
    execute(
        database.engine,
        f"CREATE DATABASE {name}",
        f"CREATE TABLE {name}.t (id INTEGER PRIMARY KEY, old INTEGER, gone INTEGER)",
        f"INSERT INTO {name}.t VALUES (1, 1, 1)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, old INTEGER, gone INTEGER)",
        "INSERT INTO t VALUES (1, 1, 1)",
    )
    yield name
    execute(database.engine, f"DROP DATABASE {name}")


@pytest.mark.parametrize("of", ["other", "own"])
@pytest.mark.parametrize("what", ["column", "raw column", "index", "table", "both"])
def test_contract_of_a_table_in_another_database(
    database: Database, other: str, tmp_path: Path, of: str, what: str
) -> None:
    """The table is locked by its qualified name, whichever database the counted rows are in."""
    table = f"{other}.t" if of == "other" else "t"
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(
            f'op.add_column("t", sa.Column("new", sa.Integer), schema="{other}")\n'
            'op.add_column("t", sa.Column("new", sa.Integer))\n'
            f'op.create_index("t_gone", "t", ["gone"], schema="{other}")'
        )
        project.data(
            "fill",
            f'fill = Backfill(table="{table}", values=lambda t: {{"new": t.c.old}}, '
            'pending=lambda t: t.c.new.is_(None), revision="e1")',
        )
        body = {
            "column": f'op.drop_column("t", "old", schema="{other}")',
            "raw column": f'op.execute("ALTER TABLE `{other}` . `t` DROP COLUMN old")',
            "index": f'op.drop_index("t_gone", "t", schema="{other}")',
            "table": f'op.drop_table("t", schema="{other}")',
            "both": f'op.drop_column("t", "old", schema="{other}")\nop.drop_column("t", "old")',
        }[what]
        project.contract(body, requires=("fill",))
        project.apply_expand()
        assert project.run("contract").code == 3
        assert project.migrate()["fill"].outcome is Outcome.COMPLETE
        done = project.run("contract")
        assert done.code == 0, done
    left = rows(database.engine, f"SHOW TABLES FROM {other}")
    columns = [row[0] for row in rows(database.engine, f"SHOW COLUMNS FROM {other}.t")] if left else []
    assert ("old" in columns) is (what == "index")
    own = schema.shape(database)["t"]["columns"]
    assert ("old" in own) is (what != "both")


def test_an_indexed_column_in_another_database_is_refused(
    database: Database, other: str, tmp_path: Path
) -> None:
    """Before anything is done, as in the own database, where the column has no index here."""
    with Project.create(tmp_path / "project", database.url) as project:
        execute(database.engine, f"CREATE INDEX t_old ON {other}.t (old)")
        project.data(
            "fill", 'fill = Backfill(table="t", values={"gone": 2}, pending=lambda t: t.c.gone == 1)'
        )
        project.contract(
            f'op.drop_column("t", "old", schema="{other}")', requires=("fill",), branch_labels=("contract",)
        )
        assert project.migrate()["fill"].outcome is Outcome.COMPLETE
        refused = project.run("contract")
        assert refused.code == 3, refused
        assert "t_old" in refused.err
        assert ("old",) in [row[:1] for row in rows(database.engine, f"SHOW COLUMNS FROM {other}.t")]
