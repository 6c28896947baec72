"""Each rule of lint: a script in which it finds something, with the line, and one in which it does not."""

from __future__ import annotations

import dataclasses

import pytest

from online_migrate.lint.registry import built_in
from online_migrate.lint.rules.additive import VERDICTS
from online_migrate.lint.schema import Schema
from online_migrate.lint.script import Script, Statement, Step
from online_migrate.lint.violation import Severity
from online_migrate.phases.known import Server
from online_migrate.phases.rules import RULES
from online_migrate.phases.verdict import Verdict
from online_migrate.script.graph import Phase
from online_migrate.sql.operations.operation import Query
from tests.support.lint import findings, script

PG, MYSQL = "postgresql", "mysql"


@dataclasses.dataclass(frozen=True)
class Case:
    """A rule, what it finds, and what it does not; *good* and *bad*: the statements of a script."""

    rule: str
    bad: str | tuple[str, ...]
    good: str | tuple[str, ...]
    server: str = PG
    before: str = ""
    line: int = 1


T = "CREATE TABLE t (id bigint PRIMARY KEY, a integer, b varchar(20), c numeric(8,2), d text)"
U = f"{T}; CREATE TABLE u (id bigint PRIMARY KEY, t_id bigint)"
CASES = [
    Case("create-index-blocks-writes", "CREATE INDEX i ON t (a)", "CREATE INDEX CONCURRENTLY i ON t (a)"),
    Case(
        "create-index-blocks-writes",
        ("SELECT 1", "CREATE UNIQUE INDEX i ON t (a)"),
        ("CREATE TABLE t (a integer)", "CREATE INDEX i ON t (a)"),
        line=2,
    ),
    Case("drop-index-blocks", "DROP INDEX i", "DROP INDEX CONCURRENTLY i"),
    Case("concurrently-in-transaction", "CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX i ON t (a)"),
    Case(
        "concurrently-in-transaction", "DROP INDEX CONCURRENTLY i", "REFRESH MATERIALIZED VIEW CONCURRENTLY v"
    ),
    Case(
        "index-dropped-before-replacement",
        ("DROP INDEX i", "CREATE INDEX j ON t (a, b)"),
        ("CREATE INDEX j ON t (a, b)", "DROP INDEX i"),
        before=f"{T}; CREATE INDEX i ON t (a)",
    ),
    Case("index-of-many-columns", "CREATE INDEX i ON t (a, b, c, d)", "CREATE INDEX i ON t (a, b, c)"),
    Case(
        "foreign-key-validates",
        "ALTER TABLE u ADD CONSTRAINT f FOREIGN KEY (t_id) REFERENCES t (id)",
        "ALTER TABLE u ADD CONSTRAINT f FOREIGN KEY (t_id) REFERENCES t (id) NOT VALID",
    ),
    Case(
        "check-validates",
        "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)",
        "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID",
    ),
    Case(
        "validate-with-add",
        ("ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT VALID", "ALTER TABLE t VALIDATE CONSTRAINT k"),
        "ALTER TABLE t VALIDATE CONSTRAINT k",
        line=2,
    ),
    Case(
        "unique-constraint-builds-index",
        "ALTER TABLE t ADD CONSTRAINT q UNIQUE (a)",
        "ALTER TABLE t ADD CONSTRAINT q UNIQUE USING INDEX q",
    ),
    Case(
        "unique-constraint-builds-index",
        "ALTER TABLE t ADD PRIMARY KEY (id)",
        ("CREATE TABLE t (id integer)", "ALTER TABLE t ADD PRIMARY KEY (id)"),
    ),
    Case(
        "primary-key-sets-not-null",
        "ALTER TABLE t ADD CONSTRAINT p PRIMARY KEY USING INDEX i",
        "ALTER TABLE t ADD CONSTRAINT p PRIMARY KEY USING INDEX j",
        before="CREATE TABLE t (a integer, b integer NOT NULL); CREATE UNIQUE INDEX i ON t (a); "
        "CREATE UNIQUE INDEX j ON t (b)",
    ),
    Case(
        "exclusion-constraint",
        "ALTER TABLE t ADD CONSTRAINT x EXCLUDE USING gist (r WITH &&)",
        "ALTER TABLE t ADD CONSTRAINT x CHECK (a > 0)",
    ),
    Case(
        "foreign-key-without-index",
        "CREATE TABLE v (id bigint PRIMARY KEY, t_id bigint REFERENCES t (id))",
        (
            "CREATE TABLE v (id bigint PRIMARY KEY, t_id bigint REFERENCES t (id))",
            "CREATE INDEX i ON v (t_id)",
        ),
    ),
    Case(
        "foreign-key-type-mismatch",
        "CREATE TABLE v (id bigint PRIMARY KEY, t_id integer REFERENCES t (id))",
        "CREATE TABLE v (id bigint PRIMARY KEY, t_id bigint REFERENCES t (id))",
        before=T,
    ),
    Case(
        "foreign-key-type-mismatch",
        "CREATE TABLE v (id bigint PRIMARY KEY, w varchar(9), FOREIGN KEY (w) REFERENCES t (id))",
        "CREATE TABLE v (id bigint PRIMARY KEY, w varchar(9), FOREIGN KEY (w) REFERENCES t (name))",
        server=MYSQL,
        before=T,
    ),
    Case(
        "set-not-null-scans",
        "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
        ("ALTER TABLE t VALIDATE CONSTRAINT k", "ALTER TABLE t ALTER COLUMN a SET NOT NULL"),
        before=f"{T}; ALTER TABLE t ADD CONSTRAINT k CHECK (a IS NOT NULL) NOT VALID",
    ),
    Case(
        "add-column-rewrites",
        "ALTER TABLE t ADD COLUMN n uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE t ADD COLUMN n timestamptz DEFAULT now()",
    ),
    Case(
        "add-stored-column",
        "ALTER TABLE t ADD COLUMN n integer GENERATED ALWAYS AS (a * 2) STORED",
        "ALTER TABLE t ADD COLUMN n integer",
    ),
    Case("serial-column-rewrites", "ALTER TABLE t ADD COLUMN n serial", "ALTER TABLE t ADD COLUMN n integer"),
    Case(
        "add-column-with-constraint",
        "ALTER TABLE t ADD COLUMN n integer UNIQUE",
        "ALTER TABLE t ADD COLUMN n bigint REFERENCES u (id)",
    ),
    Case(
        "alter-type-locks-table",
        "ALTER TABLE t ALTER COLUMN a TYPE bigint",
        "ALTER TABLE t ALTER COLUMN b TYPE varchar(30)",
        before=T,
    ),
    Case(
        "alter-type-locks-table",
        "ALTER TABLE t ALTER COLUMN c TYPE numeric(10,4)",
        "ALTER TABLE t ALTER COLUMN c TYPE numeric(10,2)",
        before=T,
    ),
    Case("table-rewritten-by-maintenance", "VACUUM FULL t", "VACUUM t"),
    Case("table-rewritten-by-maintenance", "CLUSTER t USING i", "ANALYZE t"),
    Case("reindex-blocks", "REINDEX TABLE t", "REINDEX TABLE CONCURRENTLY t"),
    Case(
        "refresh-blocks-reads",
        "REFRESH MATERIALIZED VIEW v",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
    ),
    Case("table-option-rewrites", "ALTER TABLE t SET TABLESPACE fast", "ALTER TABLE t SET (fillfactor = 70)"),
    Case(
        "detach-partition-blocks",
        "ALTER TABLE t DETACH PARTITION p",
        "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
    ),
    Case(
        "attach-partition-scans",
        "ALTER TABLE t ATTACH PARTITION p FOR VALUES IN (1)",
        (
            "CREATE TABLE p (a integer)",
            "ALTER TABLE t ATTACH PARTITION p FOR VALUES IN (1)",
        ),
    ),
    Case(
        "create-partition-locks-parent",
        "CREATE TABLE p PARTITION OF t FOR VALUES IN (1)",
        (
            "CREATE TABLE t (a integer) PARTITION BY LIST (a)",
            "CREATE TABLE p PARTITION OF t FOR VALUES IN (1)",
        ),
    ),
    Case(
        "enum-value-used-in-transaction",
        ("ALTER TYPE mood ADD VALUE 'new'", "ALTER TABLE t ALTER COLUMN m SET DEFAULT 'new'"),
        ("ALTER TYPE mood ADD VALUE 'new'", "ALTER TABLE t ALTER COLUMN m SET DEFAULT 'old'"),
        line=2,
    ),
    Case("create-enum", "CREATE TYPE mood AS ENUM ('a', 'b')", "CREATE TYPE pair AS (a integer, b integer)"),
    Case(
        "several-tables-in-transaction",
        ("ALTER TABLE t ADD COLUMN n integer", "ALTER TABLE u ADD COLUMN n integer"),
        ("ALTER TABLE t ADD COLUMN n integer", "ALTER TABLE t ADD COLUMN m integer"),
        line=2,
    ),
    Case(
        "slow-statement-under-lock",
        ("ALTER TABLE t ADD COLUMN n integer", "UPDATE t SET n = 1 WHERE a = 2"),
        ("UPDATE t SET n = 1 WHERE a = 2", "ALTER TABLE t ADD COLUMN n integer"),
        line=2,
    ),
    Case(
        "slow-statement-under-lock",
        ("ALTER TABLE t ADD COLUMN n integer", "SELECT count(*) FROM u"),
        (
            "ALTER TABLE t ADD COLUMN n integer",
            "SELECT 1",
            "SELECT count(*) FROM information_schema.columns",
            "SELECT relname FROM pg_class",
            "CREATE TABLE v (id bigint)",
            "SELECT count(*) FROM v",
        ),
        line=2,
    ),
    Case(
        "alter-table-repeated",
        ("ALTER TABLE t ADD COLUMN n integer", "ALTER TABLE t ADD COLUMN m integer"),
        "ALTER TABLE t ADD COLUMN n integer, ADD COLUMN m integer",
        line=2,
    ),
    Case(
        "drop-table-with-foreign-keys",
        "DROP TABLE v",
        "DROP TABLE u",
        before=f"{U}; CREATE TABLE v (id bigint, a bigint REFERENCES t (id), b bigint REFERENCES u (id))",
    ),
    Case("json-column", "ALTER TABLE t ADD COLUMN n json", "ALTER TABLE t ADD COLUMN n jsonb"),
    Case(
        "timestamp-without-time-zone",
        "CREATE TABLE v (n timestamp)",
        "CREATE TABLE v (n timestamptz)",
    ),
    Case("char-column", "CREATE TABLE v (n char(3))", "CREATE TABLE v (n varchar(3))"),
    Case("varchar-length", "CREATE TABLE v (n varchar(3))", "CREATE TABLE v (n text)"),
    Case(
        "serial-column", "CREATE TABLE v (n serial)", "CREATE TABLE v (n bigint GENERATED ALWAYS AS IDENTITY)"
    ),
    Case(
        "small-primary-key",
        "CREATE TABLE v (n integer, PRIMARY KEY (n))",
        "CREATE TABLE v (n bigint PRIMARY KEY, m integer)",
    ),
    Case("small-integer", "CREATE TABLE v (n integer)", "CREATE TABLE v (n bigint)"),
    Case("name-too-long", f"CREATE TABLE {'n' * 64} (a integer)", f"CREATE TABLE {'n' * 63} (a integer)"),
    Case(
        "name-too-long",
        f"CREATE INDEX {'n' * 65} ON t (a)",
        f"CREATE INDEX {'n' * 64} ON t (a)",
        server=MYSQL,
    ),
    Case("table-without-schema", "CREATE TABLE v (a integer)", "CREATE TABLE public.v (a integer)"),
    Case("whole-table-change", "UPDATE t SET a = 1", "UPDATE t SET a = 1 WHERE id < 100"),
    Case("whole-table-change", "DELETE FROM t WHERE 1 = 1", "DELETE FROM t WHERE a IS NULL", server=MYSQL),
    Case(
        "column-dropped-before-trigger",
        ("ALTER TABLE t DROP COLUMN a", "DROP TRIGGER g ON t"),
        ("DROP TRIGGER g ON t", "ALTER TABLE t DROP COLUMN a"),
        before=f"{T}; CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN NEW.d := NEW.a; RETURN NEW; END $$ "
        "LANGUAGE plpgsql; CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    ),
    Case(
        "column-dropped-before-trigger",
        ("ALTER TABLE t DROP COLUMN a", "DROP TRIGGER g"),
        ("DROP TRIGGER g", "ALTER TABLE t DROP COLUMN a"),
        server=MYSQL,
        before=f"{T}; CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.d = NEW.a",
    ),
    # --- MySQL and MariaDB
    Case(
        "change-type-copies",
        "ALTER TABLE t MODIFY a bigint",
        "ALTER TABLE t MODIFY b varchar(40)",
        server=MYSQL,
        before=T,
    ),
    Case(
        "change-type-copies",
        "ALTER TABLE t MODIFY b varchar(10)",
        "ALTER TABLE t MODIFY b varchar(300)",
        server="mariadb",
        before=T,
    ),
    Case(
        "default-expression-copies",
        "ALTER TABLE t ADD COLUMN n varchar(36) DEFAULT (uuid())",
        "ALTER TABLE t ADD COLUMN n integer DEFAULT (1 + 1)",
        server="mariadb",
    ),
    Case(
        "column-redefined",
        "ALTER TABLE v MODIFY a integer",
        "ALTER TABLE v MODIFY a integer DEFAULT 1 COMMENT 'x'",
        server=MYSQL,
        before="CREATE TABLE v (a integer DEFAULT 1 COMMENT 'x')",
    ),
    Case(
        "primary-key-dropped",
        "ALTER TABLE t DROP PRIMARY KEY",
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (a)",
        server=MYSQL,
    ),
    Case(
        "foreign-key-copies",
        "ALTER TABLE u ADD CONSTRAINT f FOREIGN KEY (t_id) REFERENCES t (id)",
        (
            "SET SESSION foreign_key_checks = 0",
            "ALTER TABLE u ADD CONSTRAINT f FOREIGN KEY (t_id) REFERENCES t (id)",
        ),
        server="mariadb",
    ),
    Case(
        "check-copies",
        "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0)",
        "ALTER TABLE t ADD CONSTRAINT k CHECK (a > 0) NOT ENFORCED",
        server=MYSQL,
    ),
    Case(
        "table-option-copies",
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
        "ALTER TABLE t COMMENT = 'x'",
        server=MYSQL,
    ),
    Case(
        "table-option-copies",
        "ALTER TABLE t ENGINE = MyISAM",
        "ALTER TABLE t STATS_PERSISTENT = 1",
        server=MYSQL,
    ),
    Case(
        "partitions-copied",
        "ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 4",
        "ALTER TABLE t DROP PARTITION p1",
        server=MYSQL,
    ),
    Case(
        "stored-column-copies",
        "ALTER TABLE t ADD COLUMN n integer GENERATED ALWAYS AS (a * 2) STORED",
        "ALTER TABLE t ADD COLUMN n integer GENERATED ALWAYS AS (a * 2) VIRTUAL",
        server=MYSQL,
    ),
    Case(
        "default-expression-copies",
        "ALTER TABLE t ADD COLUMN n varchar(36) DEFAULT (uuid())",
        "ALTER TABLE t ADD COLUMN n varchar(36) DEFAULT 'x'",
        server=MYSQL,
    ),
    Case(
        "auto-increment-locks",
        "ALTER TABLE t ADD COLUMN n bigint NOT NULL AUTO_INCREMENT UNIQUE",
        "ALTER TABLE t ADD COLUMN n bigint",
        server=MYSQL,
    ),
    Case(
        "index-locks-writes",
        "CREATE FULLTEXT INDEX i ON t (d)",
        "CREATE INDEX i ON t (a)",
        server=MYSQL,
    ),
    Case(
        "not-null-rebuilds",
        "ALTER TABLE t MODIFY a integer NOT NULL",
        "ALTER TABLE t MODIFY a integer",
        server=MYSQL,
        before=T,
    ),
    Case(
        "too-many-instant-changes",
        tuple(f"ALTER TABLE t ADD COLUMN n{i} integer" for i in range(65)),
        tuple(f"ALTER TABLE t ADD COLUMN n{i} integer" for i in range(64)),
        server=MYSQL,
        line=65,
    ),
    Case(
        "utf8mb3",
        "ALTER TABLE t ADD COLUMN n varchar(9) CHARACTER SET utf8",
        "ALTER TABLE t ADD COLUMN n varchar(9) CHARACTER SET utf8mb4",
        server=MYSQL,
    ),
    Case("optimize-rebuilds", "OPTIMIZE TABLE t", "ANALYZE TABLE t", server=MYSQL),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.server}")
def test_rule_finds_the_bad_script(case: Case) -> None:
    """The rule reports the statement at its line, with every placeholder of its texts filled."""
    found = findings(case.rule, script(case.bad, case.server, before=case.before))
    assert [finding.line for finding in found] == [case.line]
    rule = built_in()[case.rule]
    for text in (rule.reason_for(found[0]), rule.replacement_for(found[0])):
        assert text
        assert "{" not in text, text


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.server}")
def test_rule_accepts_the_good_script(case: Case) -> None:
    """The replacement, or a form that does not block, is not reported."""
    assert findings(case.rule, script(case.good, case.server, before=case.before)) == []


