"""Foreign keys violated before a revision do not stop it; those that the revision violates do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, declared, execute

MISMATCH = (
    "CREATE TABLE old_parent (id INTEGER PRIMARY KEY, code TEXT)",
    "CREATE TABLE old_child (id INTEGER PRIMARY KEY, code TEXT REFERENCES old_parent (code))",
    "INSERT INTO old_child VALUES (1, 'none')",
)
NO_PARENT = ("CREATE TABLE old_child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES nowhere (id))",)
VALID = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT UNIQUE, more TEXT)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, code TEXT REFERENCES parent (code))",
    "INSERT INTO parent VALUES (1, 'one', '')",
    "INSERT INTO child VALUES (1, 'one')",
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database file; SQLite is the only server whose foreign keys the engine checks itself."""
    with schema.embedded().fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


@pytest.mark.parametrize("broken", [MISMATCH, NO_PARENT], ids=["mismatch", "no parent table"])
def test_foreign_keys_violated_before_do_not_stop_a_revision(
    database: Database, project: Project, broken: tuple[str, ...]
) -> None:
    """Another table, and the invalid one too, can be expanded; the invalid one is named."""
    execute(database.engine, *broken, *VALID)
    project.expand('op.add_column("parent", sa.Column("n", sa.Integer))')
    project.expand('op.add_column("old_child", sa.Column("n", sa.Integer))')
    done = project.run("expand")
    assert done.code == 0, done
    assert "old_child" in done.err or broken is NO_PARENT
    assert "n" in schema.shape(database)["old_child"]["columns"]


def test_foreign_keys_may_be_corrected_by_a_revision(database: Database, project: Project) -> None:
    """The missing unique key is added: rows that could not be checked before are not its errors."""
    execute(database.engine, *MISMATCH)
    project.expand(
        'op.create_index("code", "old_parent", ["code"], unique=True)',
        additive=declared("create-unique-index"),
    )
    assert project.run("expand").code == 0


def test_foreign_keys_invalidated_by_a_revision_are_refused(database: Database, project: Project) -> None:
    """The parent loses its unique key: the table is named, and nothing is changed."""
    execute(database.engine, *MISMATCH, *VALID)
    project.contract(
        'op.execute("CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT)")\n'
        'op.execute("DROP TABLE parent")\n'
        'op.execute("ALTER TABLE p RENAME TO parent")\n'
        "op.execute(\"INSERT INTO parent VALUES (1, 'one')\")",
        branch_labels=("contract",),
    )
    before = schema.catalog(database)
    refused = project.run("contract")
    assert refused.code == 2, refused
    assert "'child'" in refused.err
    assert "Traceback" not in refused.err
    assert [t for t in schema.catalog(database).splitlines() if "online_migrate" not in t] == [
        t for t in before.splitlines() if "online_migrate" not in t
    ]


def test_foreign_keys_of_other_tables_are_checked_beside_an_invalid_table(
    database: Database, project: Project
) -> None:
    """An invalid foreign key does not end the check of the other tables."""
    execute(database.engine, *MISMATCH, *VALID)
    project.contract('op.execute("DELETE FROM parent")', branch_labels=("contract",))
    refused = project.run("contract")
    assert refused.code == 2, refused
    assert "1 row(s) of 'child'" in refused.err
    assert schema.query_all(database, "SELECT count(*) FROM parent") == [(1,)]
