"""kill -9 of the client and of the server at the boundaries of a revision; a script that is edited then."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate.ddl.executor import Executor
from online_migrate.exceptions import OnlineMigrateError
from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Project, execute, rows
from tests.support.throwaway import Throwaway

MYSQL = pytest.mark.needs("lock_tables")
POSTGRESQL = pytest.mark.needs("transactional_ddl", "row_locks")
EACH = pytest.mark.each_product

TWELVE = """
op.add_column("t", sa.Column("n", sa.Integer))
op.create_index("ix_n", "t", ["n"])
op.create_table("u", sa.Column("id", sa.Integer, primary_key=True), sa.Column("t_id", sa.Integer))
op.create_index("ix_u", "u", ["t_id"])
op.add_column("t", sa.Column("m", sa.String(20), server_default="x"))
op.create_unique_constraint("uq", "t", ["id", "a"])
op.alter_column("t", "b", existing_type=sa.Integer(), new_column_name="c")
op.drop_index("ix_a", "t")
op.alter_column("t", "m", existing_type=sa.String(20), type_=sa.String(40), existing_server_default="x")
op.add_column("u", sa.Column("k", sa.Integer, server_default="3"))
op.rename_table("u", "v")
op.execute("UPDATE v SET k = k + 1")
"""
"""Twelve statements of different kinds on MySQL and MariaDB."""
CONCURRENT = """
op.add_column("t", sa.Column("n", sa.Integer))
op.create_index("ix_n", "t", ["n"])
op.create_unique_constraint("uq", "t", ["id", "a"])
op.create_foreign_key("fk", "t", "p", ["b"], ["id"])
op.drop_index("ix_a", "t")
op.alter_column("t", "a", nullable=False)
op.create_index("ix_parts", "parted", ["a"])
op.add_column("t", sa.Column("m", sa.Integer))
"""
"""Statements that leave the transaction on PostgreSQL, among others that do not."""


def prepare(database: Database) -> None:
    """Creates the tables of the scripts; those of PostgreSQL are so large that they are changed in steps."""
    execute(
        database.engine,
        "CREATE TABLE p (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER)",
        "CREATE INDEX ix_a ON t (a)",
        "INSERT INTO p (id) VALUES (1)",
        "INSERT INTO t (id, a, b) VALUES (1, 1, 1)",
    )
    if database.server.product == "postgresql":
        execute(
            database.engine,
            "CREATE TABLE parted (id INTEGER, a INTEGER) PARTITION BY RANGE (id)",
            "CREATE TABLE parted_0 PARTITION OF parted FOR VALUES FROM (0) TO (1000)",
            "CREATE TABLE parted_1 PARTITION OF parted DEFAULT",
            "INSERT INTO t SELECT n, n, 1 FROM generate_series(2, 40000) AS n",
            "INSERT INTO parted SELECT n, n FROM generate_series(2, 40000) AS n",
        )


_CATALOG = """
    SELECT c.relname::text, pg_get_indexdef(i.indexrelid), i.indisvalid::text FROM pg_index i
    JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace s ON s.oid = c.relnamespace
    WHERE s.nspname = 'public' AND c.relname NOT LIKE 'online_migrate%'
    UNION ALL
    SELECT conrelid::regclass::text, conname || pg_get_constraintdef(oid), convalidated::text
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text IN ('t', 'p')
    UNION ALL
    SELECT attrelid::regclass::text, attname::text, attnotnull::text FROM pg_attribute
    WHERE attrelid IN ('t'::regclass, 'parted'::regclass) AND attnum > 0
    ORDER BY 1, 2
