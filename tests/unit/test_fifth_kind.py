"""A kind that the engine does not know is run, planned and reported like its own kinds.

The kinds of this module use only the protocol of a kind. A test of a type anywhere in the engine would treat
them wrongly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate import command, exceptions
from online_migrate.kinds.base import DataMigration
from online_migrate.kinds.bound import BoundMigration
from online_migrate.kinds.command_database import CommandDatabase
from online_migrate.kinds.prepared import PreparedRows, ReadSession, RowResult, read_rows
from online_migrate.kinds.result import ChunkResult, UserError
from online_migrate.migrate.status import Outcome
from online_migrate.walk.chunk import Chunk
from tests.support.project import Project, execute, rows

COUNT = 23


@dataclasses.dataclass(frozen=True, kw_only=True)
class Archive(DataMigration):
    """Moves rows to another table, with a new name that Python computes for the list of them."""

    kind: ClassVar[str] = "archive"
    prepares_rows: ClassVar[bool] = True
    may_remove_rows: ClassVar[bool] = True
    max_chunk_rows: ClassVar[int] = 10
    into: str
    rename: Callable[[Sequence[str]], Sequence[str]]

    def check(self, table: sa.Table) -> None:
        if self.into == table.name:
            raise exceptions.DataMigrationBroken(name=self.name, reason="into is its own table")

    def plan_sql(self, connection: Connection) -> str:
        table = self.subject(connection).table
        return f"INSERT INTO {self.into} SELECT * FROM {table.name}; DELETE FROM {table.name}"

    def columns_read(self, table: sa.Table) -> Sequence[sa.Column[Any]]:
        return (table.c.name,)

    def prepare(self, session: ReadSession, bound: BoundMigration, chunk: Chunk) -> PreparedRows:
        found = session.in_transaction(lambda: read_rows(session.connection, bound, chunk))
        try:
            names = self.rename([row.row.name for row in found.values()])
        except ValueError as error:
            raise UserError(where=f"{self.name} ({chunk})", error=str(error)) from error
        results = {key: RowResult({"name": name}) for key, name in zip(found, names, strict=True)}
        return PreparedRows({key: row.seen for key, row in found.items()}, results)

    def apply(
        self, connection: Connection, bound: BoundMigration, chunk: Chunk, prepared: PreparedRows | None
    ) -> ChunkResult:
        assert prepared is not None
        into = sa.table(self.into, sa.column("id"), sa.column("name"))
        for (id_,), result in prepared.results.items():
            connection.execute(into.insert().values(id=id_, **(result.values or {})))
        gone = connection.execute(sa.delete(chunk.table).where(chunk.where)).rowcount
        return ChunkResult(gone, {}, recorded=gone)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Purge(DataMigration):
    """Deletes rows by statements that commit by themselves."""

    kind: ClassVar[str] = "purge"
    commits_by_itself: ClassVar[bool] = True
    url: str

    def open_calls(self, database: CommandDatabase) -> Callable[[int], tuple[int, int]]:
        engine = sa.create_engine(self.url)

        def purge(max_count: int) -> tuple[int, int]:
            some = f"SELECT id FROM items ORDER BY id LIMIT {min(max_count, 3)}"
            with engine.begin() as connection:
                gone = connection.execute(sa.text(f"DELETE FROM items WHERE id IN ({some})")).rowcount
            return gone, gone

        return purge


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", f"sqlite:///{tmp_path / 'database'}") as written:
        engine = sa.create_engine(written.url)
        execute(
            engine,
            "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)",
            "CREATE TABLE archived (id INTEGER PRIMARY KEY, name TEXT)",
            *(f"INSERT INTO items VALUES ({i}, 'name {i}')" for i in range(1, COUNT + 1)),
        )
        engine.dispose()
        yield written


HEADER = """
from tests.unit.test_fifth_kind import Archive, Purge

def in_capitals(names):
    with (FOLDER / "called").open("a") as file:
        print(len(names), file=file)
    return [name.upper() for name in names]

