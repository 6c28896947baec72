"""The holder of a lock that a schema change waits for is named, with the statement that ends it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate.dialects.mysql_transactions import open_transactions
from tests.servers import Database
from tests.support.project import Project, Ran, execute
from tests.support.throwaway import Throwaway

pytestmark = pytest.mark.each_product


def create_table(database: Database) -> None:
    """Creates a table with one row."""
    execute(
        database.engine, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)", "INSERT INTO t VALUES (1, 1)"
    )


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project whose expand has a lock timeout of 0.2 s and one attempt."""
    create_table(database)
    with project_with_short_lock_timeout(tmp_path / "project", database) as project:
        yield project


def project_with_short_lock_timeout(folder: Path, database: Database) -> Project:
    """Creates a project whose expand changes the table with a lock timeout of 0.2 s and one attempt."""
    project = Project.create(folder, database.url, lock_timeout=0.2, lock_attempts=1)
    project.expand('op.add_column("t", sa.Column("more", sa.Integer))')
    return project


def kill_statement(project: Project, pattern: str) -> str:
    """Returns the statement in the message of an expand that got no lock."""
    refused: Ran = project.run("expand")
    assert refused.code == 1, refused
    found = re.search(pattern, refused.err)
    assert found is not None, refused.err
    return found[1]  # MariaDB shows no table of a lock: a session of another test may be named as well


@pytest.mark.needs("lock_tables")
def test_lock_holder_with_lock_tables_read_is_named(database: Database, project: Project) -> None:
    """The printed KILL statement ends the wait."""
    with database.engine.connect() as holder:
        number = holder.scalar(sa.text("SELECT CONNECTION_ID()"))
        holder.execute(sa.text("LOCK TABLES t READ"))
        statement = kill_statement(project, rf"connection {number} .*; (KILL \d+) ends it")
        assert statement == f"KILL {number}"
        execute(database.engine, statement)
        holder.invalidate()
    assert project.run("expand").code == 0


@pytest.mark.needs("row_locks")
def test_lock_holder_in_a_transaction_is_named(database: Database, project: Project) -> None:
    """The message has the statement of this server that ends the session."""
    with database.engine.connect() as holder:
        function = {"postgresql": "pg_backend_pid()"}.get(database.server.product, "CONNECTION_ID()")
        number = holder.scalar(sa.text(f"SELECT {function}"))
        holder.execute(sa.text("UPDATE t SET n = 2"))
        ends = rf"(KILL {number}|SELECT pg_terminate_backend\({number}\)) ends it"
        statement = kill_statement(project, rf"held by .* {number} .*; {ends}")
        execute(database.engine, statement)
        holder.invalidate()
    assert project.run("expand").code == 0


@pytest.mark.needs("lock_tables")
def test_transaction_that_begins_while_the_transactions_are_read_is_seen(database: Database) -> None:
    """The server does not renew its list of transactions while a session reads it every 0.05 s."""
    create_table(database)
    with database.engine.connect() as holder, database.engine.connect() as reader:
        number = holder.scalar(sa.text("SELECT CONNECTION_ID()"))
        holder.rollback()

        def seen(times: int) -> bool:
            for _ in range(times):
                if number in open_transactions(reader):
                    return True
                time.sleep(0.05)
            return False

        assert not seen(3)
        holder.execute(sa.text("UPDATE t SET n = 2"))
        assert seen(60)
        holder.rollback()


@pytest.mark.needs("xa")
def test_lock_holder_prepared_xa_transaction_is_named(database: Database, project: Project) -> None:
    """Its session is gone; the printed XA ROLLBACK ends it."""
    xid = uuid.uuid4().hex[:12]
    with database.engine.connect() as holder:
        driver = holder.connection.cursor()
        for statement in (
            f"XA START '{xid}','b-1',7",
            "UPDATE t SET n = 2",
            f"XA END '{xid}','b-1',7",
            f"XA PREPARE '{xid}','b-1',7",
        ):
            driver.execute(statement)
        holder.invalidate()
    names = (f"'{xid}','b-1',7", f"X'{xid.encode().hex().upper()}',X'622D31',7")
    statement = ""
    try:
        statement = kill_statement(project, f"(XA ROLLBACK (?:{'|'.join(names)}))")
    finally:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(statement or f"XA ROLLBACK {names[0]}"))
    assert project.run("expand").code == 0


def test_lock_holder_prepared_transaction_is_named(tmp_path: Path) -> None:
    """The printed ROLLBACK PREPARED ends it; the server allows such transactions only with a setting."""
    with Throwaway("postgresql") as server:
        with server.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ALTER SYSTEM SET max_prepared_transactions = 5"))
        server.database.engine.dispose()
        server.kill()
        server.start()
        create_table(server.database)
        with project_with_short_lock_timeout(tmp_path / "project", server.database) as project:
            with server.database.engine.connect() as holder:
                holder.execute(sa.text("UPDATE t SET n = 2"))
                holder.execute(sa.text("PREPARE TRANSACTION 'it''s mine'"))
            statement = kill_statement(project, r"(ROLLBACK PREPARED '.*?') \(or COMMIT PREPARED\) ends it")
            assert statement == "ROLLBACK PREPARED 'it''s mine'"
            with server.database.engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                connection.execute(sa.text(statement))
            assert project.run("expand").code == 0