"""


def catalog(database: Database) -> list[tuple[object, ...]]:
    """Returns the definitions of the tables."""
    if database.server.product == "postgresql":
        return rows(database.engine, _CATALOG)
    tables = ("t", "v", "u", "p")
    found: list[tuple[object, ...]] = []
    present = sa.inspect(database.engine).get_table_names()
    for table in tables:
        if table in present:
            found += rows(database.engine, f"SHOW CREATE TABLE {table}")
    return found


def body_of(database: Database) -> str:
    return CONCURRENT if database.server.product == "postgresql" else TWELVE


def boundaries(statements: tuple[str, ...]) -> list[int]:
    """Returns the numbers of the statements of the script, and those behind them."""
    own = [n for n, s in enumerate(statements, start=1) if _is_of_script(s)]
    return sorted({*own, *(n + 1 for n in own)})


def _is_of_script(statement: str) -> bool:
    verbs = ("CREATE", "ALTER", "DROP", "UPDATE", "RENAME")
    ours = ("online_migrate", "alembic_version")
    return statement.startswith(verbs) and not any(name in statement for name in ours)


@EACH
@pytest.mark.needs("row_locks")
def test_client_killed_at_every_boundary(server: Server, tmp_path: Path) -> None:
    """Killed before and after each statement, the next run ends in the same schema, with an empty journal."""
    with server.fresh_database(tmp_path, "kills") as database:
        prepare(database)
        with Project.create(tmp_path / "reference", database.url) as project:
            project.expand_declared(body_of(database))
            reference = schema.run(project, "expand")
            assert reference.code == 0, reference.output
            expected = catalog(database)
    kills = boundaries(reference.statements)
    assert len(kills) >= 13
    for number in kills:
        where = f"killed before {number}: {reference.statements[number - 1]}"
        with server.fresh_database(tmp_path, "kills") as database:
            prepare(database)
            with Project.create(tmp_path / f"p{number}", database.url) as project:
                project.expand_declared(body_of(database))
                killed = schema.run(project, "expand", die_at=number)
                assert killed.code == -9, f"{where}\n{killed.output}"
                resumed = schema.run(project, "expand")
                assert resumed.code == 0, f"{where}\n{resumed.output}"
                assert catalog(database) == expected, where
                assert schema.journal(database) == [], where


# --- the server is killed -------------------------------------------------------------------------

KILLED_SERVERS = {
    "mariadb": ("CREATE INDEX ix_n", "ALTER TABLE t CHANGE b c", "ALTER TABLE u ADD COLUMN k"),
    "mysql": ("CREATE INDEX ix_n", "ALTER TABLE t CHANGE b c", "ALTER TABLE u ADD COLUMN k"),
    "postgresql": (
        "CREATE INDEX CONCURRENTLY ix_n",
        "ALTER TABLE t ADD CONSTRAINT uq",
        "CREATE INDEX CONCURRENTLY parted_1_a_idx",
    ),
}


@EACH
@pytest.mark.needs("row_locks")
def test_server_killed_at_a_boundary(server: Server, tmp_path: Path) -> None:
    """kill -9 of the server right before a statement; the next run ends in the same schema."""
    with Throwaway(server.name) as private:
        database = private.database
        with emptied(database), Project.create(tmp_path / "reference", database.url) as project:
            project.expand_declared(body_of(database))
            assert schema.run(project, "expand").code == 0
            expected = catalog(database)
        for number, beginning in enumerate(KILLED_SERVERS[server.product]):
            with emptied(database), Project.create(tmp_path / f"p{number}", database.url) as project:
                project.expand_declared(body_of(database))
                with before_sending(beginning, private.kill), pytest.raises(OnlineMigrateError):
                    project.apply_expand()
                private.start()
                database.engine.dispose()
                done = schema.run(project, "expand")
                assert done.code == 0, f"{beginning}\n{done.output}"
                assert schema.journal(database) == []
                assert catalog(database) == expected, beginning


@EACH
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.needs("row_locks")
def test_server_killed_at_every_boundary(server: Server, tmp_path: Path) -> None:
    """kill -9 of the server before each statement, and after it, before it is recorded as done."""
    with Throwaway(server.name) as private:
        database = private.database
        sent: list[str] = []
        with emptied(database), Project.create(tmp_path / "reference", database.url) as project:
            project.expand_declared(body_of(database))
            with sending(lambda number, text, moment: sent.append(f"{moment} {number}: {text}")):
                project.apply_expand()
            expected = catalog(database)
        assert len(sent) >= 2 * 12, sent
        for where in sent:
            with (
                emptied(database),
                Project.create(tmp_path / where.partition(":")[0], database.url) as project,
            ):
                project.expand_declared(body_of(database))

                def kill(number: int, text: str, moment: str, where: str = where) -> None:
                    if f"{moment} {number}: {text}" == where:
                        private.kill()

                with sending(kill), pytest.raises(OnlineMigrateError):
                    project.apply_expand()
                private.start()
                database.engine.dispose()
                done = schema.run(project, "expand")
                assert done.code == 0, f"{where}\n{done.output}"
                assert schema.journal(database) == [], where
                assert catalog(database) == expected, where


@contextlib.contextmanager
def before_sending(beginning: str, happening: Callable[[], None]) -> Iterator[None]:
    """Inside the block *happening* is called before the first statement that starts with *beginning*."""
    found: list[str] = []

    def listen(number: int, statement: str, moment: str) -> None:
        if not found and moment == "before" and statement.startswith(beginning):
            found.append(statement)
            happening()

    with sending(listen):
        yield
    assert found, f"there was no {beginning}"


@contextlib.contextmanager
def sending(listen: Callable[[int, str, str], None]) -> Iterator[None]:
    """Inside the block *listen* is called ``before`` and ``after`` each statement of a script is sent.

    It gets the number of the statement, counted from 1, its text, and the moment.
    """
    send = Executor._send
    numbers = itertools.count(1)

    def listened(self: Executor, statement: str, *more: Any) -> None:
        number = next(numbers)
        listen(number, statement, "before")
        send(self, statement, *more)
        listen(number, statement, "after")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Executor, "_send", listened)
        yield


@contextlib.contextmanager
def emptied(database: Database) -> Iterator[None]:
    """Inside the block the database has the tables of the scripts, and nothing else."""
    database.drop()
    database.create()
    prepare(database)
    yield
    database.engine.dispose()


# --- the script is edited ---------------------------------------------------------------------------

FIRST = 'op.add_column("t", sa.Column("n", sa.Integer))'
SECOND = 'op.create_index("ix_n", "t", ["n"])'
THIRD = 'op.add_column("t", sa.Column("m", sa.Integer))'
LAST = 'op.create_index("ix_m", "t", ["m"])'
EDITS = {
    "changed": ((FIRST, SECOND.replace('["n"]', '["n", "a"]'), THIRD, LAST), "statement 2 is now"),
    "inserted": ((FIRST, 'op.add_column("t", sa.Column("x", sa.Integer))', SECOND, THIRD, LAST), "2 is now"),
    "removed": ((FIRST, THIRD, LAST), "is missing or comes later"),
    "removed_with_the_rest": ((FIRST,), "is missing"),
    "reordered": ((SECOND, FIRST, THIRD, LAST), "is missing or comes later"),
}


def killed_before_the_last(project: Project) -> Path:
    """Applies FIRST, SECOND and THIRD, and is killed; returns the script."""
    revision = project.expand("\n".join((FIRST, SECOND, THIRD, LAST)))
    begin = "CREATE INDEX CONCURRENTLY ix_m" if project.url.startswith("postgresql") else "CREATE INDEX ix_m"
    assert schema.run(project, "expand", die_at=begin).code == -9
    return next(project.scripts.glob(f"expand/*_{revision}.py"))


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    prepare(database)
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


@EACH
@pytest.mark.needs("row_locks")
@pytest.mark.parametrize(("edited", "change"), EDITS.values(), ids=EDITS)
def test_edit_of_what_was_executed_is_refused(
    project: Project, database: Database, edited: tuple[str, ...], change: str
) -> None:
    """Exit code 3, nothing is executed; with the restored script the revision is completed."""
    script = killed_before_the_last(project)
    original = script.read_text()
    script.write_text(original.replace("\n    ".join((FIRST, SECOND, THIRD, LAST)), "\n    ".join(edited)))
    assert script.read_text() != original
    before = catalog(database)
    refused = schema.run(project, "expand")
    assert refused.code == 3, refused.output
    assert change in refused.err
    assert catalog(database) == before
    script.write_text(original)
    done = schema.run(project, "expand")
    assert done.code == 0, done.output
    assert schema.journal(database) == []


@EACH
@pytest.mark.needs("row_locks")
def test_edit_of_what_follows_is_accepted(project: Project, database: Database) -> None:
    """A comment, and a statement that was not executed."""
    script = killed_before_the_last(project)
    script.write_text(script.read_text().replace(LAST, f"# shorter\n    {LAST.replace('ix_m', 'ix_short')}"))
    done = schema.run(project, "expand")
    assert done.code == 0, done.output
    names = {index["name"] for index in sa.inspect(database.engine).get_indexes("t")}
    assert "ix_short" in names
    assert "ix_m" not in names


@EACH
@pytest.mark.needs("row_locks")
def test_script_that_asks_the_database_may_send_other_statements(
    project: Project, database: Database
) -> None:
    """It finds what it has created, and does not create it again."""
    conditional = (
        'if "n" not in [c["name"] for c in sa.inspect(op.get_bind()).get_columns("t")]:\n        ' + FIRST
    )
    revision = project.expand(f"{conditional}\n{SECOND}\n{THIRD}\n{LAST}".replace("\n        ", "\n    "))
    begin = "CREATE INDEX CONCURRENTLY ix_m" if project.url.startswith("postgresql") else "CREATE INDEX ix_m"
    assert schema.run(project, "expand", die_at=begin).code == -9
    script = next(project.scripts.glob(f"expand/*_{revision}.py"))
    script.write_text(script.read_text().replace("ix_m", "ix_short"))
    done = schema.run(project, "expand")
    assert done.code == 0, done.output
