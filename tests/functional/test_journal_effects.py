"""An interrupted statement counts as done if its own effects are in the catalog.

Changes that other sessions made after the interruption do not change the verdict.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.ddl.executor import Executor
from online_migrate.ddl.statement_effects import StatementEffects
from online_migrate.exceptions import (
    CannotRecord,
    NothingAsked,
    NotUnderLock,
    OnlineMigrateError,
    RevisionFailed,
    RevisionIdTooLong,
    StatementUndecided,
)
from online_migrate.sql.catalog_effects.effect import Verdict
from online_migrate.state import Entry
from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Process, Project, declared

OTHER = "CREATE INDEX ix_other ON {t} (c)"
"""The change that another session makes to the table between the interruption and the next run."""


class Killed(BaseException):
    """Simulates the end of the process: no code after the raising statement runs."""


@contextlib.contextmanager
def killed(moment: str, beginning: str) -> Iterator[None]:
    """Inside the block a run ends "before" or "after" the server has executed a statement.

    The journal records the statement as started and not as done.
    """
    send = Executor._send

    def send_and_die(self: Executor, statement: str, forms: Sequence[str], how: Callable[[str], Any]) -> None:
        hit = statement.startswith(beginning)
        if not hit or moment == "after":
            send(self, statement, forms, how)
        if hit:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Executor, "_send", send_and_die)
        with pytest.raises(BaseException) as ended:  # noqa: PT011 - an autocommit block ends with another error
            yield
    reasons: list[BaseException | None] = [ended.value]
    while reasons[-1] is not None:
        reasons.append(reasons[-1].__context__)
    assert any(isinstance(reason, Killed) for reason in reasons), ended.value


@dataclasses.dataclass(frozen=True)
class Case:
    """A statement, the setup before it, and the change of another session before or after it."""

    statement: str
    setup: tuple[str, ...] = ()
    before: str = OTHER
    after: str = OTHER


TABLE = "CREATE TABLE {t} (id INT PRIMARY KEY, a INT, b INT, c INT)"
CASES = {
    "add_column": Case("ALTER TABLE {t} ADD COLUMN n BIGINT NOT NULL DEFAULT 5"),
    "add_column_and_index": Case(
        "ALTER TABLE {t} ADD COLUMN n VARCHAR(20) DEFAULT 'x' COMMENT 'new', ADD INDEX ix_n (n, a)"
    ),
    "add_boolean": Case("ALTER TABLE {t} ADD COLUMN n BOOL NOT NULL DEFAULT false"),
    "add_decimal": Case("ALTER TABLE {t} ADD COLUMN n NUMERIC(10, 2), ADD COLUMN m DOUBLE PRECISION"),
    "add_timestamp": Case("ALTER TABLE {t} ADD COLUMN n TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP"),
    "add_enum": Case("ALTER TABLE {t} ADD COLUMN n ENUM('x','y') NOT NULL, ADD COLUMN m JSON"),
    "add_text": Case("ALTER TABLE {t} ADD COLUMN n TEXT, ADD COLUMN m DATETIME(6) FIRST"),
    "add_generated": Case("ALTER TABLE {t} ADD COLUMN n INT GENERATED ALWAYS AS (a + 1) STORED"),
    "drop_column": Case("ALTER TABLE {t} DROP COLUMN b"),
    "drop_and_add": Case("ALTER TABLE {t} DROP COLUMN b, ADD COLUMN n INTEGER"),
    "add_index": Case("ALTER TABLE {t} ADD INDEX ix_a (a)"),
    "add_index_without_a_name": Case("ALTER TABLE {t} ADD INDEX (a)"),
    "create_index": Case("CREATE UNIQUE INDEX uq_a ON {t} (a, b)"),
    "add_unique": Case("ALTER TABLE {t} ADD CONSTRAINT uq UNIQUE (a)"),
    "drop_index": Case("DROP INDEX ix_b ON {t}", ("CREATE INDEX ix_b ON {t} (b)",)),
    "alter_drop_index": Case("ALTER TABLE {t} DROP INDEX ix_b", ("CREATE INDEX ix_b ON {t} (b)",)),
    "replace_index": Case(
        "ALTER TABLE {t} DROP INDEX ix_b, ADD INDEX ix_b (a)", ("CREATE INDEX ix_b ON {t} (b)",)
    ),
    "rename_index": Case("ALTER TABLE {t} RENAME INDEX ix_b TO ix_z", ("CREATE INDEX ix_b ON {t} (b)",)),
    "rename_column": Case("ALTER TABLE {t} RENAME COLUMN a TO z"),
    "change": Case("ALTER TABLE {t} CHANGE a z BIGINT NULL"),
    "change_key": Case("ALTER TABLE {t} CHANGE id new_id INTEGER"),
    "change_type": Case("ALTER TABLE {t} CHANGE a a BIGINT"),
    "modify": Case("ALTER TABLE {t} MODIFY a BIGINT NOT NULL"),
    "modify_comment": Case("ALTER TABLE {t} MODIFY a INT COMMENT 'it''s new'"),
    "set_default": Case("ALTER TABLE {t} ALTER COLUMN a SET DEFAULT 7"),
    "drop_default": Case(
        "ALTER TABLE {t} ALTER COLUMN a DROP DEFAULT", ("ALTER TABLE {t} ALTER a SET DEFAULT 3",)
    ),
    "add_check": Case("ALTER TABLE {t} ADD CONSTRAINT {t}_ck CHECK (a > 0)"),
    "drop_check": Case(
        "ALTER TABLE {t} DROP CONSTRAINT {t}_ck", ("ALTER TABLE {t} ADD CONSTRAINT {t}_ck CHECK (a > 0)",)
    ),
    "add_foreign_key": Case(
        "ALTER TABLE {t} ADD CONSTRAINT {t}_fk FOREIGN KEY(a) REFERENCES {t}_p (id) ON DELETE CASCADE",
        ("CREATE TABLE {t}_p (id INT PRIMARY KEY)",),
    ),
    "drop_foreign_key": Case(
        "ALTER TABLE {t} DROP FOREIGN KEY {t}_fk",
        (
            "CREATE TABLE {t}_p (id INT PRIMARY KEY)",
            "ALTER TABLE {t} ADD CONSTRAINT {t}_fk FOREIGN KEY (a) REFERENCES {t}_p (id)",
        ),
    ),
    "drop_primary_key": Case("ALTER TABLE {t} DROP PRIMARY KEY"),
    "replace_primary_key": Case("ALTER TABLE {t} DROP PRIMARY KEY, ADD PRIMARY KEY (id, c)"),
    "create_table": Case("CREATE TABLE {t}_new (id INT PRIMARY KEY, x INT)"),
    "drop_table": Case("DROP TABLE {t}", (), OTHER, "CREATE TABLE {t}_unrelated (id INT PRIMARY KEY)"),
    "drop_table_if_exists": Case("DROP TABLE IF EXISTS {t}_never"),
    "create_trigger": Case("CREATE TRIGGER {t}_tr BEFORE INSERT ON {t} FOR EACH ROW SET NEW.a = 1"),
    "create_trigger_with_body": Case(
        "CREATE TRIGGER {t}_tr BEFORE INSERT ON {t} FOR EACH ROW BEGIN SET NEW.a = 1; SET NEW.b = 2; END"
    ),
    "drop_trigger": Case(
        "DROP TRIGGER {t}_tr", ("CREATE TRIGGER {t}_tr BEFORE INSERT ON {t} FOR EACH ROW SET NEW.a = 1",)
    ),
    "create_view": Case("CREATE VIEW {t}_v AS SELECT id, a FROM {t}"),
    "drop_view": Case("DROP VIEW {t}_v", ("CREATE VIEW {t}_v AS SELECT id, a FROM {t}",)),
    "rename_table": Case("RENAME TABLE {t} TO {t}_new", after="CREATE INDEX ix_other ON {t}_new (c)"),
    "alter_rename": Case("ALTER TABLE {t} RENAME TO {t}_new", after="CREATE INDEX ix_other ON {t}_new (c)"),
    "swap_tables": Case(
        "RENAME TABLE {t} TO {t}_old, {t}_new TO {t}", ("CREATE TABLE {t}_new (id INT PRIMARY KEY, c INT)",)
    ),
    "comment": Case("ALTER TABLE {t} COMMENT = 'about'"),
}
"""Cases for MySQL and MariaDB, where every statement commits implicitly."""


def described(database: Database) -> list[str]:
    """Returns the schema, one line per object, without Alembic's table and the session's sql_mode."""
    lines = schema.catalog(database).replace("STRICT_ALL_TABLES,", "").splitlines()
    return [line for line in lines if "alembic_version" not in line]


def expand_with(project: Project, statement: str) -> None:
    """Adds an expand script with this statement."""
    project.expand(f"op.execute(sa.text({statement!r}))", additive=declared(statement))


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project without scripts."""
    with Project.create(tmp_path / "project", database.url, lock_timeout=0.5) as project:
        yield project


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_journal_interrupted_statement_is_neither_lost_nor_repeated(
    project: Project, database: Database, server: Server, tmp_path: Path, moment: str
) -> None:
    """Interrupts each kind of statement before and after its execution; the table changes in between."""
    with server.fresh_database(tmp_path, "twin") as twin:
        for number, (name, case) in enumerate(CASES.items()):
            table = f"t{number}"
            statement = case.statement.format(t=table)
            prepare = [text.format(t=table) for text in (TABLE, *case.setup)]
            other = (case.before if moment == "before" else case.after).format(t=table)
            schema.run_all(database, *prepare)
            schema.run_all(
                twin, *prepare, *((other, statement) if moment == "before" else (statement, other))
            )
            expand_with(project, statement)
            with killed(moment, statement[:30]):
                project.apply_expand()
            schema.run_all(database, other)
            try:
                project.apply_expand()
            except OnlineMigrateError as error:
                pytest.fail(f"{name}: {error}")
            assert schema.journal(database) == [], name
        views = "SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE()"
        assert sorted(schema.query_all(database, views)) == sorted(schema.query_all(twin, views))
        assert described(database) == described(twin)


