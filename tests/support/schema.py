"""Projects that change a schema, the content of a catalog, and commands that are killed at a statement.

Server-specific statements are in the tables of this module, so that tests need no names of servers.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import gc
import importlib
import itertools
import json
import multiprocessing
import os
import re
import signal
import sqlite3
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from tests.servers import Database, Fleet, Server
from tests.support import forks
from tests.support.project import Project

GIB = 1024**3
OURS = "online_migrate_"

# --- scripts -------------------------------------------------------------------------------------


def script(revision: str, upgrade: str, *, down: str | None = None) -> str:
    """Returns a plain Alembic script, as in a project that is not adopted yet."""
    body = textwrap.indent(textwrap.dedent(upgrade).strip(), "    ")
    return (
        f"import sqlalchemy as sa\nfrom alembic import op\n\nrevision = {revision!r}\n"
        f"down_revision = {down!r}\nbranch_labels = None\ndepends_on = None\n\n\n"
        f"def upgrade():\n{body}\n\n\ndef downgrade():\n    pass\n"
    )


# --- the sample: sizes in GiB become sizes in bytes ----------------------------------------------

_IN_STEP = {
    "sqlite": (
        """CREATE TRIGGER volumes_in_step AFTER INSERT ON volumes WHEN NEW.size_bytes IS NULL
           BEGIN UPDATE volumes SET size_bytes = NEW.size_gb * 1073741824 WHERE id = NEW.id; END""",
    ),
    "postgresql": (
        """CREATE FUNCTION volumes_in_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.size_bytes IS NULL THEN NEW.size_bytes := NEW.size_gb::bigint * 1073741824; END IF;
           RETURN NEW; END $$""",
        """CREATE TRIGGER volumes_in_step BEFORE INSERT ON volumes
           FOR EACH ROW EXECUTE FUNCTION volumes_in_step()""",
    ),
    "mysql": (
        """CREATE TRIGGER volumes_in_step BEFORE INSERT ON volumes FOR EACH ROW
           SET NEW.size_bytes = COALESCE(NEW.size_bytes, NEW.size_gb * 1073741824)""",
    ),
}
IN_STEP = {"create-trigger volumes_in_step": "it only fills a column that the old version does not write"}
"""The exception that an expand script declares for the trigger."""
_OUT_OF_STEP = {
    "sqlite": ("DROP TRIGGER volumes_in_step",),
    "postgresql": ("DROP TRIGGER volumes_in_step ON volumes", "DROP FUNCTION volumes_in_step()"),
    "mysql": ("DROP TRIGGER volumes_in_step",),
}
for _statements in (_IN_STEP, _OUT_OF_STEP):
    _statements["mariadb"] = _statements["mysql"]


def executed(statements: Iterable[str]) -> str:
    """Returns the statements as lines of a script."""
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


VOLUMES = """
    op.create_table(
        "volumes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("size_gb", sa.Integer),
        sa.Column("legacy", sa.String(40)),
        sa.Column("note", sa.String(40)),
        mysql_engine="InnoDB",
    )
    op.create_index("ix_volumes_size_gb", "volumes", ["size_gb"])
"""
NOT_NULL = """
    with op.batch_alter_table("volumes") as batch:
        batch.alter_column("size_bytes", existing_type=sa.BigInteger(), nullable=False)
"""
DROP_COLUMNS = """
    op.drop_index("ix_volumes_size_gb", "volumes")
    op.drop_column("volumes", "size_gb")
    op.drop_column("volumes", "legacy")
"""
BACKFILL = """
    volume_bytes = Backfill(
        table="volumes",
        values=lambda t: {"size_bytes": sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3},
        pending=lambda t: t.c.size_bytes.is_(None) & t.c.size_gb.is_not(None),
        revision="e2",
    )
