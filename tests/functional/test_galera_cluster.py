"""Two nodes of a Galera cluster: it holds back its writers, and both of them are worked on."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command, state
from online_migrate.command import Outcome
from online_migrate.exceptions import GateClosed
from online_migrate.migrate.progress import NullListener, Snapshot
from online_migrate.throttle.server_throttlers import FlowControl
from online_migrate.waiting import Clock
from tests.servers import Database, Server
from tests.servers.cluster import Cluster, status_of, url_on
from tests.support import schema
from tests.support.project import PATIENCE, Project, create, execute, insert, rows, scalar, wait_for

PENDING = ", pending=lambda t: t.c.hits == 0"
FILL = """
@row_migration(table="items"{pending})
def fill(row):
    (FOLDER / f"by {{os.getpid()}}").touch()
    while len(list(FOLDER.glob("by *"))) < {processes}:
        time.sleep(0.01)
    time.sleep({pause})
    return {{"hits": row.hits + 1}}
"""
"""No row is done before so many processes have one in their hands."""
COLLIDES = """
@sa.event.listens_for(sa.engine.Engine, "handle_error")
def keep(context):
    if context.original_exception.args[0] == 1213:
        with (FOLDER / "collisions").open("a") as file:
            print((context.statement or "COMMIT").split()[0], file=file)

@batch_migration(table="items", pending=lambda t: t.c.hits == 0)
def fill(connection, chunk):
    t = chunk.table
    moved = connection.execute(sa.update(t).where(chunk.where).values(hits=t.c.hits + 1)).rowcount
    with (FOLDER / "tries").open("a") as file:
        print(connection.scalar(sa.text("SELECT CONNECTION_ID()")), file=file)
    (FOLDER / "there").touch()
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    return moved
"""
HELD, FREE = 0.3, 0.05
"""Seconds for which the cluster is held back, and then is not: together less than between two looks."""


class Watch(NullListener):
    """Keeps why a run waited for the cluster, and calls somebody when it does so for the first time."""

    def __init__(self, waits: Callable[[], None] = lambda: None) -> None:
        self.reasons: list[str] = []
        self._waits = waits

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.waits_for.startswith("flow-control: ") and "no sample yet" not in snapshot.waits_for:
            if not self.reasons:
                self._waits()
            self.reasons.append(snapshot.waits_for)


class Letters:
    """An application: it writes to a table of its own, one letter after the other, while its block lasts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.written = 0

    def __enter__(self) -> Letters:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        with self._database.engine.connect() as connection:
            while not self._end.wait(0.005):
                connection.execute(sa.text("INSERT INTO letters VALUES ()"))
                connection.commit()
                self.written += 1


@pytest.fixture
def database(cluster: Cluster, tmp_path: Path) -> Iterator[Database]:
    """A database of the cluster, as the first node serves it, with the tables of an application."""
    with cluster.first.fresh_database(tmp_path, "cluster") as database:
        execute(database.engine, "CREATE TABLE letters (id INTEGER PRIMARY KEY AUTO_INCREMENT)")
        yield database


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, pace=None, lease=60) as project:
        yield project


def items(database: Database, count: int) -> None:
    table = create(
        database.engine,
        sa.Table(
            "items",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
            sa.Column("note", sa.String(20)),
        ),
    )
    insert(database.engine, table, [{"id": i} for i in range(1, count + 1)])


@contextlib.contextmanager
def engine_on(node: Server, database: Database) -> Iterator[sa.Engine]:
    """For the same database, on a node. What it reads there has arrived."""
    engine = sa.create_engine(url_on(node, database.name), poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", lambda raw, _: raw.cursor().execute("SET SESSION wsrep_sync_wait = 1"))
    yield engine


def assert_once(cluster: Cluster, database: Database, count: int) -> None:
    """Every row once, whichever node is asked."""
    for node in cluster.nodes:
        with engine_on(node, database) as engine:
            assert rows(engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, count)]
            assert rows(engine, "SELECT id FROM online_migrate_worker") == []


