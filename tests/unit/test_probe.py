"""The statements that env.py may execute in a command that writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from online_migrate import exceptions
from online_migrate.runtime.probe import refuse_what_old_code_notices

ALLOWED = [
    "CREATE SCHEMA IF NOT EXISTS app",
    "create table if not exists t (id int);",
    "CREATE EXTENSION IF NOT EXISTS citext",
    "CREATE TYPE mood AS ENUM ('a;b', 'c')",
    "CREATE DATABASE IF NOT EXISTS app",
]
REFUSED = [
    "DROP TABLE t",
    "CREATE OR REPLACE TABLE t (id int)",
    "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
    "CREATE UNIQUE INDEX i ON t (a)",
    "CREATE TABLE t (id int); DROP TABLE u",
    "CREATE TABLE t (id int); CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
    "UPDATE alembic_version SET version_num = 'x'",
    "ALTER TABLE t ADD COLUMN a int",
    "CREATE TABLE t AS SELECT remove_rows()",
    "CREATE TABLE t AS (VALUES (remove_rows()))",
    "CREATE TABLE t (a) AS EXECUTE prepared",
    "CREATE TABLE t (id int) -- a comment\r; DROP TABLE u",
    "CREATE",
    "CALL something()",
]


@pytest.mark.parametrize("statement", ALLOWED)
def test_additive_create_in_env_py_is_allowed(statement: str) -> None:
    """Old code is not affected by it; the refusal names the statement that follows it."""
    with pytest.raises(exceptions.EnvironmentWrites) as refusal:
        refuse_what_old_code_notices(Path("env.py"), [statement, "DROP TABLE t"], "postgresql")
    assert refusal.value.statement == "DROP TABLE t"


@pytest.mark.parametrize("statement", REFUSED)
def test_other_statements_in_env_py_are_refused(statement: str) -> None:
    """Also after an allowed statement; the error names the statement."""
    with pytest.raises(exceptions.EnvironmentWrites) as refused:
        refuse_what_old_code_notices(Path("env.py"), [ALLOWED[0], statement], "postgresql")
    assert statement[:20] in str(refused.value)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("server", ["mysql", "mariadb"])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE /*!OR REPLACE */ TABLE t (id int)",
        "CREATE TABLE t (id int) /*! SELECT remove_rows() AS id */",
        "CREATE TABLE t SELECT remove_rows() AS id",
    ],
)
def test_executed_comment_in_env_py_is_refused(server: str, statement: str) -> None:
    """MySQL and MariaDB execute the text inside of such a comment."""
    with pytest.raises(exceptions.EnvironmentWrites):
        refuse_what_old_code_notices(Path("env.py"), [statement], server)