"""


def volumes(folder: Path, database: Database, *, contract: str | None = None, **settings: Any) -> Project:
    """Creates the sample project: e1 is the old schema, e2 and c2 the change, ``volume_bytes`` its data.

    *contract*: the body of c2, instead of dropping the trigger, the index, two columns and NULL.
    """
    product = database.server.product
    settings = {"lock_timeout": 0.5, "lock_attempts": 40, "look_timeout": 20} | settings
    project = Project.create(folder, database.url, **settings)
    project.expand(VOLUMES, "e1")
    add = 'op.add_column("volumes", sa.Column("size_bytes", sa.BigInteger()))\n'
    project.expand(add + create_in_step(product), "e2", additive=IN_STEP)
    if contract is None:
        contract = drop_in_step(product) + textwrap.dedent(DROP_COLUMNS) + textwrap.dedent(NOT_NULL)
    project.contract(contract, "c2", requires=("volume_bytes",))
    project.data("volume_bytes", BACKFILL)
    return project


def drop_in_step(product: str) -> str:
    """Returns the lines of a script that drop the sample's trigger."""
    return executed(_OUT_OF_STEP[product]) + "\n"


def in_step(product: str) -> Sequence[str]:
    """Returns the statements that create the sample's trigger."""
    return _IN_STEP[product]


def out_of_step(product: str) -> Sequence[str]:
    """Returns the statements that drop the sample's trigger."""
    return _OUT_OF_STEP[product]


def create_in_step(product: str) -> str:
    """Returns the lines of a script that create the sample's trigger."""
    return executed(_IN_STEP[product]) + "\n"


def as_before(project: Project, database: Database, rows: int = 20) -> None:
    """Prepares the sample's database as the old version left it: at e1, with rows 1 to *rows*."""
    project.apply_expand("e1")
    fill(database, 1, rows)


def fill(database: Database, first: int, last: int) -> None:
    """Inserts rows of the sample as the old version does; row N has N % 50 + 1 GiB."""
    with session(database) as connection:
        connection.execute(INSERT, [{"id": i, "size": size_of(i)} for i in range(first, last + 1)])
        connection.commit()


INSERT = sa.text("INSERT INTO volumes (id, size_gb) VALUES (:id, :size)")


def size_of(row: int) -> int:
    """Returns the size in GiB of row *row* of the sample."""
    return row % 50 + 1


def ready(project: Project, database: Database, target: str | None = None) -> None:
    """Prepares the sample's database: rows, expanded (up to *target*) and migrated, before contract."""
    as_before(project, database)
    project.apply_expand(target)
    project.migrate()


SLOW = {
    "sqlite": "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000 + volumes.id) "
    "SELECT count(*) FROM n) = 0",
    "postgresql": "CAST(pg_sleep(0.03) AS TEXT) = 'never'",
    "mysql": "sleep(0.03) = 2",
    "mariadb": "sleep(0.03) = 2",
}
"""A condition that is false for every row of the sample and slow to evaluate."""


def embedded() -> Server:
    """Returns the SQLite server, for tests of the command line that need no other server."""
    return Fleet().get("sqlite")


# --- the content of a database -------------------------------------------------------------------