UNDECIDED = {
    "modify_to_the_same_type": ("ALTER TABLE t MODIFY a INT", ()),
    "create_or_replace_view": (
        "CREATE OR REPLACE VIEW v AS SELECT id FROM t",
        ("CREATE VIEW v AS SELECT a FROM t",),
    ),
    "call": ("CALL p()", ("CREATE PROCEDURE p() INSERT INTO t (id) VALUES (42)",)),
    "rebuild": ("ALTER TABLE t FORCE", ()),
    "partitions": ("ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 2", ()),
    "truncate": ("TRUNCATE TABLE t", ("INSERT INTO t (id) VALUES (7)",)),
}


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize("name", list(UNDECIDED))
@pytest.mark.parametrize("answer", [True, False])
def test_journal_undecided_statement_is_refused_until_the_operator_answers(
    project: Project, database: Database, name: str, answer: bool
) -> None:
    """The refusal names both answers.

    The answer applies to that statement only, and the revision continues.
    """
    statement, setup = UNDECIDED[name]
    schema.run_all(database, TABLE.format(t="t"), *setup)
    project.expand(
        f"op.execute(sa.text({statement!r}))\nop.add_column('t', sa.Column('next', sa.Integer))",
        "e1",
        additive=declared(statement),
    )
    with pytest.raises(NothingAsked):
        command.expand(project.site(), statement_done=answer)
    with killed("before", statement):
        project.apply_expand()
    schema.run_all(database, OTHER.format(t="t"))
    catalog = schema.catalog(database)
    for _again in range(2):
        with pytest.raises(StatementUndecided) as refusal:
            project.apply_expand()
        assert refusal.value.exit_code == 3
        assert "online-migrate expand --statement-done" in str(refusal.value.hint)
        assert "online-migrate expand --statement-not-done" in str(refusal.value.hint)
    assert schema.catalog(database) == catalog
    sent: list[str] = []
    with recording_statements(sent):
        assert command.expand(project.site(), statement_done=answer) == ["e1"]
    assert (statement in sent) is not answer
    assert "next" in schema.shape(database)["t"]["columns"]
    assert schema.journal(database) == []
    with pytest.raises(NothingAsked):
        command.expand(project.site(), statement_done=answer)


