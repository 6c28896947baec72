"""A downgrade removes what the upgrade created: the same object, in the same schema, of the same table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from online_migrate.phases.known import Server
from online_migrate.rollback.removals import Created

ALL = ("postgresql", "mysql", "mariadb", "sqlite")
REMOVED = {
    "CREATE TABLE jobs (id INTEGER)": "DROP TABLE jobs",
    "CREATE TABLE arch.jobs (id INTEGER)": "DROP TABLE arch.jobs",
    "ALTER TABLE jobs ADD COLUMN extra INTEGER": "ALTER TABLE jobs DROP COLUMN extra",
    "ALTER TABLE arch.jobs ADD COLUMN extra INTEGER": "ALTER TABLE arch.jobs DROP COLUMN extra",
}
KEPT = {
    "CREATE TABLE arch.jobs (id INTEGER)": "DROP TABLE jobs",
    "CREATE TABLE jobs (id INTEGER)": "DROP TABLE arch.jobs",
    "CREATE TABLE arch.jobs (id INTEGER, extra INTEGER)": "ALTER TABLE jobs DROP COLUMN extra",
    "ALTER TABLE arch.jobs ADD COLUMN extra INTEGER": "ALTER TABLE jobs DROP COLUMN extra",
    "ALTER TABLE jobs ADD COLUMN extra INTEGER": "ALTER TABLE arch.jobs DROP COLUMN extra",
}
_FUNCTION = "CREATE FUNCTION f({}) RETURNS integer LANGUAGE sql AS 'SELECT 1'"
KEPT_ON = {
    ("postgresql", "CREATE INDEX ix ON arch.jobs (id)"): "DROP INDEX ix",
    ("postgresql", 'CREATE TABLE "Jobs" (id INTEGER)'): "DROP TABLE jobs",
    ("postgresql", 'ALTER TABLE jobs ADD COLUMN "Extra" INTEGER'): "ALTER TABLE jobs DROP COLUMN extra",
    (
        "postgresql",
        "CREATE TRIGGER t BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION f()",
    ): "DROP TRIGGER t ON volumes",
    ("mysql", "CREATE TABLE `Jobs` (id INTEGER)"): "DROP TABLE jobs",
    ("mysql", "CREATE INDEX ix ON jobs (id)"): "DROP INDEX ix ON volumes",
    ("mariadb", "CREATE INDEX ix ON jobs (id)"): "DROP INDEX ix ON volumes",
}
REMOVED_ON = {
    ("postgresql", _FUNCTION.format("")): "DROP FUNCTION f()",
    (
        "postgresql",
        _FUNCTION.format("a integer, b numeric(5, 2)"),
    ): "DROP FUNCTION F (a INTEGER, b numeric(5,2))",
    ("postgresql", "CREATE INDEX ix ON arch.jobs (id)"): "DROP INDEX arch.ix",
    (
        "postgresql",
        "CREATE TRIGGER t BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION f()",
    ): "DROP TRIGGER t ON jobs",
    ("mysql", "CREATE INDEX ix ON jobs (id)"): "DROP INDEX IX ON jobs",
    ("mysql", "CREATE TRIGGER t BEFORE INSERT ON jobs FOR EACH ROW SET NEW.a = 1"): "DROP TRIGGER t",
    ("sqlite", "CREATE TABLE Jobs (id INTEGER)"): "DROP TABLE jobs",
    ("sqlite", "CREATE INDEX ix ON jobs (id)"): "DROP INDEX ix",
}


def problems(server: str, upgrade: str, downgrade: str) -> Sequence[object]:
    """Returns why the downgrade is refused; what it does not remove counts as well."""
    created = Created([upgrade], Server(server))
    assert not created.unknown
    return [*created.judge(downgrade), *created.left([downgrade])]


@pytest.mark.parametrize("server", ALL)
@pytest.mark.parametrize(("upgrade", "downgrade"), REMOVED.items())
def test_what_was_created_is_removed(server: str, upgrade: str, downgrade: str) -> None:
    assert problems(server, upgrade, downgrade) == []


@pytest.mark.parametrize("server", ALL)
@pytest.mark.parametrize(("upgrade", "downgrade"), KEPT.items())
def test_an_object_of_another_schema_is_refused(server: str, upgrade: str, downgrade: str) -> None:
    assert len(problems(server, upgrade, downgrade)) == 2


@pytest.mark.parametrize(("given", "downgrade"), KEPT_ON.items())
def test_another_object_of_that_name_is_refused(given: tuple[str, str], downgrade: str) -> None:
    assert len(problems(*given, downgrade)) == 2


@pytest.mark.parametrize(("given", "downgrade"), REMOVED_ON.items())
def test_the_object_of_that_name_is_removed(given: tuple[str, str], downgrade: str) -> None:
    assert problems(*given, downgrade) == []


def test_a_column_is_lost_with_its_own_table_only() -> None:
    """A table of another schema does not take the column with it."""
    created = Created(
        ["CREATE TABLE arch.jobs (id INTEGER)", "ALTER TABLE jobs ADD COLUMN extra INTEGER"],
        Server("postgresql"),
    )
    removals = created.removals(["ALTER TABLE jobs DROP COLUMN extra", "DROP TABLE arch.jobs"])
    assert [str(table) for table in removals.tables] == ["arch.jobs"]
    assert [(str(table), added.column.name) for table, added in removals.columns] == [("jobs", "extra")]


@pytest.mark.parametrize(
    ("created", "dropped"),
    [
        ("a integer", "f(text)"),
        ("a integer", "f(integer)"),
        ("a integer, b text", "f(a integer)"),
        ("", "f"),
        ("", "f(), g()"),
    ],
)
def test_a_function_with_other_arguments_is_refused(created: str, dropped: str) -> None:
    """On PostgreSQL it is another function, and without arguments the server chooses one."""
    functions = Created([_FUNCTION.format(created)], Server("postgresql"))
    [problem] = functions.judge(f"DROP FUNCTION {dropped}")
    assert "with the arguments as they are written" in problem.reason
