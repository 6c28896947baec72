"""A user without LOCK TABLES: the gate says so, and which GRANT is missing."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support.project import Project, execute

pytestmark = [pytest.mark.each_product, pytest.mark.needs("lock_tables")]

PASSWORD = "Pw_12345678"


@pytest.fixture
def user(database: Database) -> Iterator[str]:
    """A user that may do everything in the database but LOCK TABLES."""
    name = f"om_{uuid.uuid4().hex[:10]}"
    execute(
        database.engine,
        f"CREATE USER '{name}'@'%' IDENTIFIED BY '{PASSWORD}'",
        f"CREATE ROLE {name}_role",
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, TRIGGER "
        f"ON {database.name}.* TO '{name}'@'%'",
        f"GRANT {name}_role TO '{name}'@'%'",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, old INTEGER)",
        "INSERT INTO t VALUES (1, NULL, 1)",
    )
    yield name
    with contextlib.suppress(sa.exc.DBAPIError):
        execute(database.engine, f"DROP USER '{name}'@'%'")
    execute(database.engine, f"DROP ROLE {name}_role")


@pytest.fixture
def project(database: Database, user: str, tmp_path: Path) -> Iterator[Project]:
    """A project of that user, whose rows are moved."""
    url = sa.make_url(database.url).set(username=user, password=PASSWORD)
    with Project.create(tmp_path / "project", url.render_as_string(hide_password=False)) as project:
        project.data("fill", 'fill = Backfill(table="t", values={"n": 1}, pending=lambda t: t.c.n.is_(None))')
        project.contract('op.drop_column("t", "old")', requires=("fill",), branch_labels=("contract",))
        project.migrate()
        yield project


def test_the_gate_names_the_grant(database: Database, user: str, project: Project) -> None:
    """What is printed, typed by the administrator, opens the gate."""
    refused = project.run("gate")
    assert refused.code == 3, refused
    text = refused.out + refused.err
    statement = f"GRANT LOCK TABLES, SELECT ON `{database.name}`.* TO '{user}'@'%'"
    assert " ".join(statement.split()) in " ".join(text.split())
    assert project.run("contract").code == 3
    execute(database.engine, statement)
    assert project.run("gate").code == 0
    done = project.run("contract")
    assert done.code == 0, done


@pytest.mark.parametrize("pattern", ["exact", "escaped", "everything"])
def test_a_grant_by_a_role_counts_while_the_role_is_active(
    database: Database, user: str, project: Project, pattern: str
) -> None:
    """SHOW GRANTS lists what active roles give, whichever way the database is spelled."""
    spelled = {
        "exact": f"`{database.name}`.*",
        "escaped": "`" + database.name.replace("_", "\\_") + "`.*",
        "everything": "*.*",
    }[pattern]
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, LOCK TABLES"
    execute(database.engine, f"GRANT {rights} ON {spelled} TO {user}_role")
    assert project.run("gate").code == 3
    execute(database.engine, _default_role(database, user))
    assert project.run("gate").code == 0
    assert project.run("contract").code == 0


def _default_role(database: Database, user: str) -> str:
    """The statement that makes the role active in new sessions."""
    word = "FOR" if getattr(database.engine.dialect, "is_mariadb", False) else "TO"
    return f"SET DEFAULT ROLE {user}_role {word} '{user}'@'%'"


def test_a_lock_that_is_denied_in_another_database_changes_nothing(
    database: Database, user: str, project: Project
) -> None:
    """The gate looks at the database of the URL; contract itself names the missing privilege."""
    other = f"{database.name}_other"
    execute(
        database.engine,
        f"GRANT LOCK TABLES ON {database.name}.* TO '{user}'@'%'",
        f"CREATE DATABASE {other}",
        f"CREATE TABLE {other}.u (id INTEGER PRIMARY KEY, old INTEGER)",
        f"GRANT SELECT, ALTER, CREATE, INSERT, DROP ON {other}.* TO '{user}'@'%'",
    )
    try:
        project.contract(f'op.drop_column("u", "old", schema="{other}")', requires=("fill",))
        assert project.run("contract", "c1").code == 0
        assert project.run("gate").code == 0
        refused = project.run("contract")
        assert refused.code == 3, refused
        assert "GRANT LOCK TABLES, SELECT ON" in refused.err
        assert "Traceback" not in refused.err
        columns = sa.inspect(database.engine).get_columns("u", schema=other)
        assert "old" in {column["name"] for column in columns}
    finally:
        execute(database.engine, f"DROP DATABASE {other}")
