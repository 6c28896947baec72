"""kill -9 between any two statements of a revision, while the old application version writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Project
from tests.support.schema import GIB, OldVersion

Prepare = Callable[[Project, Database], None]
Check = Callable[[Database, OldVersion | None], None]


def moments(statements: Sequence[str], *, every: bool, transactional: bool) -> list[int]:
    """The numbers of the statements before which the process is killed.

    All of them; or, for a short run, those of the revision itself and the statement after each. Where the
    revision is one transaction, every third of these.
    """
    if every:
        return list(range(1, len(statements) + 1))
    chosen = set()
    for number, statement in enumerate(statements, start=1):
        if statement != "COMMIT" and schema.OURS not in statement:
            chosen |= {number, number + 1}
    found = sorted(number for number in chosen if number <= len(statements))
    return found[::3] if transactional else found


@contextlib.contextmanager
def prepared_project(
    server: Server, folder: Path, number: int, prepare: Prepare
) -> Iterator[tuple[Project, Database]]:
    """A new database and project, prepared by *prepare*."""
    with (
        server.fresh_database(folder, "chaos") as database,
        schema.volumes(folder / f"project{number}", database) as project,
    ):
        prepare(project, database)
        yield project, database


def assert_resumes_after_kills(
    server: Server, folder: Path, command: str, prepare: Prepare, check: Check, *, every: bool
) -> int:
    """Runs *command* once without a kill, then once for each moment: kills it there and runs it again."""
    with prepared_project(server, folder, 0, prepare) as (project, database):
        reference = schema.run(project, command)
        assert reference.code == 0, reference.output
        shape, triggers = schema.shape(database), schema.triggers(database)
        versions = schema.version_rows(database)
        check(database, None)
    transactional = server.has("transactional_ddl")
    kills = moments(reference.statements, every=every, transactional=transactional)
    for at in kills:
        where = f"killed before statement {at}: {reference.statements[at - 1]}"
        with prepared_project(server, folder, at, prepare) as (project, database):
            with OldVersion(database) as old:
                killed = schema.run(project, command, die_at=at)
                assert killed.code == -9, f"{where}\n{killed.output}"
                resumed = schema.run(project, command)
            assert resumed.code == 0, f"{where}\n{resumed.output}"
            assert schema.shape(database) == shape, where
            assert schema.triggers(database) == triggers, where
            assert schema.version_rows(database) == versions, where
            assert schema.journal(database) == [], where
            check(database, old)
    return len(kills)


def assert_rows_migrated(database: Database, old: OldVersion | None) -> None:
    """Asserts that initial rows and rows acknowledged to the old version exist, with their size in bytes."""
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    expected = [*range(1, 21), *(old.acknowledged if old else ())]
    assert [row for row in expected if row not in rows] == []
    assert {row: rows[row] for row in expected} == {row: schema.size_of(row) * GIB for row in expected}


def test_contract_killed_between_statements_is_resumed(server: Server, tmp_path: Path) -> None:
    """The next run ends in the contracted schema, without the trigger, and no row is lost."""
    assert (
        assert_resumes_after_kills(
            server, tmp_path, "contract", schema.ready, assert_rows_migrated, every=False
        )
        >= 3
    )


@pytest.mark.long
def test_contract_killed_at_every_statement_is_resumed(server: Server, tmp_path: Path) -> None:
    """The same, at every statement that reaches the driver, including those of the journal and COMMIT."""
    assert (
        assert_resumes_after_kills(
            server, tmp_path, "contract", schema.ready, assert_rows_migrated, every=True
        )
        >= 20
    )


def assert_rows_unchanged(database: Database, old: OldVersion | None) -> None:
    """Asserts that expand leaves every row of the old version unchanged."""
    rows = dict(schema.query_all(database, "SELECT id, size_gb FROM volumes"))
    expected = [*range(1, 21), *(old.acknowledged if old else ())]
    assert {row: rows.get(row) for row in expected} == {row: schema.size_of(row) for row in expected}


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)], ids=["short", "every"])
def test_expand_killed_between_statements_is_resumed(server: Server, tmp_path: Path, every: bool) -> None:
    """The next run ends in the expanded schema, and the old version loses no row."""
    assert (
        assert_resumes_after_kills(
            server, tmp_path, "expand", schema.as_before, assert_rows_unchanged, every=every
        )
        >= 2
    )


def test_contract_killed_repeatedly_is_resumed(server: Server, tmp_path: Path) -> None:
    """A run that is killed while it resumes a killed run leaves nothing behind either."""
    with prepared_project(server, tmp_path, 0, schema.ready) as (project, database):
        with OldVersion(database) as old:
            for attempt in range(1, 100):
                # Later each time: completed statements are not repeated, so a fixed number
                # would never be reached.
                ran = schema.run(project, "contract", die_at=3 + 4 * attempt)
                if ran.code != -9:
                    break
        assert ran.code == 0, ran.output
        assert attempt > 1
        assert schema.triggers(database) == []
        assert schema.journal(database) == []
        assert_rows_migrated(database, old)