@contextlib.contextmanager
def recording_statements(sent: list[str]) -> Iterator[None]:
    """Inside the block, the statements of revisions that are sent are appended to *sent*."""
    send = Executor._send

    def note_and_send(
        self: Executor, statement: str, forms: Sequence[str], how: Callable[[str], Any]
    ) -> None:
        sent.append(statement)
        send(self, statement, forms, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Executor, "_send", note_and_send)
        yield


@pytest.mark.needs("lock_tables")
def test_journal_partial_effects_of_another_session_are_undecided(
    project: Project, database: Database
) -> None:
    """One of two effects is present, the other is not: no execution of the statement explains that."""
    schema.run_all(database, TABLE.format(t="t"))
    project.expand("op.execute('ALTER TABLE t ADD COLUMN n INT, ADD INDEX ix_a (a)')", "e1")
    with killed("before", "ALTER TABLE t"):
        project.apply_expand()
    schema.run_all(database, "CREATE INDEX ix_a ON t (a)")
    with pytest.raises(StatementUndecided, match=r"column n of t: .* not in effect; index ix_a of t"):
        project.apply_expand()
    schema.run_all(database, "DROP INDEX ix_a ON t")
    with pytest.raises(NothingAsked):
        command.expand(project.site(), statement_done=True)
    assert project.apply_expand() == ["e1"]
    assert "n" in schema.shape(database)["t"]["columns"]


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_journal_entry_of_an_older_version_is_decided_by_the_statement_text(
    project: Project, database: Database, moment: str
) -> None:
    """Such an entry holds a fingerprint of the table and no effects."""
    schema.run_all(database, TABLE.format(t="t"))
    project.expand("op.execute('ALTER TABLE t ADD COLUMN n INT')", "e1")
    modify = "ALTER TABLE t MODIFY a INT"
    project.expand(f"op.execute({modify!r})", "e2", additive=declared(modify))
    with killed(moment, "ALTER TABLE t ADD"):
        project.apply_expand()
    outdate = f"UPDATE online_migrate_journal SET before_text = '{'0' * 64}' WHERE digest <> '*'"
    schema.run_all(database, outdate, OTHER.format(t="t"))
    assert project.apply_expand("e1") == ["e1"]
    assert "n" in schema.shape(database)["t"]["columns"]
    with killed(moment, "ALTER TABLE t MODIFY"):
        project.apply_expand()
    schema.run_all(database, outdate)
    with pytest.raises(StatementUndecided):
        project.apply_expand()
    assert command.expand(project.site(), statement_done=True) == ["e2"]