def eventually(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


def moved(database: Database) -> int:
    return int(scalar(database.engine, "SELECT sum(hits) FROM items"))


@contextlib.contextmanager
def held_again_and_again(cluster: Cluster, database: Database) -> Iterator[threading.Event]:
    """The cluster holds back its writers most of the time, until the event is set."""
    over = threading.Event()

    def hold() -> None:
        while not over.wait(FREE):
            with cluster.held(database.name, "letters"):
                time.sleep(HELD)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield over
    finally:
        over.set()
        thread.join()


# --- flow control --------------------------------------------------------------------------------


def test_the_nodes_are_one_cluster(cluster: Cluster, database: Database) -> None:
    """What is written on one of them is on the other."""
    assert [status_of(node, "wsrep_cluster_size") for node in cluster.nodes] == ["2", "2"]
    for i, node in enumerate(cluster.nodes, 1):
        with engine_on(node, database) as engine:
            execute(engine, "INSERT INTO letters VALUES ()")
        for reader in cluster.nodes:
            with engine_on(reader, database) as engine:
                assert scalar(engine, "SELECT count(*) FROM letters") == i


@pytest.mark.parametrize("slow", [0, 1], ids=["the first is slow", "the second is slow"])
def test_what_a_node_says_of_flow_control_grows_while_it_lasts(
    slow: int, cluster: Cluster, database: Database
) -> None:
    """On both nodes, and no more once it is over: the throttler need not wait for the end to see it."""
    other = cluster.nodes[1 - slow]
    with contextlib.ExitStack() as stack:
        found = []
        for node in cluster.nodes:
            engine = stack.enter_context(engine_on(node, database))
            found.append((FlowControl(Clock()), stack.enter_context(engine.connect())))
        look = lambda: [throttler.look(connection) for throttler, connection in found]  # noqa: E731
        look()
        writer = Database(other, database.name, database.folder)
        stack.callback(lambda: writer.engine.dispose())
        with Letters(writer):
            assert look() == [None, None]
            with cluster.held(database.name, "letters", cluster.nodes[slow]):
                eventually(lambda: status_of(other, "wsrep_flow_control_active") == "true", "a pause")
                look()
                time.sleep(0.3)
                for reason in look():
                    assert (reason or "").startswith("Galera flow control paused writes for ")
                    assert (reason or "").endswith("% of the time")
            eventually(lambda: look() == [None, None], "the end of the pause")


def test_a_run_waits_while_the_cluster_holds_back_its_writers(
    cluster: Cluster, database: Database, project: Project
) -> None:
    """It begins no chunk, although the cluster lets everybody write in between, and goes on afterwards."""
    items(database, 30)
    project.data("fill", FILL.format(pending=PENDING, processes=1, pause=0.05))
    project.site().ensure_state_tables()
    counts: list[tuple[int, int]] = []

    def look_and_let_go() -> None:
        for pause in (0.7, 1.3):
            time.sleep(pause)
            counts.append((moved(database), letters.written))
        over.set()

    thread = threading.Thread(target=look_and_let_go)
    watch = Watch(thread.start)
    with Letters(database) as letters, held_again_and_again(cluster, database) as over:
        # With nothing else to keep it from working.
        result = project.migrate(listener=watch, pace="full", batch_size=1, max_time=PATIENCE)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 30)
    assert watch.reasons, "it never waited"
    assert watch.reasons[0].startswith("flow-control: Galera flow control paused writes for ")
    thread.join()
    [(before, written), (after, more)] = counts
    assert before == after < 30
    assert more > written
    assert_once(cluster, database, 30)


def test_a_cluster_that_keeps_up_holds_nobody(cluster: Cluster, database: Database, project: Project) -> None:
    """While an application writes."""
    items(database, 20)
    project.data("fill", FILL.format(pending=PENDING, processes=1, pause=0.02))
    watch = Watch()
    with Letters(database):
        result = project.migrate(listener=watch, batch_size=1)["fill"]
    assert (result.outcome, result.done, watch.reasons) == (Outcome.COMPLETE, 20, [])


