"""``--ddl-tool``: an ALTER TABLE that would block writers is executed by a tool, on a copy of the table."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.ddl.tools.errors import ToolFailed, ToolLeftovers, ToolUnusable
from online_migrate.exceptions import StatementRefused, WritersBlocked
from tests.servers import Database
from tests.servers.access import administration
from tests.support import schema
from tests.support.project import PATIENCE, Project, execute, rows, scalar

pytestmark = [pytest.mark.each_product, pytest.mark.needs("lock_tables")]

TOOL = "pt-online-schema-change"
WIDEN = 'op.alter_column("t", "a", existing_type=sa.Integer(), type_=sa.BigInteger())'
REWRITES = {"change-type-rewrite": "the tool lets old code write"}
_ROWS = 2200
"""More than the engine lets a server copy while writers wait, and more than one chunk of the tool."""
_NUMBERS = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999) "
    "SELECT n.i + 1000 * k.i, 'x' FROM n, (SELECT 0 AS i UNION SELECT 1 UNION SELECT 2) k LIMIT 2200"
)


def create(database: Database, table: str = "t", *more: str) -> None:
    """Creates a table that is too large for a copy by the server."""
    columns = ", ".join(("id INTEGER AUTO_INCREMENT PRIMARY KEY", "a INTEGER", "b VARCHAR(20)", *more))
    execute(
        database.engine,
        f"CREATE TABLE {table} ({columns})",
        f"INSERT INTO {table} (a, b) {_NUMBERS}",
    )


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    create(database)
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


def type_of(database: Database, column: str = "a") -> str:
    query = (
        "SELECT data_type FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = 't' AND column_name = :column"
    )
    return str(scalar(database.engine, query, column=column))


def of_the_tool(database: Database) -> list[str]:
    """Returns the tables and triggers of the tool that exist."""
    query = (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
        "AND table_name LIKE '\\_%' UNION ALL SELECT trigger_name FROM information_schema.triggers "
        "WHERE trigger_schema = DATABASE() ORDER BY 1"
    )
    return [str(row[0]) for row in rows(database.engine, query)]


# --- it works beside writers ----------------------------------------------------------------------


@contextlib.contextmanager
def writing(database: Database) -> Iterator[dict[int, str]]:
    """Inserts, updates and deletes rows while the block lasts; yields what the table must contain."""
    expected = {int(key): str(b) for key, b in rows(database.engine, "SELECT id, b FROM t")}
    stop, errors = threading.Event(), []

    def write(connection: sa.Connection, number: int) -> None:
        done = connection.execute(sa.text(f"INSERT INTO t (a, b) VALUES (7, 'new {number}')"))
        connection.execute(sa.text(f"UPDATE t SET b = 'changed {number}' WHERE id = {number}"))
        connection.execute(sa.text(f"DELETE FROM t WHERE id = {number + 500}"))
        connection.commit()
        expected[done.lastrowid] = f"new {number}"
        if number in expected:
            expected[number] = f"changed {number}"
        expected.pop(number + 500, None)

    def guarded() -> None:
        try:
            with database.engine.connect() as connection:
                number = 1
                while not stop.is_set():
                    try:
                        write(connection, number)
                        number += 1
                    except sa.exc.OperationalError as error:
                        # The triggers of the tool cause deadlocks, of which the application is a victim.
                        if "1213" not in str(error):
                            raise
                        connection.rollback()
        except Exception as error:  # noqa: BLE001 - any error of the application fails the test
            errors.append(error)

    writer = threading.Thread(target=guarded)
    writer.start()
    try:
        yield expected
    finally:
        stop.set()
        writer.join()
    assert not errors, errors


def test_tool_alters_the_table_beside_a_writer(database: Database, project: Project) -> None:
    """No row and no write is lost, nothing of the tool is left, and the journal is empty."""
    project.expand(WIDEN, additive=REWRITES)
    with pytest.raises(WritersBlocked) as refused:
        command.expand(project.site())
    assert "--ddl-tool TOOL runs it" in refused.value.hint
    with writing(database) as expected:
        done = project.run("--log-level", "info", "expand", "--ddl-tool", TOOL)
    assert done.code == 0, done
    assert "Successfully altered" in done.err
    assert type_of(database) == "bigint"
    assert dict(rows(database.engine, "SELECT id, b FROM t")) == expected
    assert of_the_tool(database) == []
    assert schema.journal(database) == []
    assert command.expand(project.site()) == []


def test_change_that_the_server_makes_online_is_not_given_to_the_tool(
    database: Database, project: Project
) -> None:
    """An instant change, and an index."""
    project.expand('op.add_column("t", sa.Column("n", sa.Integer))\nop.create_index("ix", "t", ["a"])')
    lines: list[str] = []
    command.expand(project.site(echo=lines.append), ddl_tool=TOOL)
    assert not any(TOOL in line for line in lines)


def test_plan_names_the_tool_or_why_it_cannot(database: Database, project: Project) -> None:
    create(database, "keyed", "UNIQUE (b, id)")
    execute(database.engine, "CREATE TRIGGER tr BEFORE INSERT ON keyed FOR EACH ROW SET NEW.b = 'y'")
    keyed = WIDEN.replace('"t"', '"keyed"')
    project.expand(f'{WIDEN}\n{keyed}\nop.add_column("t", sa.Column("n", sa.Integer))', additive=REWRITES)
    assert TOOL not in project.run("plan").out
    shown = project.run("plan", "--ddl-tool", TOOL).out
    assert f"-- if the server refuses it, {TOOL} copies t: MODIFY a BIGINT NULL\n" in shown
    assert f"-- {TOOL} cannot copy the table: it has triggers (tr)\n" in shown
    assert shown.count(TOOL) == 2


# --- how it connects ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["socket", "tls"])
def test_tool_connects_as_the_url_says(database: Database, project: Project, way: str) -> None:
    """By the socket; with the certificate of the URL, which the account requires; the password has quotes."""
    password, user = "a'b\"c\\d #;e", f"om_{database.name[-8:]}"
    options = {"unix_socket": scalar(database.engine, "SELECT @@socket")}
    requires = ""
    if way == "tls" and database.server.product == "mysql":  # the other test server has no certificate
        folder = scalar(database.engine, "SELECT @@datadir")
        options = {"ssl_ca": f"{folder}ca.pem", "ssl_check_hostname": "false"}
        requires = " REQUIRE SSL"
    with administration(database.server.url) as other:
        other.execute(sa.text(f"CREATE USER {user}@'%' IDENTIFIED BY :word{requires}"), {"word": password})
        other.execute(sa.text(f"GRANT ALL ON *.* TO {user}@'%'"))
    try:
        url = sa.make_url(database.url).set(username=user, password=password).update_query_dict(options)
        project.url = url.render_as_string(hide_password=False)
        project.expand(WIDEN, additive=REWRITES)
        command.expand(project.site(), ddl_tool=TOOL)
    finally:
        with administration(database.server.url) as other:
            other.execute(sa.text(f"DROP USER {user}@'%'"))
    assert type_of(database) == "bigint"


# --- it cannot be used ----------------------------------------------------------------------------


def test_missing_tool_is_named_before_anything_is_changed(
    database: Database, project: Project, tmp_path: Path
) -> None:
    project.expand('op.add_column("t", sa.Column("n", sa.Integer))')
    done = project.run("expand", "--ddl-tool", TOOL, environment={"PATH": str(tmp_path)})
    assert done.code == 127, done
    assert "apt-get install percona-toolkit" in done.err
    assert sa.inspect(database.engine).get_table_names() == ["t"]


def test_option_of_the_url_that_the_tool_cannot_follow_is_named(database: Database, project: Project) -> None:
    url = sa.make_url(database.url).update_query_dict({"init_command": "SET @x = 1"})
    project.expand(WIDEN, additive=REWRITES)
    project.url = url.render_as_string(hide_password=False)
    with pytest.raises(ToolUnusable, match="init_command"):
        command.expand(project.site(), ddl_tool=TOOL)
    assert type_of(database) == "int"


TABLES = {
    "triggers": ("", "CREATE TRIGGER tr BEFORE INSERT ON {t} FOR EACH ROW SET NEW.b = 'y'", "triggers (tr)"),
    "parent": (
        "",
        "CREATE TABLE referring (id INTEGER, FOREIGN KEY (id) REFERENCES {t} (id))",
        "is referenced",
    ),
    "child": ("c INTEGER, CONSTRAINT f FOREIGN KEY (c) REFERENCES one (id)", "", "has foreign keys"),
    "checked": ("CONSTRAINT c CHECK (a > -1)", "", "CHECK constraints, which the tool would rename (c)"),
    "enum": ("e ENUM('a', '\N{GRINNING FACE}')", "", "shows with a '?'"),
}


def test_table_that_the_tool_cannot_copy_is_refused(database: Database, project: Project) -> None:
    """The tool would refuse some of these, and damage the others; none of them is given to it."""
    execute(database.engine, "CREATE TABLE one (id INTEGER PRIMARY KEY)")
    execute(
        database.engine, "CREATE TABLE keyless (a INTEGER, b VARCHAR(20))", f"INSERT INTO keyless {_NUMBERS}"
    )
    expected = {"keyless": "no primary key"}
    for name, (column, statement, reason) in TABLES.items():
        create(database, name, *([column] if column else []))
        if statement:
            execute(database.engine, statement.format(t=name))
        expected[name] = reason
    for name, reason in expected.items():
        revision = project.expand(WIDEN.replace('"t"', f'"{name}"'), additive=REWRITES)
        with pytest.raises(WritersBlocked) as refused:
            command.expand(project.site(), revision, ddl_tool=TOOL)
        assert reason in str(refused.value), name
        assert "Or copy the table with" not in refused.value.hint
        next(project.scripts.glob(f"expand/*_{revision}.py")).unlink()
        project._last.pop("expand")
    assert of_the_tool(database) == ["tr"]


CHANGES = {
    "narrower": 'op.execute("ALTER TABLE t MODIFY b VARCHAR(1)")',
    "unique": 'op.execute("ALTER TABLE t MODIFY a BIGINT, ADD UNIQUE KEY u (b)")',
    "collation": 'op.execute("ALTER TABLE t CONVERT TO CHARACTER SET latin1")',
    "renamed": 'op.execute("ALTER TABLE t CHANGE a c BIGINT")',
}


def test_change_that_would_lose_rows_is_refused(database: Database, project: Project) -> None:
    """The tool ends with success after it has lost rows or values: it copies with INSERT IGNORE."""
    for name, body in CHANGES.items():
        revision = project.expand(body, additive={body[12:-2]: "a test"})
        with pytest.raises(WritersBlocked, match="cannot copy the table"):
            command.expand(project.site(), revision, ddl_tool=TOOL)
        next(project.scripts.glob(f"expand/*_{revision}.py")).unlink()
        project._last.pop("expand")
        assert scalar(database.engine, "SELECT COUNT(*) FROM t") == _ROWS, name
    assert of_the_tool(database) == []


FAKES = {
    "nothing done": (
        "exit 0",
        "ended with success, but the catalog does not show column a of t: (no output)",
    ),
    "failed": ("echo first; echo 'the cause' >&2; exit 9", "ended with exit code 9:\n  first\n  the cause"),
}


@pytest.mark.parametrize(("body", "reason"), FAKES.values(), ids=FAKES)
def test_result_of_the_tool_is_checked(
    database: Database,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    reason: str,
) -> None:
    """By its exit code and by the catalog; the statement counts as not executed, also if a script goes on."""
    program = tmp_path / "bin" / TOOL
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    project.expand(f"try:\n    {WIDEN}\nexcept Exception:\n    pass", additive=REWRITES)
    with pytest.raises(ToolFailed) as failed:
        command.expand(project.site(), ddl_tool=TOOL)
    assert reason in str(failed.value)
    assert type_of(database) == "int"
    assert schema.journal(database) == []
    with pytest.raises(WritersBlocked):
        command.expand(project.site())


# --- contract ---------------------------------------------------------------------------------------

REQUIRED = 'op.alter_column("t", "a", existing_type=sa.Integer(), type_=sa.BigInteger(), nullable=False)'


def test_contract_uses_the_tool_outside_of_its_lock(database: Database, project: Project) -> None:
    """A NULL row ends the tool with an error, and nothing is left; under the lock the tool is refused."""
    execute(database.engine, "UPDATE t SET a = NULL WHERE id = 2")
    execute(
        database.engine,
        "CREATE TABLE w (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER) ROW_FORMAT=COMPRESSED",
        "INSERT INTO w (id, a) VALUES (1, 1)",
    )
    project.data("fill", 'fill = Backfill(table="w", values={"b": 1}, pending=lambda t: t.c.b.is_(None))')
    project.contract(REQUIRED, requires=())
    with pytest.raises(ToolFailed, match="exit code") as failed:
        command.contract(project.site(), ddl_tool=TOOL)
    assert "cannot be null" in str(failed.value)
    assert "nothing is left of it" in failed.value.hint
    assert of_the_tool(database) == []
    assert type_of(database) == "int"
    execute(database.engine, "UPDATE t SET a = 0 WHERE id = 2")
    command.contract(project.site(), ddl_tool=TOOL)
    assert type_of(database) == "bigint"
    project.migrate("fill")
    project.contract('op.drop_column("w", "a")', requires=("fill",))
    with pytest.raises(StatementRefused, match=f"{TOOL} cannot copy the table: this session has locked it"):
        command.contract(project.site(), ddl_tool=TOOL)
    assert scalar(database.engine, "SELECT a FROM w") == 1


# --- killed ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def busy(database: Database) -> Iterator[None]:
    """Keeps sessions running, so that the tool pauses by its limit of the load."""
    with contextlib.ExitStack() as stack:
        threads = []
        engine = sa.create_engine(database.url, poolclass=sa.NullPool)
        for _ in range(24):
            connection = stack.enter_context(engine.connect())
            session = connection.scalar(sa.text("SELECT CONNECTION_ID()"))
            thread = threading.Thread(target=_sleep, args=(connection,))
            thread.start()
            threads.append((session, thread))
        try:
            yield
        finally:
            with administration(database.server.url) as other:
                for session, thread in threads:
                    other.execute(sa.text(f"KILL QUERY {session}"))
                    thread.join()


def _sleep(connection: sa.Connection) -> None:
    with contextlib.suppress(sa.exc.DBAPIError):
        connection.execute(sa.text("SELECT SLEEP(100)"))


def tool_process(database: Database) -> int | None:
    """Returns the process id of the tool that works on the database."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if any(word.endswith(TOOL.encode()) for word in words[:2]) and database.name.encode() in b"".join(
                words
            ):
                return int(folder.name)
    return None


