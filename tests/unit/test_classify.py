"""What a statement of a contract revision may do: the verdicts on a corpus, for each product."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_migrate.sql.classify import classify
from online_migrate.sql.functions import HARMLESS
from online_migrate.sql.lexer import Sort, readings
from online_migrate.sql.verdict import Impact

SERVERS = ("postgresql", "mysql", "mariadb", "sqlite")

R, W, D, A, C, X = (
    Impact.READ,
    Impact.ROWS,
    Impact.DESTRUCTIVE,
    Impact.ADDITIVE,
    Impact.CONTROL,
    Impact.REFUSED,
)

EVERYWHERE = {
    "": R,
    ";": R,
    " -- DROP TABLE t\n": R,
    "/* DROP TABLE t */": R,
    "SELECT 1": R,
    "select count(*) from t where a in (1, 2)": R,
    "(SELECT 1)": R,
    "SELECT 'DELETE FROM t; DROP TABLE t'": R,
    "SELECT coalesce(a, lower(b)) FROM t": R,
    "SELECT 1; SELECT 2": R,
    "WITH x AS (SELECT 1) SELECT * FROM x": R,
    "WITH x (a) AS (SELECT 1), y AS (SELECT 2) SELECT * FROM x, y": R,
    "SELECT a FROM t GROUP BY (a) ORDER BY (a)": R,
    "SELECT row_number() OVER (PARTITION BY a) FROM t": R,
    "VALUES (1, 2)": R,
    "SAVEPOINT x": R,
    "RELEASE SAVEPOINT x": R,
    "ROLLBACK TO SAVEPOINT x": R,
    "EXPLAIN SELECT 1": R,
    "BEGIN": C,
    "INSERT INTO t VALUES (1)": W,
    "UPDATE t SET a = 1": W,
    "DELETE FROM t": W,
    "DROP TABLE t": D,
    "drop\n\ttable t": D,
    "/* SELECT */ DROP TABLE t": D,
    "-- SELECT 1\nDROP TABLE t": D,
    "ALTER TABLE t DROP COLUMN a": D,
    "ALTER TABLE t DROP a": D,
    "ALTER TABLE t RENAME COLUMN a TO b": D,
    "ALTER TABLE t RENAME TO u": D,
    "ALTER TABLE t ADD COLUMN b int, DROP COLUMN a": D,
    "ALTER TABLE t ADD COLUMN a int": A,
    "ALTER TABLE t ADD a int": A,
    "ALTER TABLE t ADD COLUMN a varchar(9) DEFAULT ', DROP COLUMN b'": A,
    "CREATE TABLE t (a int)": A,
    "CREATE TABLE IF NOT EXISTS t (a numeric(10, 2), FOREIGN KEY (a) REFERENCES u (a) ON DELETE CASCADE)": A,
    "CREATE TABLE t AS SELECT a FROM u": A,
    "CREATE INDEX i ON t (a)": A,
    "CREATE UNIQUE INDEX i ON t (a, b DESC)": A,
    "CREATE VIEW v AS SELECT drop_it()": A,
    "CREATE TEMPORARY TABLE t (a int)": X,
    "SELECT 'no end": X,
    "SELECT 1 /* no end": X,
    "FROBNICATE t": X,
    "'DROP TABLE t'": X,
}
MYSQL_FAMILY = {
    "SHOW TABLES": R,
    "SHOW CREATE TABLE `t`": R,
    "SHOW TABLES WHERE drop_it()": X,
    "DESCRIBE t": R,
    "DESC t a": R,
    "DO 1": R,
    "DO sleep(1)": R,
    "SET @x = 1": R,
    "SET lock_wait_timeout = 5": R,
    "SET SESSION sql_mode = 'ANSI_QUOTES', foreign_key_checks = 0": R,
    "SET @@session.unique_checks = 0": R,
    "SET NAMES utf8mb4": R,
    "COMMIT": R,
    "ROLLBACK": R,
    "PREPARE x FROM 'DROP TABLE t'": R,
    "ANALYZE TABLE t": R,
    "SELECT a INTO @x FROM t": R,
    "SELECT a FROM t FOR UPDATE": R,
    "SELECT a FROM t USE INDEX (i)": R,
    "SELECT REPLACE(a, 'x', 'y') FROM t": R,
    "EXPLAIN DELETE FROM t": R,
    "# DROP TABLE t\nSELECT 1": R,
    "/*!40101 SET NAMES utf8mb4 */": R,
    "SELECT `DELETE` FROM t": R,
    "SELECT 5--1": R,
    "START TRANSACTION": C,
    "LOCK TABLES t READ": C,
    "UNLOCK TABLES": C,
    "USE other": C,
    "SET autocommit = 1": C,
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED": C,
    "SET GLOBAL foreign_key_checks = 0": C,
    "SET @x = drop_it()": C,
    "SET lock_wait_timeout = 5, autocommit = 0": C,
    "SELECT drop_it()": X,
    "SELECT drop_it ()": X,
    "SELECT `drop_it`()": X,
    "SELECT app.lower(a) FROM t": X,
    "SELECT RELEASE_ALL_LOCKS()": X,
    "SELECT * FROM t INTO OUTFILE 'x'": X,
    "DO drop_it()": X,
    "CALL drop_it()": X,
    "EXECUTE x": X,
    "SELECT 1; DROP TABLE t": X,
    "CREATE TABLE t (a int); CREATE TABLE u (a int)": X,
    "EXPLAIN ANALYZE DELETE FROM t": X,
    "TRUNCATE TABLE t": W,
    "REPLACE INTO t VALUES (1)": W,
    "LOAD DATA INFILE 'x' INTO TABLE t": W,
    "WITH x AS (SELECT 1) DELETE FROM t": W,
    "DROP TEMPORARY TABLE t": D,
    "DROP TRIGGER x": D,
    "DROP INDEX i ON t": D,
    "RENAME TABLE t TO u": D,
    "# add\nALTER TABLE t DROP COLUMN a": D,
    "ALTER TABLE t DROP a, ADD b INT": D,
    "ALTER TABLE t DROP COLUMN a # gone": D,
    "ALTER TABLE t CHANGE a b INT": D,
    "ALTER TABLE t CHANGE COLUMN `a` `b` INT": D,
    "ALTER TABLE t DROP FOREIGN KEY f": D,
    "ALTER TABLE t DROP CHECK c": D,
    "ALTER TABLE t DROP INDEX i": D,
    "ALTER TABLE t RENAME INDEX a TO b": D,
    "ALTER TABLE t DROP PARTITION p0": D,
    "ALTER TABLE t DROP PARTITION p0, `p1`": D,
    "ALTER TABLE t DROP PARTITION p0 ENGINE = BLACKHOLE": X,
    "ALTER TABLE t TRUNCATE PARTITION p0, p1": W,
    "ALTER TABLE t ADD a INT, DISCARD PARTITION p0 TABLESPACE": X,
    "ALTER TABLE t DISCARD PARTITION p0 TABLESPACE": X,
    "ALTER TABLE t OPTIMIZE PARTITION p0, p1": A,
    "ALTER TABLE t ADD b INT DEFAULT (5--1), DROP COLUMN a": D,
    "/*!50000 ALTER TABLE t DROP COLUMN a */": D,
    "/*!50000 DROP TABLE t */": D,
    "DROP VIEW v": X,
    "DROP DATABASE d": X,
    "DROP PROCEDURE p": X,
    "DROP FUNCTION f": X,
    "DROP EVENT e": X,
    "RENAME USER a TO b": X,
    "(DELETE FROM t)": X,
    "SELECT * FROM t PROCEDURE ANALYSE()": X,
    "SET PASSWORD = 'x'": C,
    "KILL 5": X,
    "VALUES ROW(drop_it())": X,
    "CREATE OR REPLACE VIEW v AS SELECT 1": X,
    "CREATE EVENT e ON SCHEDULE AT NOW() DO DELETE FROM t": X,
    "CREATE FUNCTION f RETURNS INT SONAME 'x.so'": X,
    "CREATE TABLE t AS SELECT drop_it()": X,
    "CREATE TABLE t REPLACE SELECT 1": X,
    "ALTER TABLE t TRUNCATE PARTITION p0": W,
    "ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE u": X,
    "ALTER TABLE t ENGINE=BLACKHOLE": X,
    "ALTER TABLE t ENGINE MEMORY": X,
    "ALTER TABLE t COMMENT 'x' ENGINE = BLACKHOLE": X,
    "ALTER TABLE t DISCARD TABLESPACE": X,
    "ALTER TABLE t IMPORT TABLESPACE": X,
    "ALTER TABLE t DROP SYSTEM VERSIONING": X,
    "ALTER IGNORE TABLE t ADD UNIQUE (a)": X,
    "ALTER TABLE t ADD COLUMN a INT, FROBNICATE": X,
    "ALTER TABLE t REPAIR PARTITION p0": X,
    "ALTER DATABASE d CHARACTER SET latin1": X,
    "ALTER VIEW v AS SELECT 1": X,
    "FLUSH TABLES": X,
    "REPAIR TABLE t": X,
    "HANDLER t OPEN": X,
    "INSTALL PLUGIN x SONAME 'y'": X,
    "XA START 'x'": C,
    "ALTER TABLE t ADD x INT /*! , DROP COLUMN a */": X,
    "SELECT /*!50000 drop_it() */ 1": X,
    "SELECT 1 /*!50000 /* */ , drop_it() */": X,
    "SELECT 'a\\'; DROP TABLE t; -- '": X,
    "ALTER TABLE t MODIFY a INT NOT NULL": A,
    "ALTER TABLE t CHANGE a A BIGINT": A,
    "ALTER TABLE t MODIFY COLUMN `a` VARCHAR(9) COMMENT 'DROP'": A,
    "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4": A,
    "ALTER TABLE t ENGINE=InnoDB": A,
    "ALTER TABLE t ENGINE = InnoDB ROW_FORMAT = DYNAMIC": A,
    "ALTER TABLE t FORCE, ALGORITHM=INPLACE, LOCK=NONE": A,
    "ALTER TABLE t ADD INDEX i (a(10)), ADD UNIQUE KEY u (b)": A,
    "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (a) ON DELETE SET NULL": A,
    "ALTER TABLE t ADD COLUMN (a INT, b INT)": A,
    "ALTER TABLE t ADD COLUMN a INT AFTER `drop`": A,
    "ALTER TABLE t ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))": A,
    "ALTER TABLE t REORGANIZE PARTITION p0 INTO (PARTITION p1 VALUES LESS THAN (9))": A,
    "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (a, b)": A,
    "ALTER TABLE t ALTER COLUMN a SET DEFAULT 1": A,
    "ALTER TABLE t ALTER a DROP DEFAULT": A,
    "ALTER TABLE t ALTER INDEX i INVISIBLE": A,
    "ALTER TABLE t AUTO_INCREMENT = 5": A,
    "CREATE TABLE t (a ENUM('x'), KEY k (a)) ENGINE=InnoDB PARTITION BY RANGE (a) "
    "(PARTITION p VALUES LESS THAN (1))": A,
    "CREATE TABLE t LIKE u": A,
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1": A,
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW BEGIN IF NEW.a THEN SET NEW.a = 1; END IF; END": A,
    "CREATE DEFINER=`root`@`localhost` TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1": A,
    "CREATE DEFINER=root@localhost PROCEDURE p() BEGIN DELETE FROM t; END;": A,
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.a = 1; END; DROP TABLE t": X,
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1; DROP TABLE t": X,
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.a = 1": X,
    "OPTIMIZE TABLE t": A,
    "GRANT SELECT ON t TO x": A,
}
MARIADB = {
    "ANALYZE DELETE FROM t": W,
    "ANALYZE FORMAT=JSON DELETE FROM t": W,
    "ANALYZE SELECT 1": R,
    "SET STATEMENT lock_wait_timeout=1 FOR DELETE FROM t": W,
    "SET STATEMENT lock_wait_timeout=1 FOR SELECT 1": R,
    "SET STATEMENT lock_wait_timeout=1 FOR DROP TABLE t": X,
    "SET STATEMENT autocommit=1 FOR SELECT 1": C,
    "BEGIN NOT ATOMIC DELETE FROM t; END": X,
    "EXECUTE IMMEDIATE 'DROP TABLE t'": X,
    "/*M!100100 DROP TABLE t */": D,
    "CREATE OR REPLACE TABLE t (a int)": D,
    "CREATE OR REPLACE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1": D,
    "CREATE OR REPLACE DATABASE d": X,
    "CREATE OR REPLACE FUNCTION f() RETURNS INT RETURN 1": X,
    "CREATE SEQUENCE s": A,
    "ALTER ONLINE TABLE t ADD a INT": A,
    "ALTER TABLE t WAIT 5 ADD a INT": A,
    "ALTER TABLE t WAIT 5 DROP a": D,
    "ALTER TABLE t CONVERT PARTITION p TO TABLE u": X,
    "DROP SEQUENCE s": X,
}
POSTGRESQL = {
    "SHOW lock_timeout": R,
    "SET lock_timeout = '5s'": R,
    "SET LOCAL statement_timeout TO 0": R,
    "SET TIME ZONE 'UTC'": R,
    "RESET lock_timeout": R,
    "LOCK TABLE t IN SHARE MODE": R,
    "ANALYZE t": R,
    "SELECT pg_catalog.pg_get_expr(a, b) FROM pg_class": R,
    "SELECT a::varchar(40), ARRAY(SELECT 1) FROM t FOR NO KEY UPDATE": R,
    "SELECT * FROM (VALUES (1)) AS v (a)": R,
    "SELECT count(*) FILTER (WHERE a > 1) FROM t": R,
    "SELECT $$ DROP TABLE t $$, E'it\\'s', $x$ ; $x$": R,
    "SELECT * FROM t WHERE a = %(a)s": R,
    "EXPLAIN (FORMAT json) DELETE FROM t": R,
    "SELECT 1 /* /* nested */ ; DROP TABLE t */": R,
    "COMMIT": C,
    "END": C,
    "ABORT": C,
    "ROLLBACK": C,
    "ROLLBACK AND CHAIN": C,
    "PREPARE TRANSACTION 'x'": C,
    "START TRANSACTION": C,
    "SET search_path = other": C,
    "SET ROLE other": C,
    "SET SESSION AUTHORIZATION other": C,
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ": C,
    "RESET ALL": C,
    "DISCARD ALL": C,
    "UPDATE t SET a = 1; COMMIT": X,
    "SELECT 1; COMMIT; DROP TABLE t": X,
    "ROLLBACK TO SAVEPOINT x; DROP TABLE t": X,
    "SELECT 1; ROLLBACK TO SAVEPOINT x": R,
    "DROP TRIGGER x ON t; DROP FUNCTION f()": D,
    "SELECT drop_it()": D,
    'SELECT "drop_it"()': D,
    "SELECT app.drop_it()": D,
    "SELECT * FROM drop_it() AS (a int)": D,
    "SELECT * INTO u FROM t": D,
    "SELECT lo_unlink(1)": D,
    "SELECT pg_catalog.query_to_xml('DELETE FROM t', true, false, '')": D,
    "SELECT set_config('search_path', 'x', false)": D,
    "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x": D,
    "EXPLAIN SELECT drop_it()": D,
    "EXPLAIN ANALYZE DELETE FROM t": W,
    "EXPLAIN (ANALYZE, BUFFERS) DELETE FROM t": W,
    "EXPLAIN ANALYZE CREATE TABLE u AS WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x": D,
    "CREATE TABLE u AS WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x": D,
    "CREATE TABLE u AS WITH x AS (DELETE FROM t RETURNING *) TABLE x": D,
    "CREATE TABLE u AS VALUES (drop_it())": D,
    "CREATE TABLE u AS EXECUTE x": D,
    "CREATE TABLE u (a int GENERATED ALWAYS AS (b + 1) STORED) WITH (fillfactor = 70)": A,
    "CREATE TABLE u PARTITION OF t FOR VALUES FROM (1) TO (2)": A,
    "CREATE TEMP TABLE u (a int)": X,
    "CREATE MATERIALIZED VIEW v AS SELECT 1": D,
    "CREATE OR REPLACE VIEW v AS SELECT 1": D,
    "CREATE EXTENSION x": D,
    "CREATE INDEX CONCURRENTLY i ON t (a)": A,
    "CREATE INDEX CONCURRENTLY i ON ONLY s.t USING gin (a jsonb_path_ops) INCLUDE (b) WHERE a > 0": A,
    "CREATE INDEX i ON t (lower(a))": A,
    "CREATE INDEX CONCURRENTLY i ON t (drop_it(a))": D,
    "CREATE INDEX CONCURRENTLY i ON t (a); DROP TABLE t": D,
    "DROP INDEX CONCURRENTLY i": A,
    "DROP INDEX i": D,
    "DROP FUNCTION f()": D,
    "TRUNCATE t": W,
    "COPY t FROM STDIN": W,
    "CALL drop_it()": D,
    "DO $$ BEGIN DELETE FROM t; END $$": D,
    "EXECUTE x": D,
    "REFRESH MATERIALIZED VIEW v": D,
    "ALTER TABLE IF EXISTS ONLY s.t ADD COLUMN b int, DROP COLUMN a": D,
    "ALTER TABLE t ALTER COLUMN a TYPE int USING a::int": D,
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL": D,
    "ALTER TABLE t DETACH PARTITION p": D,
    "ALTER TABLE t DETACH PARTITION p CONCURRENTLY": D,
    "ALTER TABLE t DISABLE TRIGGER ALL": D,
    "ALTER TABLE t SET SCHEMA other": D,
    "ALTER TABLE t ADD COLUMN b int DEFAULT drop_it()": D,
    "ALTER TABLE t ADD CHECK (drop_it(a))": D,
    'ALTER TABLE "a,b" DROP COLUMN c': D,
    "ALTER TYPE x DROP ATTRIBUTE a": D,
    "ALTER TYPE x RENAME VALUE 'a' TO 'b'": D,
    "ALTER VIEW v RENAME TO w": D,
    "ALTER SCHEMA s RENAME TO r": D,
    "ALTER TYPE x ADD VALUE 'y'": A,
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a IN (1, 2)) NOT VALID": A,
    "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES s.u (a) NOT VALID": A,
    "ALTER TABLE t ADD CONSTRAINT c EXCLUDE USING gist (a WITH &&)": A,
    "ALTER TABLE t VALIDATE CONSTRAINT c": A,
    "ALTER TABLE t ALTER a SET DEFAULT now()": A,
    "ALTER TABLE t ALTER a DROP NOT NULL": A,
    "ALTER TABLE t SET (autovacuum_enabled = off)": A,
    "COMMENT ON TABLE t IS 'x'": A,
    "VACUUM t": A,
    "REINDEX INDEX CONCURRENTLY i": A,
    "SELECT $x$ no end": X,
}
SQLITE = {
    "PRAGMA foreign_keys = ON": R,
    "PRAGMA main.table_info('t')": R,
    "PRAGMA user_version": R,
    "PRAGMA user_version = 5": D,
    "PRAGMA writable_schema = ON": D,
    "COMMIT": C,
    "END": C,
    "ROLLBACK": C,
    "INSERT OR ROLLBACK INTO t VALUES (1)": C,
    "INSERT INTO _alembic_tmp_t (a) SELECT t.a FROM t": W,
    "SELECT load_extension('x')": D,
    "ALTER TABLE _alembic_tmp_t RENAME TO t": D,
    "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; END": A,
    "ATTACH 'x' AS y": D,
}

CORPUS = (
    [(product, text, effect) for product in SERVERS for text, effect in EVERYWHERE.items()]
    + [(product, text, effect) for product in ("mysql", "mariadb") for text, effect in MYSQL_FAMILY.items()]
    + [("mariadb", text, effect) for text, effect in MARIADB.items()]
    + [("postgresql", text, effect) for text, effect in POSTGRESQL.items()]
    + [("sqlite", text, effect) for text, effect in SQLITE.items()]
)


@pytest.mark.parametrize(("product", "text", "effect"), CORPUS)
def test_corpus(product: str, text: str, effect: Impact) -> None:
    """What is not known to be harmless is never a read and never sent without the lock."""
    verdict = classify(text, product)
    assert verdict.impact is effect, verdict
    if effect in (Impact.REFUSED, Impact.CONTROL):
        assert verdict.reason
        assert verdict.hint


@given(st.sampled_from(CORPUS), st.randoms(use_true_random=False))
def test_case_comments_and_whitespace_do_not_change_the_verdict(
    case: tuple[str, str, Impact], random: random.Random
) -> None:
    """The same tokens, written in another way."""
    product, text, effect = case
    if effect is Impact.REFUSED or len(readings(text, product)) > 1 or "/*!" in text or "/*M!" in text:
        return  # may be unreadable, or read in more than one way
    assert classify("".join(rewritten(product, text, random)), product).impact is effect


def rewritten(product: str, text: str, random: random.Random) -> Iterator[str]:
    """The tokens of *text* with other gaps between them, and words in another case."""
    gaps = [" ", "\n", "\t", " /* DROP TABLE t; */ ", " -- ; DELETE\n"]
    if product in ("mysql", "mariadb"):
        gaps.append(" # COMMIT;\n")
    start = 0
    for token in readings(text, product)[0]:
        before = text[start : token.end]
        word = before.lstrip(" \t\n")
        gap = random.choice(gaps) if len(word) < len(before) else ""
        is_word = token.sort is Sort.WORD and word == token.text
        yield gap + (random.choice([str.lower, str.upper, str])(word) if is_word else word)
        start = token.end


@given(st.sampled_from(SERVERS), st.text(max_size=200))
def test_any_text_is_judged_without_a_crash(product: str, text: str) -> None:
    """A verdict, and with a refusal what to do about it."""
    verdict = classify(text, product)
    assert verdict.impact is not Impact.REFUSED or (verdict.reason and verdict.hint)


@given(st.sampled_from(SERVERS), st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
def test_a_call_of_an_unknown_function_is_never_a_read(product: str, name: str) -> None:
    """Only names of the list are calls that change nothing."""
    verdict = classify(f"SELECT app_{name}(a) FROM t", product)
    assert verdict.impact in (Impact.DESTRUCTIVE, Impact.REFUSED)
    assert not verdict.recorded


@pytest.mark.parametrize("product", SERVERS)
def test_every_harmless_function_may_be_called(product: str) -> None:
    """In a query, with a qualifier only on the product where that names a built-in."""
    for name in HARMLESS[product]:
        if name not in ("VALUES", "INTERVAL"):
            assert classify(f"SELECT {name}(a) FROM t", product).impact is Impact.READ, name


@pytest.mark.parametrize("product", ["mysql", "mariadb"])
def test_what_may_convert_values_is_marked(product: str) -> None:
    """The product is then asked for a form in which it converts none."""
    assert classify("ALTER TABLE t MODIFY a INT", product).in_place
    assert classify("ALTER TABLE t ADD b INT, CHANGE a a INT", product).in_place
    assert not classify("ALTER TABLE t ADD b INT", product).in_place


@pytest.mark.parametrize("text", ["SELECT f()", "SET x = 1", "EXPLAIN ANALYZE DELETE FROM t", "SHOW TABLES"])
@pytest.mark.parametrize("product", ["postgresql", "mysql", "mariadb"])
def test_queries_and_settings_are_not_recorded(product: str, text: str) -> None:
    """A script that is run again asks again."""
    assert not classify(text, product).recorded