@pytest.mark.needs("lock_tables")
def test_journal_insert_into_a_non_transactional_table_is_undecided(
    project: Project, database: Database
) -> None:
    """No journal entry commits with the rows; an interrupted INSERT is neither repeated nor skipped."""
    schema.run_all(database, TABLE.format(t="t") + " ENGINE=MyISAM")
    project.expand("op.execute('INSERT INTO t (id) VALUES (1)')", "e1", additive=declared("change-rows t"))
    with killed("after", "INSERT"):
        project.apply_expand()
    with pytest.raises(StatementUndecided):
        project.apply_expand()
    assert command.expand(project.site(), statement_done=True) == ["e1"]
    assert schema.query_all(database, "SELECT id FROM t") == [(1,)]


@pytest.mark.needs("lock_tables")
def test_journal_statement_rejected_by_the_server_is_not_undecided(
    project: Project, database: Database
) -> None:
    """The catalog does not show the effect of the statement, but the error proves that it had none."""
    schema.run_all(database, TABLE.format(t="t"))
    project.expand(
        "op.execute('ALTER TABLE nowhere FORCE')", "e1", additive=declared("ALTER TABLE nowhere FORCE")
    )
    for _again in range(2):
        with pytest.raises(RevisionFailed, match="nowhere"):
            project.apply_expand()
    assert schema.journal(database) == []


@pytest.mark.needs("lock_tables")
def test_journal_locked_definition_is_not_reported_as_missing(project: Project, database: Database) -> None:
    """Another session rebuilds the table under an exclusive lock while the catalog is read."""
    schema.run_all(database, TABLE.format(t="t"), "INSERT INTO t (id, a) VALUES (0, 0)")
    schema.run_all(database, *(f"INSERT INTO t (id, a) SELECT id + {2**i}, id FROM t" for i in range(10)))
    project.expand("op.execute('ALTER TABLE t DROP COLUMN b')", "e1", additive=declared("drop-column t.b"))
    with killed("before", "ALTER TABLE t DROP"):
        project.apply_expand()
    # The rebuild takes some seconds for a thousand rows.
    rebuild = "ALTER TABLE t ADD COLUMN g CHAR(128) AS (SHA2(REPEAT('x', 200000 + a), 512)) STORED"
    thread = threading.Thread(
        target=schema.run_all, args=(database, f"{rebuild}, ALGORITHM=COPY, LOCK=EXCLUSIVE")
    )
    verdict = StatementEffects.verdict
    query = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND state LIKE 'copy%'"

    def locked_verdict(self: StatementEffects, entry: Entry) -> Verdict:
        if thread.ident is None:
            thread.start()
        while thread.is_alive() and not schema.query_all(database, query):
            time.sleep(0.01)
        return verdict(self, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StatementEffects, "verdict", locked_verdict)
        assert project.apply_expand() == ["e1"]
    thread.join()
    assert {"b", "g"} & set(schema.shape(database)["t"]["columns"]) == {"g"}


