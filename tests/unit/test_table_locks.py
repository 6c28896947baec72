"""The tables that a statement locks, and how strongly."""

from __future__ import annotations

import pytest

from online_migrate.sql.table_lock import Locked, Strength, TableLock
from online_migrate.sql.table_locks import table_locks

EXCLUSIVE, WRITE, BUILD = Strength.EXCLUSIVE, Strength.WRITE, Strength.BUILD
MAINTENANCE = Strength.MAINTENANCE

POSTGRESQL = {
    "ALTER TABLE t ADD COLUMN users INTEGER": [("t", EXCLUSIVE)],
    "ALTER TABLE IF EXISTS ONLY S.T DROP COLUMN a": [("s.t", EXCLUSIVE)],
    'ALTER TABLE "T" RENAME TO u': [("T", EXCLUSIVE)],
    "ALTER TABLE t VALIDATE CONSTRAINT c": [("t", MAINTENANCE)],
    "ALTER TABLE t ALTER COLUMN a SET STATISTICS 100": [("t", MAINTENANCE)],
    "ALTER TABLE t ADD COLUMN statistics INT": [("t", EXCLUSIVE)],
    "ALTER TABLE t ALTER statistics TYPE BIGINT": [("t", EXCLUSIVE)],
    "ALTER TABLE t SET (fillfactor = 70), ADD COLUMN b INT": [("t", EXCLUSIVE)],
    "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id) NOT VALID": [
        ("p", WRITE),
        ("t", WRITE),
    ],
    "ALTER TABLE t ADD COLUMN p_id INT REFERENCES p (id)": [("p", WRITE), ("t", EXCLUSIVE)],
    "ALTER TABLE p ATTACH PARTITION c FOR VALUES IN (1)": [("c", EXCLUSIVE), ("p", MAINTENANCE)],
    "ALTER TABLE t DISABLE TRIGGER x": [("t", WRITE)],
    "CREATE TABLE t (id INT PRIMARY KEY)": [],
    "CREATE TABLE t (id INT REFERENCES p)": [("p", WRITE)],
    "CREATE TABLE t PARTITION OF p FOR VALUES IN (1)": [("p", EXCLUSIVE)],
    "CREATE UNIQUE INDEX i ON ONLY t (a)": [("t", BUILD)],
    "CREATE INDEX CONCURRENTLY i ON t (a)": [],
    "CREATE TRIGGER x BEFORE UPDATE OF a, b ON t EXECUTE FUNCTION f()": [("t", WRITE)],
    "DROP TRIGGER IF EXISTS x ON t": [("t", EXCLUSIVE)],
    "DROP TABLE IF EXISTS a, s.b CASCADE": [("a", EXCLUSIVE), ("s.b", EXCLUSIVE)],
    "TRUNCATE TABLE ONLY a": [("a", EXCLUSIVE)],
    "CREATE OR REPLACE VIEW v AS SELECT 1": [("v", EXCLUSIVE)],
    "REFRESH MATERIALIZED VIEW v": [("v", EXCLUSIVE)],
    "CREATE TABLE t (a INT) INHERITS (p, s.q)": [("p", MAINTENANCE), ("s.q", MAINTENANCE)],
    "ALTER TABLE t INHERIT p": [("p", MAINTENANCE), ("t", EXCLUSIVE)],
    "CREATE OR REPLACE RULE r AS ON DELETE TO s.t WHERE a > 1 DO INSTEAD NOTHING": [("s.t", EXCLUSIVE)],
    "DROP RULE IF EXISTS r ON t": [("t", EXCLUSIVE)],
    "CREATE STATISTICS IF NOT EXISTS s (dependencies) ON a, b FROM t": [("t", MAINTENANCE)],
    "CLUSTER VERBOSE t USING i": [("t", EXCLUSIVE)],
    "CLUSTER": [],
    "VACUUM FULL a, b (x)": [("a", EXCLUSIVE), ("b", EXCLUSIVE)],
    "VACUUM (ANALYZE, FULL true) a": [("a", EXCLUSIVE)],
    "VACUUM (PARALLEL 2) a": [("a", MAINTENANCE)],
    "ANALYZE t (a, b)": [("t", MAINTENANCE)],
    "REINDEX (VERBOSE) TABLE s.t": [("s.t", EXCLUSIVE)],
    "REINDEX TABLE CONCURRENTLY t": [],
    "REINDEX SCHEMA s": [],
    "LOCK t": [("t", EXCLUSIVE)],
    "LOCK TABLE ONLY a, b IN SHARE MODE NOWAIT": [("a", BUILD), ("b", BUILD)],
    "LOCK TABLE a IN ROW EXCLUSIVE MODE": [],
    "LOCK TABLE a IN EXCLUSIVE MODE": [("a", EXCLUSIVE)],
    "COMMENT ON TABLE t IS 'x'": [],
    "UPDATE t SET a = 1": [],
    "not SQL 'at all": [],
}
MYSQL = {
    "ALTER TABLE t VALIDATE CONSTRAINT c": [("t", EXCLUSIVE)],
    "ALTER TABLE `s`.`t` ADD COLUMN a INT, ALGORITHM=INSTANT": [("s.t", EXCLUSIVE)],
    "/*!50000 ALTER TABLE t DROP COLUMN a */": [("t", EXCLUSIVE)],
    "CREATE FULLTEXT INDEX i ON t (a)": [("t", EXCLUSIVE)],
    "DROP INDEX i ON t": [("t", EXCLUSIVE)],
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1": [("t", EXCLUSIVE)],
    "CREATE DEFINER=`a b`@`%` TRIGGER `x` AFTER UPDATE ON `t` FOR EACH ROW SET @a = 1": [("t", EXCLUSIVE)],
    "OPTIMIZE LOCAL TABLE a, s.b": [("a", EXCLUSIVE), ("s.b", EXCLUSIVE)],
    "ANALYZE TABLE a": [],
    "LOCK TABLES a READ, b AS x WRITE": [("a", WRITE), ("b", EXCLUSIVE)],
    "RENAME TABLE a TO b, c TO d": [("a", EXCLUSIVE), ("c", EXCLUSIVE)],
    "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p (id)": [("p", EXCLUSIVE), ("t", EXCLUSIVE)],
}