def test_lock_timeout_is_missing_in_a_sql_file() -> None:
    """The first statement that waits for a lock of an existing table."""
    bad = "CREATE TABLE n (a integer);\nALTER TABLE n ADD b integer;\n\nALTER TABLE t ADD b integer;\n"
    assert [f.line for f in findings("lock-timeout-missing", script(bad, phase=None))] == [4]
    good = f"SET lock_timeout = '1s';\n{bad}"
    assert findings("lock-timeout-missing", script(good, phase=None)) == []
    assert findings("lock-timeout-missing", script("ALTER TABLE t ADD b integer")) == []
    mariadb = "SET SESSION lock_wait_timeout = 1;\nALTER TABLE t ADD b integer;"
    assert findings("lock-timeout-missing", script(mariadb, "mariadb", phase=None)) == []


def test_contract_that_only_adds() -> None:
    """A contract script that also drops something is not reported, and an expand script never."""
    add, drop = "ALTER TABLE t ADD COLUMN n integer", "ALTER TABLE t DROP COLUMN a"
    assert len(findings("contract-adds", script(add, phase=Phase.CONTRACT))) == 1
    assert findings("contract-adds", script((add, drop), phase=Phase.CONTRACT)) == []
    assert findings("contract-adds", script(add, phase=Phase.EXPAND)) == []


