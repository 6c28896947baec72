"""What a DDL statement locks and rewrites: the prediction is compared with the server itself."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from online_migrate.phases.impact.impact import Blocks, Work
from online_migrate.phases.impact.of import impact_of
from online_migrate.phases.known import NothingKnown, Server
from online_migrate.sql.operations.parts import Column, Name, SqlType
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.table_lock import Strength
from online_migrate.sql.table_locks import table_locks
from tests.servers import Database

SETUP = (
    "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, v VARCHAR(20), n NUMERIC(8, 2), parent INTEGER)",
    "INSERT INTO parents VALUES (1), (2)",
    "INSERT INTO t VALUES (1, 1, 'x', 1.5, 1), (2, 2, 'y', 2.5, 2)",
)


class Known(NothingKnown):
    """The columns of the tables of this test."""

    columns = {
        "a": SqlType("integer"),
        "v": SqlType("varchar", ("20",)),
        "n": SqlType("numeric", ("8", "2")),
    }

    def column(self, table: Name, column: str) -> Column | None:
        found = self.columns.get(column)
        return None if found is None else Column(name=column, type=found)


POSTGRESQL = (
    "ALTER TABLE t ADD COLUMN b INTEGER",
    "ALTER TABLE t ADD COLUMN b INTEGER NOT NULL DEFAULT 7",
    "ALTER TABLE t ADD COLUMN b TIMESTAMP DEFAULT now()",
    "ALTER TABLE t ADD COLUMN b DOUBLE PRECISION DEFAULT random()",
    "ALTER TABLE t ADD COLUMN b SERIAL",
    "ALTER TABLE t ADD COLUMN b INTEGER GENERATED ALWAYS AS (a + 1) STORED",
    "ALTER TABLE t ADD COLUMN b INTEGER UNIQUE",
    "ALTER TABLE t ADD COLUMN b INTEGER CHECK (b > 0)",
    "ALTER TABLE t ADD COLUMN b INTEGER REFERENCES parents (id)",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "ALTER TABLE t RENAME TO u",
    "ALTER TABLE t ALTER COLUMN a TYPE BIGINT",
    "ALTER TABLE t ALTER COLUMN v TYPE VARCHAR(40)",
    "ALTER TABLE t ALTER COLUMN v TYPE TEXT",
    "ALTER TABLE t ALTER COLUMN v TYPE VARCHAR(10)",
    "ALTER TABLE t ALTER COLUMN n TYPE NUMERIC(12, 2)",
    "ALTER TABLE t ALTER COLUMN n TYPE NUMERIC(12, 4)",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "ALTER TABLE t ALTER COLUMN a DROP NOT NULL",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT 3",
    "ALTER TABLE t ALTER COLUMN a SET STATISTICS 200",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
    "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)",
    "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (parent) REFERENCES parents (id)",
    "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (parent) REFERENCES parents (id) NOT VALID",
    "CREATE INDEX i ON t (a)",
    "CREATE UNIQUE INDEX i ON t (a)",
    "ALTER TABLE t SET (fillfactor = 70)",
    "COMMENT ON TABLE t IS 'x'",
    "COMMENT ON COLUMN t.a IS 'x'",
    "ALTER TABLE t DISABLE TRIGGER ALL",
    "CREATE TABLE c (more INTEGER) INHERITS (t)",
    "CREATE RULE quiet AS ON DELETE TO t DO INSTEAD NOTHING",
    "UPDATE t SET a = 1",
    "TRUNCATE t",
    "CREATE TABLE c (id INTEGER REFERENCES parents (id))",
    "CREATE VIEW seen AS SELECT id FROM t",
    "CREATE STATISTICS s ON a, n FROM t",
    "DROP TABLE t",
)
LOCKS = (
    "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' "
    "AND relation = CAST(:oid AS oid)"
)
ORDER = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
SCANS = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = CAST(:oid AS oid)"
FILE = "SELECT relfilenode FROM pg_class WHERE oid = CAST(:oid AS oid)"


def _mode(found: sa.Connection, oid: int) -> str:
    """The strongest lock on a table, in the words of the documentation; empty below ROW EXCLUSIVE."""
    modes = list(found.scalars(sa.text(LOCKS), {"oid": oid}))
    strongest = max((ORDER.index(mode) for mode in modes), default=0)
    if strongest < ORDER.index("RowExclusiveLock"):
        return ""
    words = ORDER[strongest].removesuffix("Lock")
    return "".join(f" {letter}" if letter.isupper() else letter for letter in words).strip().upper()


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_locks_and_rewrites_of_postgresql(database: Database) -> None:
    """pg_locks shows the lock; a rewrite changes the file of the table; a scan is counted."""
    with database.engine.begin() as connection:
        for statement in SETUP:
            connection.exec_driver_sql(statement)
    wrong = []
    for text in POSTGRESQL:
        with database.engine.connect() as connection:
            oid = connection.scalar(sa.text("SELECT CAST('t' AS regclass)::oid"))
            referred = connection.scalar(sa.text("SELECT CAST('parents' AS regclass)::oid"))
            before = connection.scalar(sa.text(FILE), {"oid": oid})
            connection.rollback()
            scans = connection.scalar(sa.text(SCANS), {"oid": oid})
            connection.exec_driver_sql(text)
            mode, on_referred = _mode(connection, oid), _mode(connection, referred)
            rewritten = before != connection.scalar(sa.text(FILE), {"oid": oid})
            scanned = scans != connection.scalar(sa.text(SCANS), {"oid": oid})
            connection.rollback()
        [operation] = read_operations(text, "postgresql")
        impact = impact_of(operation, Server("postgresql"), Known())
        assert impact is not None, text
        work = Work.NONE
        if text.startswith(("TRUNCATE", "DROP TABLE", "UPDATE")):
            pass  # a new or no file without a copy, and a scan that locks rows only
        elif rewritten:
            work = Work.REWRITE
        elif scanned:
            work = Work.SCAN
        predicted = (impact.lock, impact.work, impact.referred >= Blocks.WRITES)
        if predicted != (mode, work, on_referred == "SHARE ROW EXCLUSIVE"):
            wrong.append((text, predicted, (mode, work, on_referred)))
    assert not wrong, "\n".join(map(str, wrong))


TABLE_LOCKS = (
    *POSTGRESQL,
    "LOCK TABLE t, parents IN SHARE UPDATE EXCLUSIVE MODE",
    "LOCK TABLE t IN SHARE MODE",
    "LOCK t IN SHARE ROW EXCLUSIVE MODE NOWAIT",
    "LOCK TABLE ONLY t IN ROW EXCLUSIVE MODE",
    "LOCK TABLE ONLY t",
    "CLUSTER t USING t_pkey",
    "ANALYZE t (a)",
    "CREATE TABLE c PARTITION OF parted FOR VALUES IN (1)",
    "ALTER TABLE parted ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE child NO INHERIT base",
    "ALTER TABLE t ENABLE ALWAYS RULE quiet",
    "DROP RULE quiet ON t",
    "CREATE POLICY p ON t",
)
MODES = {
    Strength.MAINTENANCE: "ShareUpdateExclusiveLock",
    Strength.BUILD: "ShareLock",
    Strength.WRITE: "ShareRowExclusiveLock",
    Strength.EXCLUSIVE: "AccessExclusiveLock",
}
TABLES = "SELECT oid, relname FROM pg_class WHERE relname IN ('t', 'parents', 'parted', 'child', 'base')"
EVERY_LOCK = "SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_tables_that_a_statement_locks_on_postgresql(database: Database) -> None:
    """The lock queue looks at each table that the statement locks against writers or DDL, and at no other."""
    with database.engine.begin() as connection:
        for statement in (
            *SETUP,
            "CREATE TABLE parted (id INTEGER) PARTITION BY LIST (id)",
            "CREATE TABLE base (id INTEGER)",
            "CREATE TABLE child () INHERITS (base)",
            "CREATE RULE quiet AS ON DELETE TO t DO INSTEAD NOTHING",
        ):
            connection.exec_driver_sql(statement)
        tables = {row.oid: row.relname for row in connection.execute(sa.text(TABLES))}
    wrong = []
    for text in TABLE_LOCKS:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(text.replace("RULE quiet AS", "RULE more AS"))
            found: dict[str, int] = {}
            for oid, mode in connection.execute(sa.text(EVERY_LOCK)):
                if oid in tables:
                    found[tables[oid]] = max(found.get(tables[oid], 0), ORDER.index(mode))
            connection.rollback()
        least = ORDER.index("ShareUpdateExclusiveLock")
        taken = {table: ORDER[mode] for table, mode in found.items() if mode >= least}
        locks = [lock for lock in table_locks(text, "postgresql") if lock.name in tables.values()]
        known = {lock.name: MODES[lock.strength] for lock in locks}
        if taken != known and not text.startswith("COMMENT"):  # no session waits behind that one
            wrong.append((text, known, taken))
    assert not wrong, "\n".join(map(str, wrong))


MYSQL = (
    "ALTER TABLE t ADD COLUMN b INTEGER",
    "ALTER TABLE t ADD COLUMN b INTEGER NOT NULL DEFAULT 7",
    "ALTER TABLE t ADD COLUMN b INTEGER AFTER id",
    "ALTER TABLE t ADD COLUMN b INTEGER GENERATED ALWAYS AS (a + 1) VIRTUAL",
    "ALTER TABLE t ADD COLUMN b INTEGER GENERATED ALWAYS AS (a + 1) STORED",
    "ALTER TABLE t ADD COLUMN b INTEGER UNIQUE",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "ALTER TABLE t MODIFY a BIGINT",
    "ALTER TABLE t MODIFY v VARCHAR(40)",
    "ALTER TABLE t MODIFY v VARCHAR(200)",
    "ALTER TABLE t MODIFY v VARCHAR(10)",
    "ALTER TABLE t MODIFY a INTEGER NOT NULL",
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT 3",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
    "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)",
    "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (parent) REFERENCES parents (id)",
    "ALTER TABLE t ADD INDEX i (a)",
    "ALTER TABLE t ADD FULLTEXT INDEX i (v)",
    "ALTER TABLE t DROP PRIMARY KEY",
    "ALTER TABLE t COMMENT = 'x'",
    "ALTER TABLE t ENGINE = InnoDB",
    "ALTER TABLE t ROW_FORMAT = COMPACT",
    "ALTER TABLE t CONVERT TO CHARACTER SET latin1",
)
FORMS = (
    ("INSTANT", "DEFAULT"),
    ("INPLACE", "NONE"),
    ("INPLACE", "SHARED"),
    ("COPY", "SHARED"),
)


@pytest.mark.needs("lock_tables")
def test_algorithms_of_mysql_and_mariadb(database: Database) -> None:
    """The predicted form is the cheapest one that the server accepts; a rebuild changes the table's id."""
    product = database.server.product
    wrong = []
    for text in MYSQL:
        with database.engine.connect() as connection:
            for statement in ("DROP TABLE IF EXISTS t", "DROP TABLE IF EXISTS parents", *SETUP):
                connection.exec_driver_sql(statement)
            connection.commit()
            version = connection.dialect.server_version_info or ()
            accepted = next(form for form in FORMS if _accepts(connection, text, *form))
        [operation] = read_operations(text, product)
        impact = impact_of(operation, Server(product, tuple(map(int, version[:3]))), Known())
        assert impact is not None, text
        lock = "SHARED" if impact.blocks >= Blocks.WRITES else "NONE"
        predicted = (impact.lock, "DEFAULT" if impact.lock == "INSTANT" else lock)
        if predicted != accepted:
            wrong.append((text, predicted, accepted))
    assert not wrong, "\n".join(map(str, wrong))


def _accepts(connection: sa.Connection, text: str, algorithm: str, lock: str) -> bool:
    try:
        connection.exec_driver_sql(f"{text}, ALGORITHM = {algorithm}, LOCK = {lock}")
    except sa.exc.DBAPIError:
        connection.rollback()
        return False
    return True
