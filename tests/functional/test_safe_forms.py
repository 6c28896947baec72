"""The plain operation of Alembic is sent in a form that lets the application read and write."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute, rows, scalar

MYSQL = pytest.mark.needs("lock_tables")
POSTGRESQL = pytest.mark.needs("transactional_ddl", "row_locks")
EACH = pytest.mark.each_product

ROWS = 40_000
COLUMNS = "id INTEGER PRIMARY KEY, a INTEGER, b VARCHAR(40), parent INTEGER"
_DIGITS = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
_NUMBERS = {
    "postgresql": f"SELECT n FROM generate_series(0, {ROWS - 1}) AS n",
    "mysql": f"""
        SELECT v.d * 10000 + w.d * 1000 + x.d * 100 + y.d * 10 + z.d AS n
        FROM ({_DIGITS}) v, ({_DIGITS}) w, ({_DIGITS}) x, ({_DIGITS}) y, ({_DIGITS}) z
        WHERE v.d < {ROWS // 10000}
    """,
}
_NUMBERS["mariadb"] = _NUMBERS["mysql"]


def fill(database: Database, table: str) -> None:
    """Inserts :data:`ROWS` rows, with ids from 0."""
    numbers = _NUMBERS[database.server.product]
    text = "'abcdefghijklmnopqrstuvwxyz'"
    execute(database.engine, f"INSERT INTO {table} SELECT n, n, {text}, 1 FROM ({numbers}) AS numbers")


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project on a large table ``big`` and an equal one with a single row, ``small``."""
    execute(
        database.engine,
        "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
        "INSERT INTO parents (id) VALUES (1)",
        f"CREATE TABLE big ({COLUMNS})",
        f"CREATE TABLE small ({COLUMNS})",
        "INSERT INTO small (id, a, parent) VALUES (0, 0, 1)",
    )
    fill(database, "big")
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


def sent(project: Project, *arguments: str, code: int = 0) -> list[str]:
    """Runs a command; returns the statements on the tables of the application that it sent."""
    ran = schema.run(project, *(arguments or ("expand",)))
    assert ran.code == code, ran.output
    words = ("CREATE", "DROP", "ALTER")
    ours = ("online_migrate", "alembic_version")
    return [s.strip() for s in ran.statements if s.startswith(words) and not any(o in s for o in ours)]


def of_table(statements: list[str], table: str) -> list[str]:
    return [s.replace(table, "T") for s in statements if table in s]


# --- PostgreSQL -----------------------------------------------------------------------------------

POSTGRESQL_FORMS = {
    "op.create_index('ix_{t}', '{t}', ['a'])": ["CREATE INDEX CONCURRENTLY ix_T ON T (a)"],
    "op.create_index(None, '{t}', ['a', sa.text('lower(b)')])": [
        "CREATE INDEX CONCURRENTLY ix_T_a ON T (a, lower(b))"
    ],
    "op.create_foreign_key('fk_{t}', '{t}', 'parents', ['parent'], ['id'])": [
        "ALTER TABLE T ADD CONSTRAINT fk_T FOREIGN KEY(parent) REFERENCES parents (id) NOT VALID",
        "ALTER TABLE T VALIDATE CONSTRAINT fk_T",
    ],
    "op.add_column('{t}', sa.Column('p', sa.Integer, sa.ForeignKey('parents.id')))": [
        "ALTER TABLE T ADD COLUMN p INTEGER",
        "ALTER TABLE T ADD CONSTRAINT T_p_fkey FOREIGN KEY(p) REFERENCES parents (id) NOT VALID",
        "ALTER TABLE T VALIDATE CONSTRAINT T_p_fkey",
    ],
    "op.execute('ALTER TABLE ONLY {t} ADD CONSTRAINT ck_{t} CHECK (a >= 0)')": [
        "ALTER TABLE ONLY T ADD CONSTRAINT ck_T CHECK (a >= 0) NOT VALID",
        "ALTER TABLE ONLY T VALIDATE CONSTRAINT ck_T",
    ],
    "op.create_check_constraint('ck_{t}', '{t}', 'a >= 0')": [
        "ALTER TABLE T ADD CONSTRAINT ck_T CHECK (a >= 0) NOT VALID",
        "ALTER TABLE T VALIDATE CONSTRAINT ck_T",
    ],
    "op.create_unique_constraint('uq_{t}', '{t}', ['a'])": [
        "CREATE UNIQUE INDEX CONCURRENTLY uq_T ON T (a)",
        "ALTER TABLE T ADD CONSTRAINT uq_T UNIQUE USING INDEX uq_T",
    ],
    "op.alter_column('{t}', 'a', nullable=False)": [
        "ALTER TABLE T ADD CONSTRAINT T_a_is_not_null CHECK (a IS NOT NULL) NOT VALID",
        "ALTER TABLE T VALIDATE CONSTRAINT T_a_is_not_null",
        "ALTER TABLE T ALTER COLUMN a SET NOT NULL",
        "ALTER TABLE T DROP CONSTRAINT T_a_is_not_null",
    ],
    "op.drop_constraint('{t}_pkey', '{t}'); op.create_primary_key('pk_{t}', '{t}', ['id', 'a'])": [
        "ALTER TABLE T DROP CONSTRAINT T_pkey",
        "ALTER TABLE T ADD CONSTRAINT T_a_is_not_null CHECK (a IS NOT NULL) NOT VALID",
        "ALTER TABLE T VALIDATE CONSTRAINT T_a_is_not_null",
        "ALTER TABLE T ALTER COLUMN a SET NOT NULL",
        "ALTER TABLE T DROP CONSTRAINT T_a_is_not_null",
        "CREATE UNIQUE INDEX CONCURRENTLY pk_T ON T (id, a)",
        "ALTER TABLE T ADD CONSTRAINT pk_T PRIMARY KEY USING INDEX pk_T",
    ],
}
_CATALOG = """
    SELECT 'index', replace(pg_get_indexdef(i.indexrelid), :table, 'T'), i.indisvalid::text FROM pg_index i
    WHERE i.indrelid = to_regclass(:table)
    UNION ALL
    SELECT replace(k.conname, :table, 'T'), pg_get_constraintdef(k.oid), k.convalidated::text
    FROM pg_constraint k WHERE k.conrelid = to_regclass(:table)
    UNION ALL
    SELECT attname, atttypid::text, attnotnull::text FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0
    ORDER BY 1, 2
"""


@POSTGRESQL
@pytest.mark.parametrize(("operation", "forms"), POSTGRESQL_FORMS.items())
def test_operation_on_postgresql(
    project: Project, database: Database, operation: str, forms: list[str]
) -> None:
    """The large table gets the safe form, the small one the plain form, with the same result."""
    project.expand_declared("\n".join(operation.replace("{t}", table) for table in ("big", "small")))
    statements = sent(project)
    assert of_table(statements, "big") == forms
    plain = of_table(statements, "small")
    assert not any("CONCURRENTLY" in s or "VALID" in s for s in plain), plain
    large, small = (rows(database.engine, _CATALOG, table=table) for table in ("big", "small"))
    assert large == small
    assert schema.journal(database) == []


@POSTGRESQL
def test_drop_index_on_postgresql(project: Project, database: Database) -> None:
    execute(database.engine, "CREATE INDEX ix_big ON big (a)", "CREATE INDEX ix_small ON small (a)")
    project.expand_declared("op.drop_index('ix_big', 'big')\nop.drop_index('ix_small', 'small')")
    assert sent(project) == ["DROP INDEX CONCURRENTLY ix_big", "DROP INDEX ix_small"]
    assert scalar(database.engine, "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'ix_%'") == 0


@POSTGRESQL
def test_statements_around_a_concurrent_one_are_committed_with_it(
    project: Project, database: Database
) -> None:
    """What follows the concurrent form fails; the next run continues behind it."""
    body = (
        "op.add_column('big', sa.Column('n', sa.Integer))\nop.create_index('ix', 'big', ['n'])\n"
        "op.execute({!r})\nop.add_column('big', sa.Column('m', sa.Integer))"
    )
    revision = project.expand_declared(body.format("ALTER TABLE nowhere ADD COLUMN x INT"))
    assert schema.run(project, "expand").code != 0
    assert [index["name"] for index in sa.inspect(database.engine).get_indexes("big")] == ["ix"]
    path = next(project.scripts.glob(f"expand/*_{revision}.py"))
    path.write_text(path.read_text().replace("ALTER TABLE nowhere ADD COLUMN x INT", "SELECT 1"))
    statements = sent(project)
    assert statements == ["ALTER TABLE big ADD COLUMN m INTEGER"]
    assert schema.journal(database) == []


@POSTGRESQL
def test_contract_without_requirements(project: Project, database: Database) -> None:
    """It has no lock, and its statements are sent in the same forms as those of expand."""
    project.expand_declared("op.add_column('small', sa.Column('n', sa.Integer))")
    assert schema.run(project, "expand").code == 0
    project.contract(
        "op.drop_column('big', 'b')\nop.create_index('ix', 'big', ['a'])\n"
        "op.alter_column('big', 'a', nullable=False)"
    )
    statements = sent(project, "contract")
    assert statements[:2] == ["ALTER TABLE big DROP COLUMN b", "CREATE INDEX CONCURRENTLY ix ON big (a)"]
    assert statements[-1] == "ALTER TABLE big DROP CONSTRAINT big_a_is_not_null"
    assert schema.journal(database) == []


@POSTGRESQL
def test_other_driver_leaves_the_transaction_too(database: Database, tmp_path: Path) -> None:
    """psycopg 3; the sessions of the other tests are those of psycopg2."""
    pytest.importorskip("psycopg")
    execute(database.engine, f"CREATE TABLE big ({COLUMNS})")
    fill(database, "big")
    url = sa.make_url(database.url).set(drivername="postgresql+psycopg")
    with Project.create(tmp_path / "other", url.render_as_string(hide_password=False)) as project:
        column = "op.add_column('big', sa.Column('n', sa.Integer))"
        project.expand_declared(f"{column}\nop.create_index('ix', 'big', ['n'])")
        assert project.apply_expand() == ["e1"]
    assert [index["name"] for index in sa.inspect(database.engine).get_indexes("big")] == ["ix"]
    assert schema.journal(database) == []


@POSTGRESQL
def test_form_that_leaves_the_transaction_is_refused_in_a_savepoint(
    project: Project, database: Database
) -> None:
    """The commit would end the savepoint; a script that catches the error cannot hide it."""
    project.expand_declared(
        "try:\n    with op.get_bind().begin_nested():\n        op.create_index('ix', 'big', ['a'])\n"
        "except Exception:\n    pass"
    )
    refused = schema.run(project, "expand")
    assert refused.code == 3, refused.output
    assert "begin_nested" in refused.err
    assert sa.inspect(database.engine).get_indexes("big") == []


SEVERAL = "ALTER TABLE {t} ADD COLUMN n INTEGER; ALTER TABLE {t} ADD CONSTRAINT ck CHECK (n > 0)"


@POSTGRESQL
def test_several_statements_in_one_text_are_refused_on_a_large_table(
    project: Project, database: Database
) -> None:
    """Sent as they are, they would hold the lock while all rows are read; on a small table they are sent."""
    project.expand_declared(f"op.execute({SEVERAL.format(t='small')!r})")
    assert len(sent(project)) == 1
    project.expand_declared(f"op.execute({SEVERAL.format(t='big')!r})")
    refused = schema.run(project, "expand")
    assert refused.code == 3, refused.output
    assert "ALTER TABLE big ADD CONSTRAINT ck CHECK (n > 0)" in refused.err
    assert "one statement for each call of op.execute" in refused.err
    assert "n" not in {column["name"] for column in sa.inspect(database.engine).get_columns("big")}


@POSTGRESQL
def test_invalid_index_of_a_killed_build_is_replaced(project: Project, database: Database) -> None:
    """It was left by another program, and no journal knows of it."""
    execute(database.engine, "UPDATE big SET a = 7 WHERE id < 2")
    with database.engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
            "CREATE UNIQUE INDEX CONCURRENTLY ix ON big (a)"
        )
    project.expand_declared("op.create_index('ix', 'big', ['a'], if_not_exists=True)")
    statements = sent(project)
    assert statements == [
        "DROP INDEX CONCURRENTLY IF EXISTS ix",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix ON big (a)",
    ]
    assert scalar(database.engine, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix'::regclass")


VIOLATED = {
    "op.create_index('ix', 'big', ['a'], unique=True)": "(a)=(7) is duplicated",
    "op.create_unique_constraint('uq', 'big', ['a'])": "(a)=(7) is duplicated",
    "op.alter_column('big', 'b', nullable=False)": "is violated by some row",
    "op.create_check_constraint('ck', 'big', 'id > 10')": "is violated by some row",
    "op.create_foreign_key('fk', 'big', 'parents', ['a'], ['id'])": "violates foreign key constraint",
}


@POSTGRESQL
@pytest.mark.parametrize(("operation", "reason"), VIOLATED.items())
def test_rows_that_violate_a_constraint_leave_nothing_behind(
    project: Project, database: Database, operation: str, reason: str
) -> None:
    """The error names the row or the constraint; after the rows are corrected, the next run succeeds."""
    execute(database.engine, "UPDATE big SET a = 7, b = NULL WHERE id < 2")
    before = rows(database.engine, _CATALOG, table="big")
    project.expand_declared(operation)
    for _ in range(2):
        ran = schema.run(project, "expand")
        assert ran.code != 0
        assert reason in ran.err
        assert rows(database.engine, _CATALOG, table="big") == before
    execute(
        database.engine,
        "UPDATE big SET a = id, b = 'x' WHERE id < 2",
        "UPDATE big SET id = id + 100000",
        f"INSERT INTO parents SELECT n FROM generate_series(0, {ROWS}) AS n WHERE n <> 1",
    )
    assert schema.run(project, "expand").code == 0
    assert rows(database.engine, _CATALOG, table="big") != before
    assert schema.journal(database) == []


PARTITIONED = (
    "CREATE TABLE parted (id INTEGER, a INTEGER, b VARCHAR(40), parent INTEGER) PARTITION BY RANGE (id)",
    "CREATE TABLE parted_0 PARTITION OF parted FOR VALUES FROM (0) TO (10000)",
    "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (10000) TO (100000) PARTITION BY RANGE (id)",
    "CREATE TABLE parted_1_0 PARTITION OF parted_1 FOR VALUES FROM (10000) TO (30000)",
    "CREATE TABLE parted_1_1 PARTITION OF parted_1 DEFAULT",
)
ON_PARTITIONED = {
    "op.create_index('ix', 'parted', ['a'])": 3,
    "op.create_unique_constraint('uq', 'parted', ['id'])": 3,
    "op.create_primary_key('pk', 'parted', ['id'])": 3,
    "op.create_foreign_key('fk', 'parted', 'parents', ['parent'], ['id'])": 0,
    "op.create_check_constraint('ck', 'parted', 'a >= 0')": 0,
    "op.alter_column('parted', 'a', nullable=False)": 0,
}
_TREE = """
    SELECT c.relname::text, i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), i.indisvalid::text,
           (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = i.indexrelid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relname LIKE 'parted%'
    UNION ALL
    SELECT c.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated::text, k.coninhcount::text
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relname LIKE 'parted%'
    UNION ALL
    SELECT c.relname, attname, NULL, attnotnull::text, NULL FROM pg_attribute
    JOIN pg_class c ON c.oid = attrelid
    WHERE c.relname LIKE 'parted%' AND c.relkind IN ('r', 'p') AND attnum > 0
    ORDER BY 1, 2, 3
"""


@POSTGRESQL
@pytest.mark.parametrize(("operation", "concurrent"), ON_PARTITIONED.items())
def test_partitioned_table(
    project: Project, database: Database, operation: str, concurrent: int, tmp_path: Path
) -> None:
    """Each partition by itself; the catalog is as if the plain operation had run."""
    execute(database.engine, *PARTITIONED)
    plain = project.scripts.parent / "plain"
    with Project.create(plain, database.url) as other:
        other.expand_declared(operation)
        assert schema.run(other, "expand").code == 0
        expected = rows(database.engine, _TREE)
    execute(database.engine, "DROP TABLE parted", "DELETE FROM alembic_version", *PARTITIONED)
    fill(database, "parted")
    project.expand_declared(operation, "e9")
    statements = sent(project)
    assert sum("CONCURRENTLY" in s for s in statements) == concurrent, statements
    assert rows(database.engine, _TREE) == expected, statements


# --- MySQL and MariaDB ----------------------------------------------------------------------------

INSTANT, INPLACE = ", ALGORITHM=INSTANT", ", ALGORITHM=INPLACE, LOCK=NONE"
NOCOPY = ", ALGORITHM=NOCOPY, LOCK=NONE"


@dataclasses.dataclass(frozen=True)
class Online:
    """*begin*: the statement without clauses; *accepted*: the clause of the last form sent, on MySQL and on
    MariaDB."""

    begin: str
    mysql: str
    mariadb: str


MYSQL_FORMS = {
    "op.add_column('big', sa.Column('n', sa.Integer))": Online(
        "ALTER TABLE big ADD COLUMN n INTEGER", INSTANT, INSTANT
    ),
    "op.create_index('ix', 'big', ['a'])": Online(
        "CREATE INDEX ix ON big (a)", " ALGORITHM=INPLACE LOCK=NONE", " ALGORITHM=NOCOPY LOCK=NONE"
    ),
    "op.create_unique_constraint('uq', 'big', ['a'])": Online(
        "ALTER TABLE big ADD CONSTRAINT uq UNIQUE (a)", INPLACE, NOCOPY
    ),
    "op.alter_column('big', 'a', existing_type=sa.Integer(), nullable=False)": Online(
        "ALTER TABLE big MODIFY a INTEGER NOT NULL", INPLACE, INPLACE
    ),
    "op.alter_column('big', 'b', existing_type=sa.String(40), type_=sa.String(60))": Online(
        "ALTER TABLE big MODIFY b VARCHAR(60) NULL", INPLACE, INSTANT
    ),
    "op.drop_column('big', 'b')": Online("ALTER TABLE big DROP COLUMN b", INSTANT, INSTANT),
    "op.alter_column('big', 'b', existing_type=sa.String(40), new_column_name='c')": Online(
        "ALTER TABLE big CHANGE b c VARCHAR(40) NULL", INSTANT, INSTANT
    ),
    "op.execute('ALTER TABLE big FORCE')": Online("ALTER TABLE big FORCE", INPLACE, INPLACE),
    "op.rename_table('big', 'huge')": Online("ALTER TABLE big RENAME TO huge", INSTANT, INSTANT),
}


@EACH
@MYSQL
@pytest.mark.parametrize(("operation", "online"), MYSQL_FORMS.items())
def test_operation_on_mysql(project: Project, database: Database, operation: str, online: Online) -> None:
    """The cheapest form that the server accepts is the last that is sent."""
    project.expand_declared(operation)
    statements = sent(project)
    assert statements[-1] == online.begin + getattr(online, database.server.product)
    assert schema.journal(database) == []


@EACH
@MYSQL
def test_drop_index_on_mysql(project: Project, database: Database) -> None:
    execute(database.engine, "CREATE INDEX ix ON big (a)")
    project.expand_declared("op.drop_index('ix', 'big')")
    statements = sent(project)
    accepted = {"mysql": INPLACE, "mariadb": NOCOPY}[database.server.product]
    assert statements[-1] == f"ALTER TABLE big DROP INDEX ix{accepted}"
    assert sa.inspect(database.engine).get_indexes("big") == []


COPIES = {
    "op.alter_column('{t}', 'a', existing_type=sa.Integer(), type_=sa.BigInteger())": "new nullable column",
    "op.create_foreign_key('fk_{t}', '{t}', 'parents', ['parent'], ['id'])": "foreign_key_checks",
    "op.create_check_constraint('ck_{t}', '{t}', 'a >= 0')": "in the application",
    "op.execute('CREATE FULLTEXT INDEX ft ON {t} (b)')": "does not write",
    "op.execute('ALTER TABLE {t} PARTITION BY HASH (id) PARTITIONS 2')": "does not write",
}


@EACH
@MYSQL
@pytest.mark.parametrize(("operation", "hint"), COPIES.items())
def test_copy_that_blocks_writers_is_refused(
    project: Project, database: Database, operation: str, hint: str
) -> None:
    """Exit code 3 with the safe form; a small table is copied."""
    before = rows(database.engine, "SHOW CREATE TABLE big")
    project.expand_declared(operation.replace("{t}", "small"))
    project.expand_declared(operation.replace("{t}", "big"))
    refused = schema.run(project, "expand")
    assert refused.code == 3, refused.output
    assert "writers of big wait" in refused.err
    assert hint in refused.err
    if "FULLTEXT" not in operation and "PARTITION" not in operation:
        assert f"D={database.name},t=big --execute" in refused.err
    assert rows(database.engine, "SHOW CREATE TABLE big") == before
    assert schema.journal(database) == []
    assert all("ALGORITHM=" in statement for statement in sent(project, code=3))


@EACH
@MYSQL
def test_copy_is_permitted_by_the_script(project: Project, database: Database) -> None:
    project.expand_declared(
        "op.alter_column('big', 'a', existing_type=sa.Integer(), type_=sa.BigInteger())", rebuilds=("big",)
    )
    assert sent(project)[-1] == "ALTER TABLE big MODIFY a BIGINT NULL"


@EACH
@MYSQL
def test_algorithm_of_the_author_is_kept(project: Project) -> None:
    project.expand_declared("op.execute('ALTER TABLE big ADD COLUMN n INT, ALGORITHM=COPY')")
    assert sent(project) == ["ALTER TABLE big ADD COLUMN n INT, ALGORITHM=COPY"]


# --- writers --------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(database: Database) -> Iterator[list[str]]:
    """Inside the block another session updates rows of ``big``; it waits for a lock for one second at most.

    Yields the list of its errors.
    """
    timeout = {"postgresql": "SET lock_timeout = 1000"}.get(
        database.server.product, "SET lock_wait_timeout = 1"
    )
    errors: list[str] = []
    over = threading.Event()

    def write() -> None:
        engine = sa.create_engine(database.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql(timeout)
            number = 0
            while not over.is_set():
                number = (number + 7919) % ROWS
                try:
                    connection.exec_driver_sql(f"UPDATE big SET b = 'new' WHERE id = {number}")
                except sa.exc.DBAPIError as error:
                    errors.append(str(error))
        engine.dispose()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield errors
    finally:
        over.set()
        thread.join()


@EACH
@pytest.mark.needs("row_locks")
def test_writers_continue_while_forms_run(project: Project, database: Database) -> None:
    """No UPDATE of the other session waits for as long as a second."""
    fks = "op.create_foreign_key('fk', 'big', 'parents', ['parent'], ['id'])"
    project.expand_declared(
        "op.create_index('ix', 'big', ['a', 'b'])\nop.create_unique_constraint('uq', 'big', ['a'])\n"
        "op.alter_column('big', 'a', existing_type=sa.Integer(), nullable=False)\n"
        + (fks if database.server.product == "postgresql" else "")
    )
    with writing(database) as errors:
        assert sent(project)
    assert errors == []


# --- plan -----------------------------------------------------------------------------------------


@EACH
@pytest.mark.needs("row_locks")
def test_plan_shows_the_form_that_is_sent(project: Project, database: Database) -> None:
    project.expand_declared(
        "op.create_index('ix', 'big', ['a'])\nop.create_index('ix_small', 'small', ['a'])"
    )
    [step] = schema.run(project, "plan", "--json").json
    shown = [statement.splitlines()[-1].strip() for statement in step["statements"]]
    assert (
        shown[0]
        == {
            "postgresql": "CREATE INDEX CONCURRENTLY ix ON big (a)",
            "mysql": "CREATE INDEX ix ON big (a) ALGORITHM=INPLACE LOCK=NONE",
            "mariadb": "CREATE INDEX ix ON big (a) ALGORITHM=NOCOPY LOCK=NONE",
        }[database.server.product]
    )
    assert set(shown) <= set(sent(project))