def test_script_that_is_not_rendered_is_a_notice() -> None:
    """With the line and the reason."""
    whole = script("SELECT 1")
    assert findings("not-rendered", whole) == []
    [found] = findings("not-rendered", dataclasses.replace(whole, not_rendered=(7, "AttributeError")))
    assert found.line == 7
    assert built_in()["not-rendered"].severity is Severity.NOTICE
    assert "AttributeError" in built_in()["not-rendered"].reason_for(found)


def _with_verdict(id: str, phase: Phase) -> Script:
    verdict = Verdict(place=RULES[id].place, rule=id, object="t.a", reason="why", hint="instead")
    step = Step(Query(), Statement("SELECT 1", 3, 3, 0, None), Schema(), verdict)
    return Script("script.py", Server(PG), (step,), revision="r1", phase=phase)


@pytest.mark.parametrize("rule", VERDICTS, ids=lambda rule: rule.id)
def test_verdict_is_reported_under_its_id(rule: object) -> None:
    """An error in expand, a warning in a plain script; the texts are those of the verdict."""
    id = rule.id  # type: ignore[attr-defined]
    [found] = findings(id, _with_verdict(id, Phase.EXPAND))
    assert (found.line, found.object, found.reason, found.replacement) == (3, "t.a", "why", "instead")
    assert found.severity is Severity.ERROR
    [found] = findings(id, _with_verdict(id, Phase.BASE))
    assert found.severity is Severity.WARNING
    assert findings(id, _with_verdict("add-column", Phase.EXPAND)) == []


