"""Alembic's batch mode on SQLite copies a table: a copy that loses a part of the definition is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, declared, execute, rows

ORIGINAL = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY{autoincrement},
    name TEXT{collate},
    size INTEGER{check}
){options}
"""
ALTER = """
with op.batch_alter_table("items", recreate="always"{arguments}) as batch:
    batch.add_column(sa.Column("note", sa.Text))
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Creates a database file."""
    with schema.embedded().fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    """An empty project."""
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


def _create(database: Database, **parts: str) -> None:
    empty = {"autoincrement": "", "collate": "", "check": "", "options": ""}
    execute(database.engine, ORIGINAL.format(**(empty | parts)))
    execute(database.engine, "INSERT INTO items (id, name, size) VALUES (1, 'a', 1)")


def _definition(database: Database) -> str:
    [(sql,)] = rows(database.engine, "SELECT sql FROM sqlite_master WHERE name = 'items'")
    return str(sql)


LOSSES = {
    "a collation": ({"collate": " COLLATE NOCASE"}, "COLLATE NOCASE on column name"),
    "a check of a column": (
        {"check": " CHECK (size > 0)"},
        "CHECK (size > 0)",
    ),
    "autoincrement": ({"autoincrement": " AUTOINCREMENT"}, "AUTOINCREMENT on column id"),
    "a conflict clause": ({"check": ", UNIQUE (size) ON CONFLICT REPLACE"}, "ON CONFLICT REPLACE"),
}


@pytest.mark.parametrize("case", LOSSES)
def test_batch_loss_is_refused_and_nothing_is_changed(
    case: str, database: Database, project: Project
) -> None:
    """Exit code 3; the error lists the loss, and the line in the script that accepts it."""
    parts, loss = LOSSES[case]
    _create(database, **parts)
    project.expand(ALTER.format(arguments=""), "e1")
    before = _definition(database)
    ran = project.run("expand")
    assert ran.code == 3, ran.err
    assert loss in ran.err
    assert "batch_losses = (" in ran.err
    assert _definition(database) == before
    assert rows(database.engine, "SELECT name, size FROM items") == [("a", 1)]


@pytest.mark.parametrize("case", LOSSES)
def test_batch_loss_that_is_declared_is_accepted(case: str, database: Database, project: Project) -> None:
    """The script declares the loss by name."""
    parts, loss = LOSSES[case]
    _create(database, **parts)
    project.expand(ALTER.format(arguments=""), "e1", batch_losses=(loss,))
    ran = project.run("expand")
    assert ran.code == 0, ran.err
    assert "note" in _definition(database)


REFLECTED = {
    "a named check": ({"check": ", CONSTRAINT positive CHECK (size > 0 AND name <> 'x')"}, "CHECK (size > 0"),
    "a strict table": ({"options": " STRICT"}, "STRICT"),
    "a table without rowid": ({"options": " WITHOUT ROWID"}, "WITHOUT ROWID"),
}


@pytest.mark.parametrize("case", REFLECTED)
def test_batch_parts_reflected_by_some_sqlalchemy_versions_are_kept_or_refused(
    case: str, database: Database, project: Project
) -> None:
    """No part is lost silently."""
    parts, text = REFLECTED[case]
    _create(database, **parts)
    project.expand(ALTER.format(arguments=""), "e1")
    ran = project.run("expand")
    assert ran.code in (0, 3), ran.err
    assert text in _definition(database)


KEPT = {
    "a collation": (
        {"collate": " COLLATE NOCASE"},
        ', reflect_args=[sa.Column("name", sa.Text(collation="NOCASE"))]',
    ),
    "a check": ({"check": " CHECK (size > 0)"}, ', table_args=(sa.CheckConstraint("size > 0"),)'),
    "autoincrement": ({"autoincrement": " AUTOINCREMENT"}, ', table_kwargs={"sqlite_autoincrement": True}'),
}


@pytest.mark.parametrize("case", KEPT)
def test_batch_arguments_that_keep_a_part_avoid_the_loss(
    case: str, database: Database, project: Project
) -> None:
    """The forms that the hint names."""
    parts, arguments = KEPT[case]
    _create(database, **parts)
    project.expand(ALTER.format(arguments=arguments), "e1")
    ran = project.run("expand")
    assert ran.code == 0, ran.err