# --- statements that are killed on the server ----------------------------------------------------

WAITING = {
    "add_column": "ALTER TABLE t ADD COLUMN n INT",
    "drop_index": "DROP INDEX ix_b ON t",
    "create_trigger": "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
    "rename": "RENAME TABLE t TO u",
    "drop_table": "DROP TABLE t",
}
SENT = WAITING | {"drop_index": "ALTER TABLE t DROP INDEX ix_b"}
"""The beginning of the statement that the server shows: MariaDB accepts no ALGORITHM in a DROP INDEX."""


def waiting_session(database: Database, beginning: str) -> int:
    """Returns the id of the session whose statement waits for a lock."""
    query = (
        "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE :text "
        "AND state LIKE 'Waiting for table metadata lock%'"
    )
    end = time.monotonic() + 60
    while time.monotonic() < end:
        rows = schema.query_all(database, query, text=f"{beginning}%")
        if rows:
            return int(rows[0][0])
        time.sleep(0.05)
    raise AssertionError(f"{beginning} never waited")


def kill_waiting_statement(database: Database, beginning: str, kill: str, process: Process) -> None:
    """Kills the statement while it waits, until the process ends: the engine cancels it soon by itself."""
    query = sa.text(
        "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE :text "
        "AND state LIKE 'Waiting for table metadata lock%'"
    )
    with schema.session(database) as dba:
        while process.running:
            for session in dba.scalars(query, {"text": f"{beginning}%"}).all():
                with contextlib.suppress(sa.exc.DBAPIError):  # the session has ended by itself
                    dba.exec_driver_sql(f"{kill} {session}")
            time.sleep(0.001)


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize("kill", ["KILL", "KILL QUERY"])
def test_journal_waiting_statement_killed_by_a_dba_is_sent_again(
    server: Server, tmp_path: Path, kill: str
) -> None:
    """Another session changes the table, then the same command runs again: the change is made."""
    for name, statement in WAITING.items():
        with (
            server.fresh_database(tmp_path, "waits") as database,
            Project.create(tmp_path / f"{name}", database.url, lock_timeout=60) as project,
        ):
            schema.run_all(database, TABLE.format(t="t"), "CREATE INDEX ix_b ON t (b)")
            expand_with(project, statement)
            with schema.session(database) as reader:
                reader.exec_driver_sql("SELECT * FROM t").all()
                process = project.start("expand")
                kill_waiting_statement(database, SENT[name][:20], kill, process)
                ran = process.wait()
                assert ran.code == 2, (name, ran)
            schema.run_all(database, OTHER.format(t="t"))
            expected = schema.run(project, "expand")
            assert expected.code == 0, (name, expected.output)
            shape = schema.shape(database)
            assert NOW_THERE[name](shape, schema.triggers(database)), (name, shape)
            assert schema.journal(database) == []


NOW_THERE: dict[str, Callable[[dict[str, Any], list[str]], bool]] = {
    "add_column": lambda shape, triggers: "n" in shape["t"]["columns"],
    "drop_index": lambda shape, triggers: [index[0] for index in shape["t"]["indexes"]] == ["ix_other"],
    "create_trigger": lambda shape, triggers: triggers == ["tr"],
    "rename": lambda shape, triggers: "u" in shape and "t" not in shape,
    "drop_table": lambda shape, triggers: "t" not in shape,
}