def test_real_statement_gets_the_verdict_of_the_phases() -> None:
    """A dropped column in expand, under the id that the refusal of expand has; not in contract."""
    drop = "ALTER TABLE t DROP COLUMN a"
    [found] = findings("drop-column", script(drop, phase=Phase.EXPAND))
    assert found.line == 1
    assert found.object
    assert findings("drop-column", script(drop, phase=Phase.CONTRACT)) == []


def test_declared_operation_is_a_notice() -> None:
    """With the reason; the operation itself is not reported any more, and another one still is."""
    drop = script(("ALTER TABLE t DROP COLUMN a", "ALTER TABLE t DROP COLUMN b"), phase=Phase.EXPAND)
    declared = dataclasses.replace(drop, additive=(("drop-column t.a", "no code reads it"),))
    [finding] = findings("declared-additive", declared)
    assert finding.line == 1
    assert "no code reads it" in built_in()["declared-additive"].reason_for(finding)
    assert [finding.line for finding in findings("drop-column", declared)] == [2]


def test_every_rule_has_a_case() -> None:
    """Each rule that checks a script is tested here; those of a whole tree in test_lint_trees.py."""
    tested = {case.rule for case in CASES} | {rule.id for rule in VERDICTS}
    tested |= {"lock-timeout-missing", "contract-adds", "not-rendered", "declared-additive"}
    tested |= {"index-exists", "not-null-with-nulls"}  # in functional/test_lint_catalog.py
    tested |= {"additive-unmatched"}  # in test_lint_trees.py: it depends on all servers of a run
    tested |= {"sync-values-do-not-fit", "sync-rounds", "sync-dropped-early"}  # in test_lint_trees.py
    assert {rule.id for rule in built_in().values() if rule.check is not None} == tested