def _shown(statement: str, server: str) -> list[tuple[str, Strength]]:
    locks = table_locks(statement, server)
    return [(f"{lock.schema}.{lock.name}" if lock.schema else lock.name, lock.strength) for lock in locks]


@pytest.mark.parametrize("statement", POSTGRESQL)
def test_locks_on_postgresql(statement: str) -> None:
    assert _shown(statement, "postgresql") == POSTGRESQL[statement]


@pytest.mark.parametrize("statement", MYSQL)
def test_locks_on_mysql(statement: str) -> None:
    assert _shown(statement, "mysql") == MYSQL[statement]


def test_referred_table_on_mariadb_is_locked_against_writers_only() -> None:
    """A transaction that only reads it does not stop the statement there."""
    locks = table_locks("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES p (id)", "mariadb")
    assert locks[0] == TableLock("p", strength=WRITE)


def test_object_without_its_table_is_named() -> None:
    """The catalog tells the table of an index and of a trigger."""
    assert table_locks("DROP INDEX a, s.b", "postgresql") == (
        TableLock("a", kind=Locked.INDEX),
        TableLock("b", "s", kind=Locked.INDEX),
    )
    assert table_locks("DROP TRIGGER IF EXISTS x", "mysql") == (TableLock("x", kind=Locked.TRIGGER),)


def test_index_that_is_altered_or_rebuilt_is_named() -> None:
    assert table_locks("REINDEX INDEX s.i", "postgresql") == (TableLock("i", "s", kind=Locked.INDEX),)
    renamed = TableLock("i", strength=MAINTENANCE, kind=Locked.INDEX)
    assert table_locks("ALTER INDEX IF EXISTS i RENAME TO j", "postgresql") == (renamed,)
    assert table_locks("ALTER INDEX i SET TABLESPACE x", "postgresql") == (TableLock("i", kind=Locked.INDEX),)


def test_statement_with_settings_of_mariadb() -> None:
    text = "SET STATEMENT lock_wait_timeout = 5, sort_buffer_size = 1 FOR ALTER TABLE t DROP a"
    assert table_locks(text, "mariadb") == (TableLock("t"),)


def test_dropped_constraints_are_named() -> None:
    """The catalog tells the tables that they refer to, which are locked as well."""
    [lock] = table_locks("ALTER TABLE t DROP CONSTRAINT IF EXISTS f, DROP COLUMN a", "postgresql")
    assert lock.constraints == ("f",)
    [lock] = table_locks("DROP TABLE t", "postgresql")
    assert lock.constraints == ("*",)