@pytest.mark.needs("lock_tables")
def test_journal_alter_of_a_killed_client_is_not_repeated(project: Project, database: Database) -> None:
    """Sends kill -9 to the client; its ALTER gets its lock, and the server executes it or not."""
    schema.run_all(database, TABLE.format(t="t"))
    with Project.create(project.folder / "patient", database.url, lock_timeout=60) as long_timeout:
        long_timeout.expand("op.execute('ALTER TABLE t ADD COLUMN n INT, ADD COLUMN m INT')", "e1")
        with schema.session(database) as reader:
            reader.exec_driver_sql("SELECT * FROM t").all()
            process = long_timeout.start("expand")
            waiting_session(database, "ALTER TABLE t")
            process.signal(signal.SIGKILL)
            process.wait()
        while schema.query_all(
            database,
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE 'ALTER%'",
        ):
            time.sleep(0.05)
        schema.run_all(database, OTHER.format(t="t"))
        assert long_timeout.apply_expand() == ["e1"]
        assert {"n", "m"} <= set(schema.shape(database)["t"]["columns"])
        assert schema.journal(database) == []


@pytest.mark.needs("lock_tables")
def test_journal_index_dropped_as_hinted_does_not_count_as_the_dropped_column(
    database: Database, tmp_path: Path
) -> None:
    """In contract, DROP COLUMN was interrupted and the index on the column dropped by hand.

    The column is dropped.
    """
    contract = schema.drop_in_step(database.server.product) + 'op.drop_column("volumes", "size_gb")\n'
    with schema.volumes(tmp_path / "project", database, contract=contract) as project:
        schema.ready(project, database)
        with pytest.raises(NotUnderLock):
            command.contract(project.site())
        schema.run_all(database, "DROP INDEX ix_volumes_size_gb ON volumes")
        with killed("before", "ALTER TABLE volumes DROP"):
            command.contract(project.site())
        schema.run_all(database, "CREATE INDEX ix_other ON volumes (note)")
        assert command.contract(project.site()).revisions == ("c2",)
        assert "size_gb" not in schema.shape(database)["volumes"]["columns"]
        assert schema.triggers(database) == []