def wait_until(condition: object, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.02)


def started(project: Project, database: Database) -> int:
    """Starts expand, kills it while the tool copies, and returns the process id of the tool."""
    process = project.start("expand", "--ddl-tool", TOOL)
    wait_until(lambda: len(of_the_tool(database)) == 4 or not process.running, "the tool has not begun")
    assert process.running, process.wait()
    pid = tool_process(database)
    assert pid is not None
    shows_no_password(project, pid)
    process.kill()
    return pid


def shows_no_password(project: Project, pid: int) -> None:
    password = str(sa.make_url(project.url).password).encode()
    for name in ("cmdline", "environ"):
        assert password not in Path(f"/proc/{pid}/{name}").read_bytes().replace(project.url.encode(), b"")
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    path = Path(os.fsdecode(words[words.index(b"--defaults-file") + 1]))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_killed_client_and_killed_tool(database: Database, project: Project) -> None:
    """The tool goes on without its client; the next run names what is there, and completes what is done."""
    project.expand(WIDEN, additive=REWRITES)
    with project.config_file.open("a", encoding="utf-8") as ini:
        ini.write("max_load = Threads_running=15\n")
    with busy(database):
        pid = started(project, database)
        refused = project.run("expand", "--ddl-tool", TOOL)
        assert refused.code == 3, refused
        assert "has not ended, or has left trigger pt_osc_" in refused.err
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(ToolLeftovers) as left:
        command.expand(project.site(), ddl_tool=TOOL)
    cleanup = left.value.cleanup.split("; ")
    assert [one.split()[1] for one in cleanup] == ["TRIGGER"] * 3 + ["TABLE"]
    execute(database.engine, *cleanup)
    assert of_the_tool(database) == []
    with busy(database):
        pid = started(project, database)
    wait_until(lambda: not of_the_tool(database), "the tool has not completed its work")
    assert type_of(database) == "bigint"
    lines: list[str] = []
    assert command.expand(project.site(echo=lines.append), ddl_tool=TOOL) == ["e1"]
    assert not any(TOOL in line for line in lines)
    assert schema.journal(database) == []
    assert scalar(database.engine, "SELECT COUNT(*) FROM t") == _ROWS