def not_all(names):
    if "name 5" in names and not (FOLDER / "repaired").exists():
        raise ValueError("name 5 has no capitals yet")
    return in_capitals(names)

"""
PENDING = "pending=lambda t: t.c.id > 0"
ARCHIVE = f'{HEADER}move = Archive(table="items", into="archived", rename=in_capitals, {PENDING})'


def _archived(project: Project) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(project.url)
    try:
        return rows(engine, "SELECT id, name FROM archived ORDER BY id")
    finally:
        engine.dispose()


def test_kind_in_chunks(project: Project) -> None:
    """Its rows are prepared and applied in chunks of its own maximum size; the record counts moved rows."""
    project.data("data", ARCHIVE)
    result = project.migrate()["move"]
    assert (result.outcome, result.done, result.error) == (Outcome.COMPLETE, COUNT, None)
    assert _archived(project) == [(i, f"NAME {i}") for i in range(1, COUNT + 1)]
    assert (project.folder / "called").read_text().split() == ["10", "10", "3"]
    found = project.status("move")
    assert (found.kind, found.status) == ("archive", "complete")
    assert project.counts("move") == (COUNT, 0, 0)
    assert project.migrate()["move"].outcome is Outcome.COMPLETE, "a second run finds no rows"


def test_kind_in_chunks_without_pending(project: Project) -> None:
    """Without a pending expression, a row that failed is tried again by the next run."""
    project.data("data", f'{HEADER}move = Archive(table="items", into="archived", rename=not_all)')
    result = project.migrate()["move"]
    assert (result.outcome, result.done, result.failed) == (Outcome.FAILED, COUNT - 1, 1)
    assert [id_ for id_, _name in _archived(project)] == [i for i in range(1, COUNT + 1) if i != 5]
    (project.folder / "repaired").touch()
    assert project.migrate()["move"].outcome is Outcome.COMPLETE
    assert _archived(project) == [(i, f"NAME {i}") for i in range(1, COUNT + 1)]


def test_upgrade_of_kind_in_chunks(project: Project) -> None:
    """``upgrade`` migrates its rows."""
    project.data("data", ARCHIVE)
    [result] = command.upgrade(project.site())
    assert (result.outcome, result.done) == (Outcome.COMPLETE, COUNT)


def test_plan_of_kind(project: Project) -> None:
    """``plan`` shows its SQL."""
    project.data("data", ARCHIVE)
    [step] = command.plan(project.site()).steps
    assert (step.doc, step.note) == ("archive of items", "in chunks, by key")
    assert step.statements == ("INSERT INTO archived SELECT * FROM items; DELETE FROM items",)


def test_definition_of_kind_is_checked(project: Project) -> None:
    """An invalid definition is refused before another data migration changes a row."""
    broken = f'zero = Archive(table="items", into="items", rename=in_capitals, {PENDING})'
    project.data("data", f"{ARCHIVE}\n{broken}")
    with pytest.raises(exceptions.DataMigrationBroken, match="into is its own table"):
        project.migrate()
    assert _archived(project) == []


def test_kind_that_commits_by_itself(project: Project) -> None:
    """It is called until it finds no rows, and its pending rows are counted at the end."""
    project.data("data", f'{HEADER}purge = Purge(url={project.url!r}, table="items", {PENDING})')
    [step] = command.plan(project.site()).steps
    assert (step.doc, step.statements, step.note) == ("purge of items", (), "runs a Python function")
    result = project.migrate()["purge"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, COUNT)
    assert project.status("purge").kind == "purge"


def test_upgrade_does_not_call_a_kind_without_rows(project: Project) -> None:
    """Its function, which could not connect here, is not called if its table has no rows."""
    project.data("data", f'{HEADER}purge = Purge(url="sqlite:////no/such/folder/x", table="archived")')
    assert command.upgrade(project.site()) == []
    assert project.status("purge").status == "complete"