@pytest.mark.needs("lock_tables")
def test_contract_undecided_statement_is_refused_until_the_operator_answers(
    database: Database, tmp_path: Path
) -> None:
    """Exit code 3 with the two commands, then the answer on the command line."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand("pass", "e1")
        project.contract("op.execute('ALTER TABLE t MODIFY a INT')\nop.drop_column('t', 'b')", "c1")
        schema.run_all(database, TABLE.format(t="t"))
        project.apply_expand()
        with killed("after", "ALTER TABLE t MODIFY"):
            command.contract(project.site())
        ran = project.run("contract")
        assert ran.code == 3, ran
        assert "online-migrate contract --statement-done" in " ".join(ran.complaint)
        assert project.run("contract", "--statement-done").code == 0
        assert "b" not in schema.shape(database)["t"]["columns"]


# --- PostgreSQL: statements in an autocommit block -----------------------------------------------

POSTGRESQL = {
    "create_index": Case("CREATE INDEX CONCURRENTLY ix_a ON {t} (a)"),
    "create_index_if_not_exists": Case(
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS uq ON {t} (a, lower(d))"
    ),
    "drop_index": Case("DROP INDEX CONCURRENTLY ix_{t}", ("CREATE INDEX ix_{t} ON {t} (b)",)),
    "add_value": Case("ALTER TYPE mood_{t} ADD VALUE 'new'", ("CREATE TYPE mood_{t} AS ENUM ('old')",)),
    "add_column": Case('ALTER TABLE {t} ADD COLUMN "N" bigint NOT NULL DEFAULT 5'),
    "drop_column": Case("ALTER TABLE {t} DROP COLUMN b"),
    "change_type": Case("ALTER TABLE {t} ALTER COLUMN a TYPE bigint"),
    "set_not_null": Case("ALTER TABLE {t} ALTER COLUMN a SET NOT NULL"),
    "validate": Case(
        "ALTER TABLE {t} VALIDATE CONSTRAINT ck",
        ("ALTER TABLE {t} ADD CONSTRAINT ck CHECK (a > 0) NOT VALID",),
    ),
    "add_foreign_key": Case(
        "ALTER TABLE {t} ADD CONSTRAINT fk FOREIGN KEY(a) REFERENCES {t}_p (id) NOT VALID",
        ("CREATE TABLE {t}_p (id INT PRIMARY KEY)",),
    ),
    "create_trigger": Case(
        "CREATE TRIGGER tr BEFORE UPDATE ON {t} "
        "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "rename_table": Case("ALTER TABLE {t} RENAME TO {t}_new", after="CREATE INDEX {t}_other ON {t}_new (c)"),
    "create_table": Case("CREATE TABLE {t}_new (id INT PRIMARY KEY, x INT)"),
    "create_view": Case("CREATE VIEW {t}_v AS SELECT id FROM {t}"),
    "create_function": Case("CREATE FUNCTION f_{t}() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$"),
}


@pytest.mark.needs("transactional_ddl", "many_writers")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_journal_interrupted_statement_of_an_autocommit_block(
    project: Project, database: Database, server: Server, tmp_path: Path, moment: str
) -> None:
    """CREATE INDEX CONCURRENTLY and the like have a journal entry of their own and follow the same rule."""
    with server.fresh_database(tmp_path, "twin") as twin:
        for number, (name, case) in enumerate(POSTGRESQL.items()):
            table = f"t{number}"
            statement = (
                case.statement.format(t=table).replace("uq", f"uq_{table}").replace("ix_a", f"ix_{table}_a")
            )
            create = TABLE.replace("c INT", "c INT, d TEXT")
            prepare = [text.format(t=table) for text in (create, *case.setup)]
            other = (case.before if moment == "before" else case.after).format(t=table)
            other = other.replace("ix_other", f"{table}_other")
            schema.run_all(database, *prepare)
            schema.run_all(twin, *prepare)
            autocommit(twin, *((other, statement) if moment == "before" else (statement, other)))
            project.expand(
                f"with op.get_context().autocommit_block():\n    op.execute({statement!r})",
                additive=declared(statement),
            )
            with killed(moment, statement[:30]):
                project.apply_expand()
            schema.run_all(database, other)
            try:
                project.apply_expand()
            except OnlineMigrateError as error:
                pytest.fail(f"{name}: {error}")
            assert schema.journal(database) == [], name
        assert described(database) == described(twin)


def autocommit(database: Database, *statements: str) -> None:
    """Runs each statement in its own transaction."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_journal_index_left_invalid_by_a_killed_build_is_rebuilt(
    project: Project, database: Database
) -> None:
    """The session ends while the build waits for an older transaction: exit code 2, then a rebuild."""
    schema.run_all(database, TABLE.format(t="t"))
    create = "CREATE INDEX CONCURRENTLY ix_a ON t (a)"
    project.expand(f"with op.get_context().autocommit_block():\n    op.execute({create!r})", "e1")
    with schema.session(database) as older:
        older.exec_driver_sql("INSERT INTO t (id) VALUES (1)")
        process = project.start("expand")
        query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_a')"
        while not schema.query_all(database, query):
            assert process.running
            time.sleep(0.05)
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%'"
        schema.query_all(database, f"{end} AND pid <> pg_backend_pid() AND datname = current_database()")
        assert process.wait().code == 2
    assert schema.query_all(database, query) == [(False,)]
    schema.run_all(database, "CREATE INDEX ix_other ON t (c)")
    assert project.apply_expand() == ["e1"]
    assert schema.query_all(database, query) == [(True,)]
    assert schema.journal(database) == []


@pytest.mark.needs("transactional_ddl", "many_writers")
@pytest.mark.parametrize("answer", [True, False])
def test_journal_undecided_statement_of_an_autocommit_block(
    project: Project, database: Database, answer: bool
) -> None:
    """The statement changes a type to the same type, so the catalog is equal before and after."""
    schema.run_all(database, TABLE.format(t="t"))
    alter = "ALTER TABLE t ALTER COLUMN a TYPE integer"
    project.expand(
        f"with op.get_context().autocommit_block():\n    op.execute({alter!r})\n"
        "op.add_column('t', sa.Column('next', sa.Integer))",
        "e1",
    )
    with killed("before", alter):
        project.apply_expand()
    for _again in range(2):
        with pytest.raises(StatementUndecided):
            project.apply_expand()
    sent: list[str] = []
    with recording_statements(sent):
        assert command.expand(project.site(), statement_done=answer) == ["e1"]
    assert (alter in sent) is not answer
    assert "next" in schema.shape(database)["t"]["columns"]
    assert schema.journal(database) == []


# --- a revision that cannot be recorded is not started -------------------------------------------

LONG = "e" * 40