# --- both nodes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["CREATE TABLE", "INSERT INTO", "UPDATE"])
def test_both_nodes_make_the_tables_of_the_engine_at_once(
    moment: str, cluster: Cluster, database: Database, project: Project
) -> None:
    """The migrator's lock is of one node. Who finds that another did the same goes on from there."""
    mine, other = (
        dataclasses.replace(project.site(), given_url=url_on(node, database.name)) for node in cluster.nodes
    )
    came: list[str] = []

    def come_in_between(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.strip().startswith(f"{moment} {state.VERSION_TABLE}") and not came:
            came.append(statement)
            other.ensure_state_tables()

    sa.event.listen(mine.engine, "before_cursor_execute", come_in_between)
    mine.ensure_state_tables()
    assert came
    assert schema.version_rows(database, state.VERSION_TABLE) == ["contract_0001", "expand_0003"]
    assert set(schema.tables(database)) == state.TABLES | {"letters"}
    for site in (mine, other):
        site.engine.dispose()


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_workers_on_both_nodes_do_each_row_once(
    pending: str, cluster: Cluster, database: Database, project: Project
) -> None:
    """Two processes, each with a node of its own: no lock is of both, so what they do at once collides."""
    items(database, 72)
    project.data("fill", FILL.format(pending=pending, processes=2, pause=0.002))
    project.site().ensure_state_tables()
    arguments = ("migrate", "--json", "--workers", "2", "--batch-size", "3", "--pace", "full")
    urls = [url_on(node, database.name) for node in cluster.nodes]
    processes = [project.start("--url", url, *arguments) for url in urls]
    ran = [process.wait() for process in processes]
    assert [one.code for one in ran] == [0, 0], ran
    assert sum(one.json[0]["done"] for one in ran) == 72
    assert all(one.json[0]["done"] > 0 for one in ran)
    assert_once(cluster, database, 72)
    assert project.status("fill").done == 72


def test_an_extent_that_another_node_takes_at_the_same_moment_is_not_ours(
    cluster: Cluster, database: Database, project: Project
) -> None:
    """The other one writes of the walk, a moment before us, just what we are going to write."""
    items(database, 72)
    project.data("fill", FILL.format(pending="", processes=1, pause=0))
    project.site().ensure_state_tables()
    site = dataclasses.replace(project.site(), given_url=url_on(cluster.nodes[1], database.name))
    elsewhere = sa.create_engine(url_on(cluster.nodes[0], database.name))
    here = sa.create_engine(url_on(cluster.nodes[1], database.name))
    came: list[str] = []

    def come_in_between(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if not statement.startswith("UPDATE online_migrate_walk") or came:
            return
        came.append(statement)
        with elsewhere.begin() as other:
            other.exec_driver_sql(statement, parameters)
        end = time.monotonic() + PATIENCE
        while scalar(here, "SELECT extents FROM online_migrate_walk") != 1:
            assert time.monotonic() < end
            time.sleep(0.01)

    sa.event.listen(site.engine, "before_cursor_execute", come_in_between)
    [result] = command.migrate(site, (), command.MigrateOptions(batch_size=3))
    assert came
    assert result.done == 48
    counts = rows(here, "SELECT hits, count(*), min(id) FROM items GROUP BY hits ORDER BY hits")
    assert [(hits, count) for hits, count, _first in counts] == [(0, 24), (1, 48)]
    for engine in (site.engine, elsewhere, here):
        engine.dispose()


@pytest.mark.parametrize("at_commit", [True, False], ids=["at the commit", "before the commit"])
def test_a_chunk_that_collides_with_the_other_node_is_done_again(
    at_commit: bool, cluster: Cluster, database: Database, project: Project
) -> None:
    """Error 1213, also as the answer to COMMIT: what the other node wrote stays, and no row counts twice."""
    items(database, 10)
    project.data("fill", COLLIDES)
    tries, collisions = project.folder / "tries", project.folder / "collisions"
    process = project.start("migrate", "--json", "--batch-size", "10", "--pace", "full")
    wait_for(project.folder / "there", process)
    # What the other node has committed then waits before ours, and nobody here knows of it before COMMIT.
    late = cluster.held(database.name, "letters", cluster.first) if at_commit else contextlib.nullcontext()
    with late:
        with engine_on(cluster.second, database) as engine:
            execute(engine, "INSERT INTO letters VALUES ()", "UPDATE items SET note = 'kept' WHERE id = 5")
        if not at_commit:
            eventually(lambda: scalar(database.engine, "SELECT count(note) FROM items"), "its arrival")
        (project.folder / "go").touch()
        if at_commit:
            session = f"SELECT 1 FROM information_schema.processlist WHERE id = {tries.read_text()}"
            eventually(lambda: rows(database.engine, f"{session} AND info = 'COMMIT'"), "its commit")
    ran = process.wait()
    assert (ran.code, ran.json[0]["done"]) == (0, 10), ran
    assert (collisions.read_text().split()[0] == "COMMIT") is at_commit
    assert len(tries.read_text().split()) > 1
    assert_once(cluster, database, 10)
    assert rows(database.engine, "SELECT id FROM items WHERE note = 'kept'") == [(5,)]


# --- contract ------------------------------------------------------------------------------------


def test_a_contract_with_requirements_is_refused_on_both_nodes(
    cluster: Cluster, database: Database, tmp_path: Path
) -> None:
    """All rows are moved, and still a lock on one of them would not keep the writers of the other out."""
    with schema.volumes(tmp_path / "sample", database) as project:
        schema.ready(project, database)
        before = schema.Snapshot.of(database)
        for node in cluster.nodes:
            project.url = url_on(node, database.name)
            with pytest.raises(GateClosed) as refusal:
                command.contract(project.site())
            assert [blocker.id for blocker in refusal.value.blockers] == ["server"]
        assert schema.Snapshot.of(database) == before