_POSTGRESQL_CATALOG = (
    """SELECT 'column', c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
              pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
       WHERE c.relnamespace = 'public'::regnamespace""",
    """SELECT 'index', pg_get_indexdef(i.indexrelid), i.indisvalid, c.relname
       FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
       WHERE c.relnamespace = 'public'::regnamespace""",
    """SELECT 'constraint', c.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated
       FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
       WHERE c.relnamespace = 'public'::regnamespace""",
    """SELECT 'trigger', pg_get_triggerdef(t.oid), t.tgenabled FROM pg_trigger t WHERE NOT t.tgisinternal""",
    """SELECT 'function', proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
)


def catalog(database: Database) -> str:
    """Returns the whole schema as described by the server, without the state tables, to compare as text."""
    with sa.create_engine(database.url, poolclass=sa.NullPool).connect() as connection:
        lines = _CATALOGS[database.server.product](connection)
        return "\n".join(sorted(line for line in lines if OURS not in line))


def _sqlite_catalog(connection: Connection) -> Iterator[str]:
    for row in connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master"):
        yield repr(tuple(row))


def _postgresql_catalog(connection: Connection) -> Iterator[str]:
    for query in _POSTGRESQL_CATALOG:
        for row in connection.exec_driver_sql(query.replace("%", "%%")):
            yield repr(tuple(row))


def _mysql_catalog(connection: Connection) -> Iterator[str]:
    quote = connection.dialect.identifier_preparer.quote
    for table in sa.inspect(connection).get_table_names():
        text = str(connection.exec_driver_sql(f"SHOW CREATE TABLE {quote(table)}").one()[1])
        yield re.sub(r" AUTO_INCREMENT=\d+", "", text).replace("\n", " ")
    names = connection.exec_driver_sql(
        "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
    ).scalars()
    for name in names.all():
        row = connection.exec_driver_sql(f"SHOW CREATE TRIGGER {quote(name)}").one()
        yield f"{row[0]} {row[1]} {row[2]}".replace("\n", " ")


_CATALOGS: dict[str, Callable[[Connection], Iterator[str]]] = {
    "sqlite": _sqlite_catalog,
    "postgresql": _postgresql_catalog,
    "mysql": _mysql_catalog,
    "mariadb": _mysql_catalog,
}


def triggers(database: Database) -> list[str]:
    """Returns the names of the triggers, sorted."""
    query = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
    }.get(
        database.server.product,
        "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
    )
    return sorted(str(row[0]) for row in query_all(database, query))


def shape(database: Database) -> dict[str, Any]:
    """Returns the user's tables without the column order: the part that must be equal on every path."""
    with sa.create_engine(database.url, poolclass=sa.NullPool).connect() as connection:
        inspector = sa.inspect(connection)
        return {
            table: _shape_of(inspector, table)
            for table in inspector.get_table_names()
            if not table.startswith(OURS)
        }


def _shape_of(inspector: sa.Inspector, table: str) -> dict[str, Any]:
    columns = {
        column["name"]: (str(column["type"]), column["nullable"], column["default"])
        for column in inspector.get_columns(table)
    }
    keys = inspector.get_foreign_keys(table)
    return {
        "columns": columns,
        "key": inspector.get_pk_constraint(table)["constrained_columns"],
        "foreign": sorted((k["constrained_columns"], k["referred_table"]) for k in keys),
        "indexes": sorted(
            (i["name"], i["column_names"], bool(i["unique"])) for i in inspector.get_indexes(table)
        ),
    }


def query_all(database: Database, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Returns all rows of a query, in a separate session that ends at once."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement), parameters)]


def run_all(database: Database, *statements: str) -> None:
    """Executes statements in one transaction of a separate session, and in a separate thread.

    In the thread of a contract script no second connection is permitted.
    """

    def execute() -> None:
        engine = sa.create_engine(database.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))

    with concurrent.futures.ThreadPoolExecutor(1) as other:
        other.submit(execute).result()


def version_rows(database: Database, table: str = "alembic_version") -> list[str]:
    """Returns Alembic's version rows, sorted; an empty list if there is no such table."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(table):
            return []
        return sorted(connection.scalars(sa.text(f"SELECT version_num FROM {table}")))


def tables(database: Database) -> list[str]:
    """Returns the names of all tables, with the state tables, sorted."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return sorted(sa.inspect(connection).get_table_names())


def journal(database: Database) -> list[tuple[Any, ...]]:
    """Returns the entries of the journal of half-applied revisions."""
    return query_all(database, "SELECT revision, state, statement FROM online_migrate_journal")


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Everything that a refused command must not change."""

    catalog: str
    versions: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, database: Database, table: str | None = "volumes") -> Snapshot:
        """Returns the schema, the version rows and the rows of *table*."""
        rows = [] if table is None else query_all(database, f"SELECT * FROM {table} ORDER BY 1")
        return cls(catalog(database), tuple(version_rows(database)), tuple(rows))


# --- the old version, which writes all the time --------------------------------------------------


class OldVersion:
    """A thread that inserts rows as the old version does, until it is stopped.

    Errors occur when the columns of the old version are dropped, or while a table is locked: the thread
    continues with the next row, and records the acknowledged rows.
    """

    def __init__(self, database: Database, *, first: int = 100_000, pause: float = 0.002) -> None:
        self._database = database
        self._ids = itertools.count(first)
        self._stop = threading.Event()
        self._pause = pause
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.acknowledged: list[int] = []
        self.refused = 0

    def __enter__(self) -> OldVersion:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the old version still waits for a lock"

    def _write(self) -> None:
        engine = sa.create_engine(self._database.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            while not self._stop.is_set():
                row = next(self._ids)
                try:
                    connection.execute(INSERT, {"id": row, "size": size_of(row)})
                    connection.commit()
                except sa.exc.DBAPIError:
                    connection.rollback()
                    self.refused += 1
                else:
                    self.acknowledged.append(row)
                self._stop.wait(self._pause)


# --- a command that is killed at a chosen statement ----------------------------------------------

_READING = re.compile(
    r"\s*(SELECT|SHOW|SET|PRAGMA|EXPLAIN|WITH|BEGIN|DESC|DESCRIBE|ROLLBACK|SAVEPOINT|RELEASE)\b", re.I
)


@dataclasses.dataclass(frozen=True)
class Death:
    """The kill of a command: before its statement number *at* (from 1) that is not a read.

    *at* can also be the start of that statement. *report*: a file that gets the statements, one per line; the
    last of them was not sent.
    """

    at: int | str | None
    report: Path


@dataclasses.dataclass(frozen=True)
class Run:
    """The result of a command in a separate process; if it was killed, ``code`` is -9."""

    code: int
    out: str
    err: str
    statements: tuple[str, ...]

    @property
    def output(self) -> str:
        return self.out + self.err

    @property
    def json(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)

    @property
    def complaint(self) -> list[str]:
        """The lines on stderr; asserts that no traceback is among them."""
        assert "Traceback" not in self.err, self.err
        return self.err.strip().splitlines()


def is_read(statement: str) -> bool:
    """True for a statement that is not counted for the number in :class:`Death`."""
    return _READING.match(statement) is not None


_COUNT = itertools.count(1)
_DEATH: Death | None = None


def _about_to_send(statement: str) -> None:
    if _DEATH is None or _READING.match(statement):
        return
    number, line = next(_COUNT), " ".join(statement.split())
    with _DEATH.report.open("a") as report:
        report.write(f"{line}\n")
    if number == _DEATH.at or (isinstance(_DEATH.at, str) and line.startswith(_DEATH.at)):
        os.kill(os.getpid(), signal.SIGKILL)


class _SQLiteCursor(sqlite3.Cursor):
    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        _about_to_send(statement)
        return super().execute(statement, *parameters)


class _SQLiteConnection(sqlite3.Connection):
    def cursor(self, factory: Any = _SQLiteCursor) -> Any:
        return super().cursor(factory)


@functools.cache
def _cursor_class(base: type[Any], method: str) -> type[Any]:
    def send(self: Any, statement: Any, *parameters: Any) -> Any:
        _about_to_send(statement if isinstance(statement, str) else str(statement))
        return getattr(base, method)(self, statement, *parameters)

    return type("DyingCursor", (base,), {method: send})


def _connect_to_die(dialect: Any, record: object, arguments: Any, keywords: dict[str, Any]) -> None:
    if dialect.driver == "pysqlite":
        keywords["factory"] = _SQLiteConnection
    elif dialect.driver == "psycopg2":
        keywords["cursor_factory"] = _cursor_class(dialect.dbapi.extensions.cursor, "execute")
    elif dialect.driver in ("pymysql", "mysqldb"):
        cursors = importlib.import_module(f"{dialect.dbapi.__name__}.cursors")
        keywords["cursorclass"] = _cursor_class(cursors.Cursor, "execute")
    else:
        raise NotImplementedError(dialect.driver)


def _child(arguments: Sequence[str], folder: str, death: Death, environment: Mapping[str, str]) -> None:
    global _DEATH
    gc.freeze()  # excludes the imported modules from garbage collection
    for number, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(death.report.with_suffix(suffix), os.O_WRONLY | os.O_CREAT), number)
    # Alembic writes to the stdout of its import time, which uses the same descriptor.
    inherited = sys.stdout
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    os.chdir(folder)
    os.environ.update(environment)
    _DEATH = death
    event.listen(Engine, "do_connect", _connect_to_die)
    event.listen(Engine, "commit", lambda connection: _about_to_send("COMMIT"))
    try:
        code = _PROGRAMS[arguments[0]](arguments[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int | None) else 1
    inherited.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0) % 256)


def _online_migrate(arguments: Sequence[str]) -> Any:
    from online_migrate.cli.main import run

    return run(arguments)


def _alembic(arguments: Sequence[str]) -> Any:
    from alembic.config import main

    return main(arguments, prog="alembic")


_PROGRAMS: dict[str, Callable[[Sequence[str]], Any]] = {
    "online-migrate": _online_migrate,
    "alembic": _alembic,
}


def start(
    project: Project,
    *arguments: str,
    program: str = "online-migrate",
    die_at: int | str | None = None,
    environment: Mapping[str, str] | None = None,
    inherit: bool = False,
) -> tuple[Any, Death]:
    """Starts the real command line in a separate process; see :func:`run`."""
    scratch = project.folder / "runs"
    scratch.mkdir(exist_ok=True)
    death = Death(die_at, scratch / f"{next(_RUNS)}.statements")
    variables = {"ONLINE_MIGRATE_URL": project.url, **(environment or {})}
    processes = multiprocessing.get_context("fork") if inherit else forks.processes()
    process = processes.Process(
        target=_child, args=((program, *arguments), str(project.folder), death, variables), daemon=True
    )
    process.start()
    return process, death


_RUNS = itertools.count(1)


def run(
    project: Project,
    *arguments: str,
    die_at: int | str | None = None,
    environment: Mapping[str, str] | None = None,
    inherit: bool = False,
) -> Run:
    """Runs the real command line in a separate process, which kills itself before statement *die_at*.

    Statements are counted as they reach the driver; a COMMIT counts, reads do not. *inherit*: the process is
    a copy of this one, with the changes that a test made to the engine.
    """
    return finished(*start(project, *arguments, die_at=die_at, environment=environment, inherit=inherit))


def alembic(project: Project, *arguments: str, die_at: int | str | None = None) -> Run:
    """Runs Alembic's own command line in a separate process."""
    return finished(*start(project, *arguments, program="alembic", die_at=die_at))


def finished(process: Any, death: Death) -> Run:
    """Waits for the process of :func:`start`, and returns its result."""
    process.join(120)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"it did not end:\n{_text(death, '.err')}")
    statements = _text(death, ".statements").splitlines()
    return Run(process.exitcode, _text(death, ".out"), _text(death, ".err"), tuple(statements))