@pytest.mark.needs("typed_columns")
def test_expand_refuses_a_too_long_revision_id_before_the_first_statement(
    project: Project, database: Database
) -> None:
    """Applies also to a later revision of the command. In a wider version column the id is accepted."""
    project.expand("op.execute('CREATE TABLE first (id INT PRIMARY KEY)')", "e1")
    project.expand("op.drop_column('t', 'b')", LONG, additive=declared("drop-column t.b"))
    schema.run_all(database, TABLE.format(t="t"))
    with pytest.raises(RevisionIdTooLong) as refusal:
        project.apply_expand()
    assert refusal.value.exit_code == 3
    assert schema.tables(database) == ["t"]
    project.apply_expand("e1")
    with pytest.raises(RevisionIdTooLong) as refusal:
        project.apply_expand()
    assert "b" in schema.shape(database)["t"]["columns"]
    schema.run_all(database, str(refusal.value.facts["statement"]))
    assert project.apply_expand() == [LONG]
    assert schema.version_rows(database) == [LONG]


def test_contract_refuses_or_records_a_long_revision_id(project: Project, database: Database) -> None:
    """Where the server accepts the id, the revision is applied; otherwise nothing is dropped."""
    project.expand("pass", "e1")
    project.contract("op.execute('DROP TABLE t')", LONG)
    schema.run_all(database, TABLE.format(t="t"))
    project.apply_expand()
    try:
        command.contract(project.site())
    except RevisionIdTooLong:
        assert "t" in schema.tables(database)
    else:
        assert LONG in schema.version_rows(database)


@pytest.mark.needs("kill_session")
def test_expand_stops_before_the_first_statement_if_the_version_table_is_not_writable(
    project: Project, database: Database
) -> None:
    """A constraint stands for a missing privilege: nothing of the revision is done, and then all of it."""
    project.expand("pass", "e1")
    project.expand("op.execute('CREATE TABLE second (id INT PRIMARY KEY)')", "e2")
    project.apply_expand("e1")
    schema.run_all(database, "ALTER TABLE alembic_version ADD CONSTRAINT stay CHECK (version_num <> 'e2')")
    with pytest.raises(CannotRecord, match="e2"):
        project.apply_expand()
    assert "second" not in schema.tables(database)
    assert schema.journal(database) == []
    schema.run_all(database, "ALTER TABLE alembic_version DROP CONSTRAINT stay")
    assert project.apply_expand() == ["e2"]


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_expand_refuses_a_read_only_server_before_an_autocommit_block(
    project: Project, database: Database
) -> None:
    """The block disables read-only for itself and the version row would fail after it, so nothing is sent."""
    schema.run_all(database, TABLE.format(t="t"))
    project.expand("pass", "e1")
    project.expand(
        "with op.get_context().autocommit_block():\n"
        "    op.execute('SET default_transaction_read_only = off')\n"
        "    op.execute('CREATE INDEX CONCURRENTLY ix_a ON t (a)')\n"
        "    op.execute('SET default_transaction_read_only = on')",
        "e2",
        additive=declared("unknown-setting", "create-index-on-long-values"),
    )
    project.apply_expand("e1")
    name = database.engine.url.database
    schema.run_all(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(CannotRecord, match="read-only"):
        project.apply_expand()
    assert schema.shape(database)["t"]["indexes"] == []


@pytest.mark.parametrize("size", [100_000, 2_000_000])
def test_journal_records_a_long_statement(project: Project, database: Database, size: int) -> None:
    """An INSERT and a CREATE TABLE of that length.

    Interrupted after the first of them, no effect occurs twice.
    """
    project.expand(
        f"""
        op.execute(sa.text("CREATE TABLE t (id INT PRIMARY KEY, x TEXT)"))
        op.execute(sa.text("INSERT INTO t (id, x) VALUES (1, 'x'), (2, 'y') /* " + "z" * {size} + " */"))
        op.execute(sa.text("CREATE TABLE u (id INT PRIMARY KEY) /* " + "z" * {size} + " */"))
        op.execute(sa.text("CREATE INDEX ix_u ON u (id)"))
        """,
        "e1",
    )
    assert schema.run(project, "expand", die_at="CREATE INDEX").code == -signal.SIGKILL
    assert project.apply_expand() == ["e1"]
    assert schema.query_all(database, "SELECT id, x FROM t ORDER BY id") == [(1, "x"), (2, "y")]
    assert {"t", "u"} <= set(schema.tables(database))
    assert schema.journal(database) == []