def test_batch_index_on_an_expression_is_a_loss(database: Database, project: Project) -> None:
    """SQLAlchemy does not reflect it; an index on columns is copied."""
    _create(database)
    execute(database.engine, "CREATE INDEX by_lower ON items (lower(name))")
    execute(database.engine, "CREATE INDEX by_size ON items (size)")
    project.expand(ALTER.format(arguments=""), "e1")
    ran = project.run("expand")
    assert (ran.code, "index by_lower" in ran.err, "by_size" in ran.err) == (3, True, False), ran.err


def test_batch_index_created_again_by_the_script_is_no_loss(database: Database, project: Project) -> None:
    """The definitions are compared at the end of the revision."""
    _create(database)
    execute(database.engine, "CREATE INDEX by_lower ON items (lower(name))")
    execute(database.engine, "CREATE INDEX by_size ON items (size)")
    again = 'op.execute("CREATE INDEX by_lower ON items (lower(name))")'
    project.expand(ALTER.format(arguments="") + again, "e1")
    assert project.run("expand").code == 0
    names = rows(database.engine, "SELECT name FROM sqlite_master WHERE name LIKE 'by_%' ORDER BY name")
    assert names == [("by_lower",), ("by_size",)]


def test_batch_parts_of_a_dropped_column_are_no_loss(database: Database, project: Project) -> None:
    """A column is dropped with its collation, its check and its index."""
    _create(database, collate=" COLLATE NOCASE CHECK (name <> '')")
    execute(database.engine, "CREATE INDEX by_lower ON items (lower(name))")
    drop = 'with op.batch_alter_table("items", recreate="always") as batch:\n    batch.drop_column("name")\n'
    project.expand(drop, "e1", additive=declared("drop-column items.name"))
    ran = project.run("expand")
    assert ran.code == 0, ran.err


def test_batch_collation_of_a_renamed_column_is_kept_or_refused(database: Database, project: Project) -> None:
    """The collation of a column that is renamed in the same copy is lost as well."""
    _create(database, collate=" COLLATE NOCASE")
    rename = (
        'with op.batch_alter_table("items", recreate="always") as batch:\n'
        '    batch.alter_column("name", new_column_name="title")\n'
    )
    project.expand(rename, "e1", additive=declared("rename-column items.name"))
    ran = project.run("expand")
    assert (ran.code, "COLLATE NOCASE on column title" in ran.err) == (3, True), ran.err


REFUSED = {
    "drop-column items.name": 'batch.drop_column("name")',
    "rename-column items.name": 'batch.alter_column("name", new_column_name="title")',
    "set-not-null items.size": 'batch.alter_column("size", nullable=False)',
    "add-unique items": 'batch.create_unique_constraint("one_name", ["name"])',
    "drop-index by_size": 'batch.drop_index("by_size")',
}


@pytest.mark.parametrize("operation", REFUSED)
def test_copy_is_judged_by_its_difference(database: Database, project: Project, operation: str) -> None:
    """Expand refuses what the copy amounts to, and rolls the revision back."""
    _create(database)
    execute(database.engine, "CREATE INDEX by_size ON items (size)")
    before = schema.catalog(database)
    project.expand(
        f'with op.batch_alter_table("items", recreate="always") as batch:\n    {REFUSED[operation]}'
    )
    ran = project.run("expand")
    assert ran.code == 3, ran.err
    assert f"e1: {operation}" in ran.err
    assert set(before.splitlines()) <= set(schema.catalog(database).splitlines())


def test_copy_that_adds_is_accepted_with_its_indexes(database: Database, project: Project) -> None:
    """A unique index that the table had is created again: it is no new one."""
    _create(database)
    execute(database.engine, "CREATE UNIQUE INDEX one_name ON items (name)")
    project.expand(
        'with op.batch_alter_table("items", recreate="always") as batch:\n'
        '    batch.add_column(sa.Column("note", sa.Text))\n'
        '    batch.alter_column("name", existing_type=sa.Text, nullable=True)\n'
        'op.create_index("by_note", "items", ["note"])\n'
    )
    ran = project.run("expand")
    assert ran.code == 0, ran.err
    assert {index[0] for index in schema.shape(database)["items"]["indexes"]} == {"one_name", "by_note"}