def _text(death: Death, suffix: str) -> str:
    path = death.report.with_suffix(suffix)
    return path.read_text() if path.exists() else ""


# --- events between two statements ---------------------------------------------------------------


@contextlib.contextmanager
def happens(moment: str, beginning: str, happening: Callable[[Connection], None]) -> Iterator[list[str]]:
    """Inside the block, *happening* is called once, "before" or "after" a statement that starts with
    *beginning*.

    It gets the connection of that statement. Yields a list that gets the statement once it was sent; it is an
    error if it never was.
    """
    sent: list[str] = []

    def listen(connection: Connection, cursor: object, statement: str, *_: object) -> None:
        if not sent and " ".join(statement.split()).startswith(beginning):
            sent.append(statement)
            # In a separate thread: in the thread of a contract script no second connection is permitted.
            with concurrent.futures.ThreadPoolExecutor(1) as other:
                other.submit(happening, connection).result()

    event.listen(Engine, f"{moment}_cursor_execute", listen)
    try:
        yield sent
    finally:
        event.remove(Engine, f"{moment}_cursor_execute", listen)
    assert sent, f"there was no {beginning}"


_KILL = {
    "postgresql": lambda driver: f"SELECT pg_terminate_backend({driver.get_backend_pid()})",
    "mysql": lambda driver: f"KILL {driver.thread_id()}",
    "mariadb": lambda driver: f"KILL {driver.thread_id()}",
}


def end_session(database: Database, connection: Connection) -> None:
    """Makes the server end the session of *connection*, as an administrator does."""
    run_all(database, _KILL[database.server.product](connection.connection.dbapi_connection))


@contextlib.contextmanager
def session(database: Database) -> Iterator[Connection]:
    """Yields a second session with any transaction that the test starts in it; rolled back at the end."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    connection = engine.connect()
    try:
        yield connection
    finally:
        with contextlib.suppress(sa.exc.DBAPIError):
            connection.rollback()
        connection.close()
        engine.dispose()
