"""Connections that are cut, at a COMMIT above all: the client cannot know whether the server has it.

A command succeeds over a new connection, or ends with exit code 2; it never shows a traceback, and no row
is lost or done twice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support import schema
from tests.support.chaos import wait_until
from tests.support.project import Project, Ran, create, execute, insert, rows, scalar
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.needs("many_writers"), pytest.mark.each_product]

COUNT = 60
KINDS = {
    "a Backfill": """
fill = Backfill(table="items", values=lambda t: {"hits": t.c.hits + 1}, pending=lambda t: t.c.hits == 0)
""",
    "a function of a row": """
@row_migration(table="items", pending=lambda t: t.c.hits == 0)
def fill(row):
    return {"hits": row.hits + 1}
""",
    "a function of a chunk, without pending": """
@batch_migration(table="items")
def fill(connection, chunk):
    t = chunk.table
    return connection.execute(sa.update(t).where(chunk.where).values(hits=t.c.hits + 1)).rowcount
""",
}

CHUNK = rb"UPDATE items|STRAIGHT_JOIN"
"""The statement that writes the rows of a chunk, on any server."""


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with Proxy(database.url) as proxy:
        yield proxy


@pytest.fixture
def project(proxy: Proxy, tmp_path: Path) -> Iterator[Project]:
    """Its commands reach the server through the proxy."""
    with Project.create(tmp_path / "project", proxy.url, batch_size=10) as written:
        yield written


def _items(database: Database) -> None:
    table = sa.Table(
        "items",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
    )
    create(database.engine, table)
    insert(database.engine, table, [{"id": i} for i in range(COUNT)])


def _assert_quiet(ran: Ran, *codes: int) -> None:
    """An exit code, and words instead of a traceback."""
    assert "Traceback" not in ran.out + ran.err, ran
    assert "this is a bug" not in ran.err, ran
    assert ran.code in codes, ran


# --- migrate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [True, False], ids=["after the COMMIT", "before the COMMIT"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_commit_of_a_chunk(
    kind: str, answered: bool, database: Database, proxy: Proxy, project: Project
) -> None:
    """The first one of them, one in the middle, and two in a row: the run goes on over new connections."""
    _items(database)
    project.data("fill", KINDS[kind])
    for number, times in ((1, 1), (3, 1), (2, 2)):
        before = proxy.cuts
        proxy.cut_at_commit(number, answered=answered, after=CHUNK, times=times)
        ran = project.run("migrate")
        _assert_quiet(ran, 0)
        assert proxy.cuts == before + times
        assert rows(database.engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, COUNT)]
        proxy.stop_cutting()
        # Again from the start: what there is no pending for would otherwise be complete for good.
        execute(database.engine, "UPDATE items SET hits = 0")
        execute(database.engine, "DELETE FROM online_migrate_walk")
        execute(database.engine, "DELETE FROM online_migrate_data_migration")


@pytest.mark.parametrize("answered", [True, False], ids=["after the COMMIT", "before the COMMIT"])
def test_any_commit_of_a_run(answered: bool, database: Database, proxy: Proxy, project: Project) -> None:
    """Of its tables, its records, its workers and its end: the same command is repeated until it succeeds."""
    _items(database)
    project.data("fill", KINDS["a Backfill"])
    codes = []
    for number in range(1, 40, 3):
        proxy.cut_at_commit(number, answered=answered)
        ran = project.run("migrate")
        _assert_quiet(ran, 0, 1, 2)
        codes.append(ran.code)
    proxy.stop_cutting()
    _assert_quiet(project.run("migrate"), 0)
    assert rows(database.engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, COUNT)]
    assert project.counts("fill") == (COUNT, 0, 0)


def test_a_server_that_does_not_come_back(database: Database, proxy: Proxy, project: Project) -> None:
    """Exit code 2 after the last attempt; the next run continues where it was."""
    _items(database)
    project.data("fill", KINDS["a function of a chunk, without pending"])
    proxy.cut_at_commit(3, answered=True, after=CHUNK, refusing=True)
    _assert_quiet(project.run("migrate"), 2)
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE hits = 1") == 30
    proxy.stop_cutting()
    proxy.refuse(refusing=False)
    _assert_quiet(project.run("migrate"), 0)
    assert rows(database.engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, COUNT)]


@pytest.mark.parametrize("pace", ["full", "default"])
def test_connections_that_are_cut_again_and_again(
    pace: str, database: Database, proxy: Proxy, project: Project
) -> None:
    """All of them at the same time, of workers, throttlers and heartbeats, while the application writes."""
    _items(database)
    project.data(
        "fill",
        KINDS["a function of a row"].replace("return", "time.sleep(0.02); return"),
    )
    process = project.start("migrate", "--pace", pace, "--workers", "2")
    stopped = threading.Event()

    def cut() -> None:
        wait_until(lambda: scalar(database.engine, "SELECT max(hits) FROM items"), "the first chunk")
        for _ in range(8):
            proxy.cut()
            if stopped.wait(0.4):
                return

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        ran = process.wait()
    finally:
        stopped.set()
        cutting.join()
    _assert_quiet(ran, 0, 2)
    if ran.code:
        _assert_quiet(project.run("migrate"), 0)
    assert rows(database.engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, COUNT)]


# --- expand and contract -------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [True, False], ids=["after the COMMIT", "before the COMMIT"])
def test_any_commit_of_expand_and_contract(
    answered: bool, database: Database, proxy: Proxy, tmp_path: Path
) -> None:
    """Exit code 2, or success; the same command ends where it would have ended without a cut."""
    with schema.volumes(tmp_path / "volumes", database) as written:
        schema.as_before(written, database)
        for command in ("expand", "contract"):
            for number in range(1, 12, 2):
                proxy.cut_at_commit(number, answered=answered)
                ran = written.run("--url", proxy.url, command)
                _assert_quiet(ran, 0, 1, 2)
            proxy.stop_cutting()
            _assert_quiet(written.run("--url", proxy.url, command), 0)
            written.migrate()
        assert "c2" in schema.version_rows(database)
        assert "size_gb" not in schema.catalog(database)
