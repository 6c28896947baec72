"""``lint --url``: what the catalog and the rows of a database add to the findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import command
from online_migrate.command import CommandContext
from online_migrate.lint.violation import Report, Violation
from tests.servers import Database
from tests.support.project import Project, execute

NOTHING = {"ONLINE_MIGRATE_URL": ""}
TRIGGERS = {
    "sqlite": ("CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE u SET id = NEW.old; END",),
    "mysql": ("CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = NEW.old",),
    "postgresql": (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.a = NEW.old; RETURN NEW; END'",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    ),
}
TRIGGERS["mariadb"] = TRIGGERS["mysql"]


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project on a database with 3 rows, two of them NULL, an index and a trigger."""
    execute(
        database.engine,
        "CREATE TABLE u (id INTEGER)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, old INTEGER, b VARCHAR(20))",
        "CREATE INDEX ix_b ON t (b)",
        "INSERT INTO t (id, a) VALUES (1, 1), (2, NULL), (3, NULL)",
        *TRIGGERS[database.server.product],
    )
    with Project.create(tmp_path / "project", database.url, pace=None) as project:
        yield project


def lint(project: Project, *rules: str, url: str | None = None) -> Report:
    context = CommandContext(config_file=project.config_file, given_url=url)
    return command.lint(context, only=rules)


def one(report: Report, rule: str) -> Violation:
    [violation] = [violation for violation in report.violations if violation.rule == rule]
    return violation


BODY = """
op.drop_column("t", "old")
op.create_index("ix_b", "t", ["b"])
op.create_index("ix_new", "t", ["b"])
"""


def test_database_sharpens_the_findings(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trigger and the index of the server; nothing of them without ``--url``; nothing is changed."""
    monkeypatch.setenv("ONLINE_MIGRATE_URL", database.url)
    project.expand(BODY)
    rules = ("column-dropped-before-trigger", "index-exists", "drop-column")
    assert [found.rule for found in lint(project, *rules).violations] == ["drop-column"]
    before = sa.inspect(database.engine).get_table_names()
    report = lint(project, *rules, url=database.url)
    assert {found.rule for found in report.violations} == set(rules)
    trigger = one(report, "column-dropped-before-trigger")
    assert trigger.servers == (database.server.product,)
    assert "Trigger tr of t uses column old" in trigger.reason
    assert trigger.reason.endswith("t has 3 rows now.")
    assert one(report, "index-exists").object == "ix_b"
    assert sa.inspect(database.engine).get_table_names() == before


@pytest.mark.each_product
def test_what_is_dropped_before_is_no_finding(database: Database, project: Project) -> None:
    """The trigger, and the index that is built again."""
    drop = "DROP TRIGGER tr ON t" if database.server.product == "postgresql" else "DROP TRIGGER tr"
    project.contract(f'op.execute("{drop}")\nop.drop_index("ix_b", "t")\n{BODY}')
    rules = ("column-dropped-before-trigger", "index-exists")
    assert lint(project, *rules, url=database.url).violations == ()


@pytest.mark.each_product
@pytest.mark.needs("row_locks")
def test_not_null_says_how_many_rows_are_null(database: Database, project: Project) -> None:
    """Of a script that is not applied: what an applied one needed is done."""
    execute(database.engine, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    required = 'op.alter_column("t", "a", existing_type=sa.Integer(), nullable=False)'
    project.expand(required)
    found = one(lint(project, "not-null-with-nulls", url=database.url), "not-null-with-nulls")
    assert found.reason.endswith("t has 3 rows now. a is NULL in 2 rows now.")
    assert found.severity == "warning"
    refused = one(lint(project, "set-not-null", url=database.url), "set-not-null")
    assert refused.reason.endswith("a is NULL in 2 rows now.")
    assert "NULL in" not in one(lint(project, "set-not-null"), "set-not-null").reason
    execute(database.engine, "INSERT INTO alembic_version VALUES ('e1')")
    assert lint(project, "not-null-with-nulls", url=database.url).violations == ()
    project.contract(required)
    assert (
        one(lint(project, "not-null-with-nulls", url=database.url), "not-null-with-nulls").severity
        == "notice"
    )


@pytest.mark.each_product
@pytest.mark.needs("row_locks")
def test_sql_file_and_partitions(database: Database, tmp_path: Path) -> None:
    """The rows and the partitions of a partitioned table; without a project."""
    parts = {
        "postgresql": (
            "CREATE TABLE p (id INTEGER, a INTEGER) PARTITION BY RANGE (id)",
            "CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE p1 PARTITION OF p DEFAULT",
        )
    }
    default = ("CREATE TABLE p (id INTEGER, a INTEGER) PARTITION BY HASH (id) PARTITIONS 2",)
    created = parts.get(database.server.product, default)
    execute(database.engine, *created, "INSERT INTO p (id) VALUES (1), (20)")
    path = tmp_path / "change.sql"
    path.write_text("ALTER TABLE p ADD CONSTRAINT c CHECK (a > 0);\n", encoding="utf-8")
    context = CommandContext(config_file=tmp_path / "alembic.ini", given_url=database.url)
    report = command.lint(context, [path])
    assert any("p has 2 rows in 2 partitions now." in found.reason for found in report.violations)
    assert report.servers == (database.server.product,)


def test_database_that_cannot_be_read_is_named(database: Database, project: Project) -> None:
    """The scripts are checked without it."""
    project.expand(BODY)
    url = sa.make_url(database.url)
    if url.host is None:
        url = url.set(database=str(project.folder / "missing" / "app.db"))
    wrong = url.set(port=1 if url.host else None).render_as_string(hide_password=False)
    rules = ("--rule", "drop-column", "--rule", "index-exists")
    ran = project.run("lint", "--url", wrong, *rules, environment=NOTHING)
    assert ran.code == 3, ran
    assert "lint: the database was not read: " in ran.err
    assert "drop-column" in ran.out
    assert "index-exists" not in ran.out
