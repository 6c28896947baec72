"""A Galera cluster of two nodes: flow control, and workers on both nodes."""

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
from tests.servers.access import administration
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
"""No row is done before *processes* processes have each called the function for a row."""
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
"""Seconds with and without flow control. Their sum is less than the interval between two samples."""


class FlowControlListener(NullListener):
    """Records why a run waited for the cluster, and calls *waits* when that happens for the first time."""

    def __init__(self, waits: Callable[[], None] = lambda: None) -> None:
        self.reasons: list[str] = []
        self._waits = waits

    def advanced(self, snapshot: Snapshot) -> None:
        if snapshot.waits_for.startswith("flow-control: ") and "no sample yet" not in snapshot.waits_for:
            if not self.reasons:
                self._waits()
            self.reasons.append(snapshot.waits_for)


class Letters:
    """An application that inserts one letter after the other into its own table while its block lasts."""

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


def wait_until_applied(cluster: Cluster) -> None:
    """Waits until the second node has applied what was committed on the first one."""
    with administration(cluster.second.url) as second:
        second.exec_driver_sql("SET SESSION wsrep_sync_wait = 1")
        second.exec_driver_sql("SELECT 1")


@pytest.fixture
def database(cluster: Cluster, tmp_path: Path) -> Iterator[Database]:
    """A database of the cluster, served by the first node, with the tables of an application.

    The second node has created it as well: a connection to it would fail until then (error 1049).
    """
    with cluster.first.fresh_database(tmp_path, "cluster") as database:
        execute(database.engine, "CREATE TABLE letters (id INTEGER PRIMARY KEY AUTO_INCREMENT)")
        wait_until_applied(cluster)
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
    """An engine for the same database on *node*. Its reads wait for all earlier writes to be applied."""
    engine = sa.create_engine(url_on(node, database.name), poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", lambda raw, _: raw.cursor().execute("SET SESSION wsrep_sync_wait = 1"))
    yield engine


def assert_once(cluster: Cluster, database: Database, count: int) -> None:
    """Asserts that each row was migrated once, as read from every node."""
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
def flow_control_most_of_the_time(cluster: Cluster, database: Database) -> Iterator[threading.Event]:
    """Flow control is active most of the time, until the event is set."""
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


def test_nodes_form_one_cluster(cluster: Cluster, database: Database) -> None:
    """A row that is written on one node is read on the other."""
    assert [status_of(node, "wsrep_cluster_size") for node in cluster.nodes] == ["2", "2"]
    for i, node in enumerate(cluster.nodes, 1):
        with engine_on(node, database) as engine:
            execute(engine, "INSERT INTO letters VALUES ()")
        for reader in cluster.nodes:
            with engine_on(reader, database) as engine:
                assert scalar(engine, "SELECT count(*) FROM letters") == i


@pytest.mark.parametrize("slow", [0, 1], ids=["the first is slow", "the second is slow"])
def test_flow_control_is_reported_while_it_lasts(slow: int, cluster: Cluster, database: Database) -> None:
    """On both nodes, and only while it lasts: the throttler reports a pause before the pause has ended."""
    other = cluster.nodes[1 - slow]
    with contextlib.ExitStack() as stack:
        found = []
        for node in cluster.nodes:
            engine = stack.enter_context(engine_on(node, database))
            found.append((FlowControl(Clock()), stack.enter_context(engine.connect())))
        sample = lambda: [throttler.sample(connection) for throttler, connection in found]  # noqa: E731
        sample()
        writer = Database(other, database.name, database.folder)
        stack.callback(lambda: writer.engine.dispose())
        with Letters(writer):
            assert sample() == [None, None]
            with cluster.held(database.name, "letters", cluster.nodes[slow]):
                eventually(lambda: status_of(other, "wsrep_flow_control_active") == "true", "a pause")
                sample()
                time.sleep(0.3)
                for reason in sample():
                    assert (reason or "").startswith("Galera flow control paused writes for ")
                    assert (reason or "").endswith("% of the time")
            eventually(lambda: sample() == [None, None], "the end of the pause")


def test_run_waits_during_flow_control(cluster: Cluster, database: Database, project: Project) -> None:
    """No chunk is started, although the application can write in between; afterwards the run continues."""
    items(database, 30)
    project.data("fill", FILL.format(pending=PENDING, processes=1, pause=0.05))
    project.site().ensure_state_tables()
    counts: list[tuple[int, int]] = []

    def count_twice_then_end() -> None:
        for pause in (0.7, 1.3):
            time.sleep(pause)
            counts.append((moved(database), letters.written))
        over.set()

    thread = threading.Thread(target=count_twice_then_end)
    listener = FlowControlListener(thread.start)
    with Letters(database) as letters, flow_control_most_of_the_time(cluster, database) as over:
        # Without another throttler that could delay the run.
        result = project.migrate(listener=listener, pace="full", batch_size=1, max_time=PATIENCE)["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 30)
    assert listener.reasons, "it never waited"
    assert listener.reasons[0].startswith("flow-control: Galera flow control paused writes for ")
    thread.join()
    [(before, written), (after, more)] = counts
    assert before == after < 30
    assert more > written
    assert_once(cluster, database, 30)


def test_run_does_not_wait_without_flow_control(
    cluster: Cluster, database: Database, project: Project
) -> None:
    """While an application writes."""
    items(database, 20)
    project.data("fill", FILL.format(pending=PENDING, processes=1, pause=0.02))
    listener = FlowControlListener()
    with Letters(database):
        result = project.migrate(listener=listener, batch_size=1)["fill"]
    assert (result.outcome, result.done, listener.reasons) == (Outcome.COMPLETE, 20, [])


# --- both nodes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["CREATE TABLE", "INSERT INTO", "UPDATE"])
def test_engine_tables_created_on_both_nodes_at_once(
    moment: str, cluster: Cluster, database: Database, project: Project
) -> None:
    """The migrator's lock covers one node only. A node that finds a change already
    made continues from there."""
    first, other = (
        dataclasses.replace(project.site(), given_url=url_on(node, database.name)) for node in cluster.nodes
    )
    intercepted: list[str] = []

    def intercept(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.strip().startswith(f"{moment} {state.VERSION_TABLE}") and not intercepted:
            intercepted.append(statement)
            other.ensure_state_tables()

    sa.event.listen(first.engine, "before_cursor_execute", intercept)
    first.ensure_state_tables()
    assert intercepted
    assert schema.version_rows(database, state.VERSION_TABLE) == ["contract_0001", "expand_0007"]
    assert set(schema.tables(database)) == state.TABLES | {"letters"}
    for site in (first, other):
        site.engine.dispose()


@pytest.mark.parametrize("pending", [PENDING, ""], ids=["with pending", "without pending"])
def test_workers_on_both_nodes_migrate_each_row_once(
    pending: str, cluster: Cluster, database: Database, project: Project
) -> None:
    """Two processes, each on its own node: no lock covers both nodes, so concurrent writes collide."""
    items(database, 72)
    project.data("fill", FILL.format(pending=pending, processes=2, pause=0.002))
    project.site().ensure_state_tables()
    wait_until_applied(cluster)
    arguments = ("migrate", "--json", "--workers", "2", "--batch-size", "3", "--pace", "full")
    urls = [url_on(node, database.name) for node in cluster.nodes]
    processes = [project.start("--url", url, *arguments) for url in urls]
    ran = [process.wait() for process in processes]
    assert [one.code for one in ran] == [0, 0], ran
    assert sum(one.json[0]["done"] for one in ran) == 72
    assert all(one.json[0]["done"] > 0 for one in ran)
    assert_once(cluster, database, 72)
    assert project.status("fill").done == 72


def test_key_range_taken_by_another_node_is_not_assigned_twice(
    cluster: Cluster, database: Database, project: Project
) -> None:
    """The other node commits the same update of the walk a moment before this node does."""
    items(database, 72)
    project.data("fill", FILL.format(pending="", processes=1, pause=0))
    project.site().ensure_state_tables()
    wait_until_applied(cluster)
    site = dataclasses.replace(project.site(), given_url=url_on(cluster.nodes[1], database.name))
    elsewhere = sa.create_engine(url_on(cluster.nodes[0], database.name))
    here = sa.create_engine(url_on(cluster.nodes[1], database.name))
    intercepted: list[str] = []

    def intercept(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if not statement.startswith("UPDATE online_migrate_walk") or intercepted:
            return
        intercepted.append(statement)
        with elsewhere.begin() as other:
            other.exec_driver_sql(statement, parameters)
        end = time.monotonic() + PATIENCE
        while scalar(here, "SELECT extents FROM online_migrate_walk") != 1:
            assert time.monotonic() < end
            time.sleep(0.01)

    sa.event.listen(site.engine, "before_cursor_execute", intercept)
    [result] = command.migrate(site, (), command.MigrateOptions(batch_size=3))
    assert intercepted
    assert result.done == 48
    counts = rows(here, "SELECT hits, count(*), min(id) FROM items GROUP BY hits ORDER BY hits")
    assert [(hits, count) for hits, count, _first in counts] == [(0, 24), (1, 48)]
    for engine in (site.engine, elsewhere, here):
        engine.dispose()


@pytest.mark.parametrize("at_commit", [True, False], ids=["at the commit", "before the commit"])
def test_chunk_in_conflict_with_other_node_is_repeated(
    at_commit: bool, cluster: Cluster, database: Database, project: Project
) -> None:
    """Error 1213, also raised by COMMIT: what the other node wrote is kept, and no row is counted twice."""
    items(database, 10)
    project.data("fill", COLLIDES)
    tries, collisions = project.folder / "tries", project.folder / "collisions"
    process = project.start("migrate", "--json", "--batch-size", "10", "--pace", "full")
    wait_for(project.folder / "there", process)
    # The commit of the other node is then queued before this one, and is detected only at COMMIT.
    flow_control = (
        cluster.held(database.name, "letters", cluster.first) if at_commit else contextlib.nullcontext()
    )
    with flow_control:
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


def test_contract_with_requirements_is_refused_on_both_nodes(
    cluster: Cluster, database: Database, tmp_path: Path
) -> None:
    """All rows are migrated, but a lock on one node does not block writers on the other."""
    with schema.volumes(tmp_path / "sample", database) as project:
        schema.ready(project, database)
        wait_until_applied(cluster)
        before = schema.Snapshot.of(database)
        for node in cluster.nodes:
            project.url = url_on(node, database.name)
            with pytest.raises(GateClosed) as refusal:
                command.contract(project.site())
            assert [blocker.id for blocker in refusal.value.blockers] == ["server"]
        assert schema.Snapshot.of(database) == before


# --- contract ------------------------------------------------------------------------------------


@pytest.fixture
def sample(cluster: Cluster, tmp_path: Path, database: Database) -> Iterator[Project]:
    """The sample project, whose rows are migrated; its contract drops the trigger and the old column."""
    lines = 'op.drop_index("ix_volumes_size_gb", "volumes")\nop.drop_column("volumes", "size_gb")\n'
    contract = schema.drop_in_step("mariadb") + lines
    with schema.volumes(tmp_path / "sample", database, contract=contract, pace="full") as project:
        schema.ready(project, database)
        wait_until_applied(cluster)
        yield project


OLD_WRITE = "INSERT INTO volumes (id, size_gb) VALUES (500, 5)"


def test_contract_with_old_client_on_other_node(
    cluster: Cluster, database: Database, sample: Project
) -> None:
    """Refused without a barrier. With one, a row that the old client is writing is not lost.

    Its transaction is open when the barrier is created, and the cluster ends it: the row was not
    acknowledged. Afterwards the node refuses the row.
    """
    with pytest.raises(GateClosed) as closed:
        command.contract(sample.site())
    assert "verify" in closed.value.blockers[0].hint
    execute(database.engine, *schema.out_of_step("mariadb"))
    with engine_on(cluster.second, database) as engine, engine.connect() as old:
        old.exec_driver_sql(OLD_WRITE)
        [result] = command.verify(sample.site(), ["volume_bytes"], barrier=True)
        with pytest.raises(sa.exc.DBAPIError):
            old.commit()
        old.rollback()
        assert result.barrier is not None
        with pytest.raises(sa.exc.DBAPIError, match=result.barrier):
            old.exec_driver_sql(OLD_WRITE)
        old.rollback()
        assert command.gate_report(sample.site()).verified == ("volume_bytes",)
        execute(database.engine, *schema.in_step("mariadb"))
        assert command.contract(sample.site()).revisions == ("c2",)
        count = "SELECT count(*), count(size_bytes) FROM volumes"
        assert old.exec_driver_sql(count).all() == [(20, 20)]
        old.exec_driver_sql("INSERT INTO volumes (id, size_bytes) VALUES (501, 7)")
        old.commit()
        left = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
        assert old.exec_driver_sql(left).all() == []


def test_killed_contract_on_cluster_is_completed(
    cluster: Cluster, database: Database, sample: Project
) -> None:
    """Between the drop of the column and that of the barrier: the other node refuses writes until then."""
    command.verify(sample.site(), ["volume_bytes"], barrier=True)
    killed = schema.run(sample, "contract", die_at="DROP TRIGGER IF EXISTS")
    assert killed.code == -9, killed.output
    assert "size_gb" not in schema.shape(database)["volumes"]["columns"]
    with engine_on(cluster.second, database) as engine, engine.connect() as other:
        with pytest.raises(sa.exc.DBAPIError):
            other.exec_driver_sql("INSERT INTO volumes (id, size_bytes) VALUES (501, 7)")
        other.rollback()
        assert schema.run(sample, "contract").code == 0
        other.exec_driver_sql("INSERT INTO volumes (id, size_bytes) VALUES (501, 7)")
        other.commit()
