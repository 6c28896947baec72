"""A DDL statement looks before it queues: an open transaction stalls no other session behind it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.ddl.lock_queue import LockQueue
from online_migrate.exceptions import LockGivenUp, ServerDown, ServerError
from online_migrate.waiting import Stop
from tests.servers import Database
from tests.support import schema
from tests.support.accounts import limited_user
from tests.support.chaos import wait_until
from tests.support.project import Project, end_other_sessions, execute, scalar
from tests.support.throwaway import Throwaway

pytestmark = [pytest.mark.each_product, pytest.mark.needs("kill_session", "row_locks")]

HOLDS = 4.0
"""Seconds for which a transaction holds the table: many times the limit of a wait in the queue."""
STALL = 1.0
"""Seconds: less than a statement in the queue would cause, more than a busy machine causes."""

FILL = 'fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))'


def make_table(database: Database) -> None:
    """Creates a table with two rows, which the holder and the application use."""
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, gb INTEGER, size INTEGER)",
        "INSERT INTO items (id, gb) VALUES (1, 1), (2, 2)",
    )


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    """A project that is ready for contract, with one more expand to apply."""
    make_table(database)
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand("pass")
        project.data("fill", FILL)
        project.contract('op.drop_column("items", "gb")', requires=("fill",))
        project.apply_expand()
        project.migrate()
        project.expand('op.add_column("items", sa.Column("more", sa.Integer))')
        yield project


def configure(project: Project, **settings: object) -> None:
    """Adds settings to those of the project."""
    with project.config_file.open("a", encoding="utf-8") as ini:
        ini.writelines(f"{name} = {value}\n" for name, value in settings.items())


@contextlib.contextmanager
def held(
    url: str | sa.URL,
    seconds: float | None = None,
    *,
    until: threading.Event | None = None,
    **arguments: object,
) -> Iterator[sa.Connection]:
    """An open transaction, idle after an UPDATE.

    It ends after *seconds*, or a moment after *until* is set, or with the block.
    """
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments)
    timer: threading.Thread | None = None
    with engine.connect() as holder:
        holder.execute(sa.text("UPDATE items SET size = 7 WHERE id = 1"))
        if seconds is not None:
            timer = threading.Timer(seconds, holder.rollback)
            timer.start()
        elif until is not None:
            timer = threading.Thread(target=_end_after, args=(holder, until))
            timer.start()
        yield holder
        if timer is not None:
            timer.join()
        holder.invalidate()


def _end_after(holder: sa.Connection, event: threading.Event) -> None:
    event.wait(60)
    time.sleep(1)
    holder.rollback()


class Writer:
    """An application that reads and writes another row of the table, and measures its longest stall."""

    def __init__(self, database: Database) -> None:
        self.longest = 0.0
        self._engine = database.engine
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not self._over.wait(0.005):
                began = time.monotonic()
                connection.execute(sa.text("UPDATE items SET size = size + 1 WHERE id = 2"))
                connection.execute(sa.text("SELECT size FROM items WHERE id = 2")).all()
                self.longest = max(self.longest, time.monotonic() - began)


# --- the wait is outside of the queue ------------------------------------------------------------


@pytest.mark.parametrize("verb", ["expand", "contract"])
def test_application_is_not_stalled_while_a_transaction_holds_the_table(
    database: Database, project: Project, verb: str
) -> None:
    """The command waits, names the holder while it waits, and is applied once the transaction has ended."""
    lines: list[str] = []
    said = threading.Event()

    def echo(line: str) -> None:
        lines.append(line)
        if "outside of the lock queue" in line:
            said.set()

    with held(database.url, until=said) as holder, Writer(database) as writer:
        number = session_of(database, holder)
        getattr(command, verb)(project.site(echo=echo))
    text = "\n".join(lines)
    assert writer.longest < STALL, text
    assert "outside of the lock queue" in text
    assert "idle in transaction for" in text
    assert f" {number} (" in text
    assert text.count("outside of the lock queue") == 1


def session_of(database: Database, connection: sa.Connection) -> int:
    """The number by which the server names a session."""
    function = {"postgresql": "pg_backend_pid()"}.get(database.server.product, "CONNECTION_ID()")
    return int(connection.scalar(sa.text(f"SELECT {function}")) or 0)


def test_holder_that_never_ends_is_named_and_nothing_changes(database: Database, project: Project) -> None:
    """Exit 1 after the attempts, as with a lock timeout."""
    configure(project, lock_timeout=0.3, lock_attempts=2)
    with held(database.url) as holder:
        number = session_of(database, holder)
        with pytest.raises(LockGivenUp) as given_up:
            command.expand(project.site())
        assert given_up.value.exit_code == 1
        assert f" {number} (" in str(given_up.value)
        holder.rollback()
    columns = {column["name"] for column in sa.inspect(database.engine).get_columns("items")}
    assert "more" not in columns
    assert scalar(database.engine, "SELECT count(*) FROM online_migrate_journal") == 0


def test_script_cannot_remove_the_limit_of_the_queue(database: Database, tmp_path: Path) -> None:
    """A lock timeout that the script sets itself does not let its statement queue for longer."""
    setting = "lock_wait_timeout = 3600" if database.server.has("lock_tables") else "lock_timeout = 0"
    table = "CREATE TABLE items (id INTEGER PRIMARY KEY, gb INTEGER, size INTEGER)"
    execute(database.engine, table, "INSERT INTO items VALUES (1, 1, 1)")
    with Project.create(tmp_path / "limit", database.url, lock_timeout=60, lock_attempts=1) as project:
        project.expand(f'op.execute("SET {setting}")\nop.add_column("items", sa.Column("more", sa.Integer))')
        with held(database.url), pytest.raises(LockGivenUp):
            command.expand(project.site())


@pytest.mark.needs("transactional_ddl")
def test_server_limits_each_attempt_and_the_limit_grows(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 30 ms, half as long again each time, to lock_timeout; the looks outside are switched off."""
    limits: list[str] = []

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def on_alter(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("ALTER TABLE items"):
            real = cursor.__dict__[
                "_real"
            ]  # the driver's own cursor: the test is not confined like the script
            real.execute("SHOW lock_timeout")
            limits.append(real.fetchone()[0])

    configure(project, lock_timeout=0.05, lock_attempts=3)
    monkeypatch.setattr(LockQueue, "holders", lambda *_arguments, **_options: [])
    monkeypatch.setattr(LockQueue, "old_holders", lambda *_arguments, **_options: [])
    try:
        with held(database.url), pytest.raises(LockGivenUp):
            command.expand(project.site())
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", on_alter)
    assert limits == ["30ms", "45ms", "50ms"]


def test_stop_ends_the_wait_at_once(database: Database, project: Project) -> None:
    """A signal while the command waits outside: it does not finish the pause, nor try again."""
    stop = Stop()
    said = threading.Event()

    def echo(line: str) -> None:
        if "outside of the lock queue" in line:
            said.set()

    with held(database.url):
        site = project.site(echo=echo, stop=stop)
        stopped: list[float] = []

        def request() -> None:
            said.wait(60)
            stopped.append(time.monotonic())
            stop.request("SIGTERM")

        thread = threading.Thread(target=request, daemon=True)
        thread.start()
        with pytest.raises(LockGivenUp):
            command.expand(site)
        thread.join()
        assert time.monotonic() - stopped[0] < STALL


def test_command_ends_with_its_session(database: Database, project: Project) -> None:
    """Another session would have neither the lock of the command nor its settings."""
    said = threading.Event()

    def echo(line: str) -> None:
        if "outside of the lock queue" in line:
            said.set()

    def end_sessions() -> None:
        said.wait(60)
        end_other_sessions(database)

    with held(database.url):
        thread = threading.Thread(target=end_sessions, daemon=True)
        thread.start()
        with pytest.raises((ServerDown, ServerError)):
            command.expand(project.site(echo=echo))
        thread.join()
    columns = {column["name"] for column in sa.inspect(database.engine).get_columns("items")}
    assert "more" not in columns


def test_script_that_catches_the_refusal_does_not_continue(database: Database, project: Project) -> None:
    """Otherwise the revision would be recorded as applied without the statement."""
    project.expand(
        'try:\n    op.add_column("items", sa.Column("caught", sa.Integer))\nexcept Exception:\n    pass'
    )
    with held(database.url, HOLDS):
        command.expand(project.site())
    columns = {column["name"] for column in sa.inspect(database.engine).get_columns("items")}
    assert {"more", "caught"} <= columns


# --- --kill-blockers -----------------------------------------------------------------------------


@pytest.fixture
def private(request: pytest.FixtureRequest, server: object) -> Iterator[Throwaway]:
    """A server on which no other test has an open transaction."""
    with Throwaway(server.name) as started:  # type: ignore[attr-defined]
        yield started


@contextlib.contextmanager
def ordinary_user(database: Database) -> Iterator[str]:
    """The URL for a user without special privileges, who may use the table."""
    with limited_user(database, 5) as url:
        execute(database.engine, f"GRANT SELECT, UPDATE ON items TO {sa.make_url(url).username}")
        yield url


def prepared(folder: Path, database: Database) -> Project:
    """A project with one expand of the table."""
    make_table(database)
    project = Project.create(folder, database.url)
    project.expand('op.add_column("items", sa.Column("more", sa.Integer))')
    return project


def test_blocker_is_ended_after_the_time_and_not_before(private: Throwaway, tmp_path: Path) -> None:
    """The session and its statement are named."""
    database = private.database
    with prepared(tmp_path / "project", database) as project, ordinary_user(database) as url:
        lines: list[str] = []
        with held(url) as holder:
            number = session_of(database, holder)
            began = time.monotonic()
            command.expand(project.site(echo=lines.append), kill_blockers=3.0)
            assert time.monotonic() - began >= 2.0  # the transaction was up to a second old, by whole seconds
            with pytest.raises(sa.exc.DBAPIError):
                holder.execute(sa.text("SELECT 1"))
        text = "\n".join(lines)
        assert "ended a session that had held its lock for" in text
        assert f" {number} (" in text


def test_dump_and_administrator_are_spared(private: Throwaway, tmp_path: Path) -> None:
    """Each one is named with the reason; the command gives up as without the option."""
    database = private.database
    dump = {"postgresql": {"application_name": "pg_dump"}, "mysql": {"program_name": "mysqldump"}}
    arguments = dump.get(database.server.product, {})
    statement = "SELECT /*!40001 SQL_NO_CACHE */ SLEEP(30) FROM items"
    with prepared(tmp_path / "project", database) as project, ordinary_user(database) as url:
        configure(project, lock_attempts=4)
        lines: list[str] = []
        with contextlib.ExitStack() as stack:
            administrator = stack.enter_context(held(database.url))
            dumping = sa.create_engine(url, connect_args=arguments, poolclass=sa.NullPool).connect()
            dumping.execute(sa.text("SELECT * FROM items"))
            if not arguments:
                threading.Thread(target=lambda: _ignored(dumping, statement), daemon=True).start()
                time.sleep(0.5)
            with pytest.raises(LockGivenUp):
                command.expand(project.site(echo=lines.append), kill_blockers=1.0)
            text = "\n".join(lines)
            if arguments:
                # MariaDB does not show which of the two holds the lock.
                assert "it is a dump" in text
            assert "administrator" in text or "superuser" in text
            assert "ended a session" not in text
            administrator.execute(sa.text("SELECT 1"))
        dumping.invalidate()


def _ignored(connection: sa.Connection, statement: str) -> None:
    with contextlib.suppress(sa.exc.DBAPIError):
        connection.execute(sa.text(statement))


def test_blocker_lives_without_the_option(database: Database, project: Project) -> None:
    """It is off by default."""
    with held(database.url, HOLDS) as holder:
        assert project.run("expand").code == 0
        wait_until(lambda: not holder.in_transaction(), "the end of the transaction")
        assert holder.scalar(sa.text("SELECT 1")) == 1


# --- a trigger that is recreated -----------------------------------------------------------------

_CONCURRENT = "CREATE INDEX CONCURRENTLY ix_size ON items (size)"
_BLOCK = f'with op.get_context().autocommit_block():\n    op.execute("{_CONCURRENT}")\n'
_TRIGGER = {
    "postgresql": (
        "CREATE FUNCTION sized() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER keeps BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION sized()",
    ),
    "mysql": (
        "CREATE TRIGGER keeps BEFORE INSERT ON items FOR EACH ROW SET NEW.size = COALESCE(NEW.size, 1)",
    ),
}


def test_recreated_trigger_does_not_queue(database: Database, tmp_path: Path) -> None:
    """After a kill behind DROP TRIGGER the next contract recreates it, like a statement of the script.

    It gives up while the transaction lasts, and is not continued without the trigger.
    """
    product = "postgresql" if database.server.has("transactional_ddl") else "mysql"
    make_table(database)
    execute(database.engine, *_TRIGGER[product])
    block = _BLOCK if product == "postgresql" else ""
    drop = "DROP TRIGGER keeps ON items" if product == "postgresql" else "DROP TRIGGER keeps"
    with Project.create(tmp_path / "project", database.url, lock_timeout=1, lock_attempts=2) as project:
        project.expand("pass")
        project.data("fill", FILL)
        project.contract(f'op.execute("{drop}")\n{block}op.drop_column("items", "gb")', requires=("fill",))
        project.apply_expand()
        project.migrate()
        first = "CREATE INDEX" if block else "ALTER TABLE items DROP COLUMN gb"
        assert schema.run(project, "contract", die_at=first).code == -9
        assert schema.triggers(database) == []
        with held(database.url) as holder, Writer(database) as writer:
            number = session_of(database, holder)
            with pytest.raises(LockGivenUp) as given_up:
                command.contract(project.site())
            assert f" {number} (" in str(given_up.value)
        assert writer.longest < STALL
        assert command.contract(project.site()).revisions
        assert schema.triggers(database) == []


# --- statements that change no column ------------------------------------------------------------


@pytest.mark.needs("transactional_ddl")
@pytest.mark.parametrize(
    "statement",
    [
        "LOCK TABLE items",
        "CREATE RULE quiet AS ON DELETE TO items DO INSTEAD NOTHING",
        "REINDEX TABLE items",
        "CLUSTER items USING items_pkey",
        "CREATE TABLE more () INHERITS (items)",
    ],
)
def test_statement_without_a_column_is_looked_at_too(
    database: Database, tmp_path: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not reach the server while a transaction holds a lock that conflicts with its own."""
    make_table(database)
    sent: list[str] = []
    entered = LockQueue.entered

    @contextlib.contextmanager
    def record(self: LockQueue, text: str) -> Iterator[None]:
        with entered(self, text):
            sent.append(text)
            yield

    monkeypatch.setattr(LockQueue, "entered", record)
    with Project.create(tmp_path / "project", database.url, lock_timeout=0.1, lock_attempts=1) as project:
        project.contract(f"op.execute({statement!r})", requires=())
        mode = "SHARE UPDATE EXCLUSIVE" if "INHERITS" in statement else "ROW EXCLUSIVE"
        with held(database.url) as holder:
            holder.execute(sa.text(f"LOCK TABLE items IN {mode} MODE"))
            time.sleep(0.15)  # until it is an old transaction
            with pytest.raises(LockGivenUp):
                command.contract(project.site())
            holder.rollback()
        assert statement not in sent
        command.contract(project.site())
        assert statement in sent


# --- waits of a statement that runs --------------------------------------------------------------


@pytest.mark.needs("transactional_ddl")
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX CONCURRENTLY ix_gb ON items (gb)",
        "DROP INDEX CONCURRENTLY ix_size",
        "REINDEX TABLE CONCURRENTLY items",
    ],
)
def test_transaction_that_a_concurrent_statement_waits_for_is_named(
    database: Database, tmp_path: Path, statement: str
) -> None:
    """No session waits behind such a statement, and it waits for up to half an hour."""
    make_table(database)
    execute(database.engine, "CREATE INDEX ix_size ON items (size)")
    with Project.create(tmp_path / "project", database.url) as project:
        project.contract(
            f"with op.get_context().autocommit_block():\n    op.execute({statement!r})", requires=()
        )
        _assert_named(database, project, "contract", statement)


@pytest.mark.needs("lock_tables")
def test_transaction_that_a_build_waits_for_at_its_end_is_named(database: Database, tmp_path: Path) -> None:
    """The statement has built its index, and waits for its second lock."""
    make_table(database)
    doubled = (
        "INSERT INTO items (id, gb) SELECT id + (SELECT max(id) FROM items), id * 7919 % 1000 FROM items"
    )
    execute(database.engine, *[doubled] * 17)
    with Project.create(tmp_path / "project", database.url, lock_timeout=20) as project:
        project.expand('op.create_index("ix_gb", "items", ["gb"])')
        _assert_named(database, project, "expand", "CREATE INDEX ix_gb", once_it_runs=True)


_RUNS = """
    SELECT count(*) FROM information_schema.processlist
    WHERE info LIKE 'CREATE INDEX ix_gb%' AND state NOT LIKE '%lock%'
"""


def _assert_named(
    database: Database, project: Project, verb: str, statement: str, *, once_it_runs: bool = False
) -> None:
    """Runs a command beside a transaction, which begins before or *once_it_runs*, and ends once named."""
    lines: list[str] = []
    said, begun = threading.Event(), threading.Event()
    number: list[int] = []

    def echo(line: str) -> None:
        lines.append(line)
        if "is not finished" in line:
            said.set()

    def hold() -> None:
        if once_it_runs:
            wait_until(lambda: scalar(database.engine, _RUNS) > 0, "the start of the statement")
        with held(database.url, until=said) as holder:
            number.append(session_of(database, holder))
            begun.set()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    if not once_it_runs:
        assert begun.wait(60)
    getattr(command, verb)(project.site(echo=echo))
    thread.join()
    text = "\n".join(lines)
    assert text.count("is not finished") == 1, text
    assert f": {statement}" in text
    assert f" {number[0]} (" in text
