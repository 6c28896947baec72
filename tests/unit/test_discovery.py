"""Data migrations are discovered and ordered; an error in them is reported in one or two lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.cli.main import run
from online_migrate.kinds.backfill import Backfill
from online_migrate.kinds.base import DataMigration
from online_migrate.script.discovery import in_order
from tests.support.project import Project, execute

FILL = 'Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None)'


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", f"sqlite:///{tmp_path / 'database'}") as written:
        written.expand('op.create_table("more", sa.Column("id", sa.Integer, primary_key=True))')
        written.contract('op.drop_table("more")', requires=())
        yield written


def _items(project: Project) -> sa.Engine:
    engine = sa.create_engine(project.url)
    execute(
        engine,
        "CREATE TABLE items (id INTEGER PRIMARY KEY, size INTEGER)",
        "INSERT INTO items (id) VALUES (1)",
    )
    return engine


def _found(project: Project) -> Mapping[str, DataMigration]:
    return project.site().project.data_migrations


OTHERS = "others = sa.table('others', sa.column('size', sa.Integer))\n"
ITEMS = OTHERS.replace("others", "items")
PENDING = "x = Backfill(table='items', values={'size': 1}, pending="
BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "the same name in two modules": ({"a": f"x = {FILL})", "b": f"x = {FILL})"}, "named 'x'"),
    "names that differ only in case": ({"a": f"fill = {FILL})\nFILL = {FILL})"}, "named 'FILL'"),
    "the same name in one module": ({"a": f'x = {FILL})\ny = {FILL}, name="x")'}, "named 'x'"),
    "an unknown after": ({"a": f'x = {FILL}, after="unknown")'}, "after names 'unknown'"),
    "after itself": ({"a": f'x = {FILL}, after="x")'}, "cycle: x -> x"),
    "a cycle": (
        {"a": f'x = {FILL}, after="y")', "b": f'y = {FILL}, after="z")', "c": f'z = {FILL}, after="x")'},
        "cycle",
    ),
    "an unknown revision": ({"a": f'x = {FILL}, revision="e9")'}, "'e9' is not in this project"),
    "a contract revision": ({"a": f'x = {FILL}, revision="c1")'}, "is a contract revision"),
    "a syntax error": ({"a": "x = = 1"}, "SyntaxError"),
    "a missing module": ({"a": "import nowhere.at_all"}, "ModuleNotFoundError"),
    "a missing name": ({"a": "from online_migrate import Forwardfill"}, "ImportError"),
    "an exception": ({"a": "1 / 0"}, "ZeroDivisionError"),
    "an unknown argument": ({"a": f"x = {FILL}, priority=1)"}, "priority"),
    "no values": ({"a": 'x = Backfill(table="items")'}, "values"),
    "pending is a string": (
        {"a": 'x = Backfill(table="items", values={"size": 1}, pending="size IS NULL")'},
        "str",
    ),
    "pending is a text": (
        {"a": 'x = Backfill(table="items", values={"size": 1}, pending=sa.text("size IS NULL"))'},
        "TextClause",
    ),
    "pending is a bool": ({"a": 'x = Backfill(table="items", values={"size": 1}, pending=True)'}, "bool"),
    "pending returns a bool": (
        {"a": 'x = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size is None)'},
        "bool",
    ),
    "pending returns a string": (
        {"a": 'x = Backfill(table="items", values={"size": 1}, pending=lambda t: "size IS NULL")'},
        "str",
    ),
    "pending raises": (
        {"a": 'x = Backfill(table="items", values={"size": 1}, pending=lambda t: 1 / 0)'},
        "ZeroDivisionError",
    ),
    "verify is a string": ({"a": f'x = {FILL}, verify="size > 0")'}, "verify is a str"),
    "values sets an unknown column": ({"a": 'x = Backfill(table="items", values={"sice": 1})'}, "'sice'"),
    "values returns an unknown column": (
        {"a": 'x = Backfill(table="items", values=lambda t: {"sice": 1})'},
        "'sice'",
    ),
    "a value of a joined table": (
        {"a": f"{OTHERS}x = Backfill(table='items', values=lambda t: {{'size': others.c.size}})"},
        "the value of 'size' joins table 'others'",
    ),
    "pending of a joined table": (
        {"a": f"{OTHERS}{PENDING}others.c.size == sa.column('size'))"},
        "pending joins table 'others'",
    ),
    "pending returns a join": (
        {"a": f"{OTHERS}{PENDING}lambda t: t.c.size.is_(None) & (others.c.size == t.c.size))"},
        "pending joins table 'others'",
    ),
    "verify of a joined table": (
        {"a": f"{OTHERS}x = {FILL}, verify=lambda t: others.c.size == t.c.size)"},
        "verify joins table 'others'",
    ),
    "pending of another object for the same table": (
        {"a": f"{ITEMS}{PENDING}items.c.size.is_(None))"},
        "pending uses another sa.Table 'items' than the data migration",
    ),
    "values is a list": ({"a": 'x = Backfill(table="items", values=["size"])'}, "values is a list"),
    "values returns nothing": (
        {"a": 'x = Backfill(table="items", values=lambda t: None)'},
        "values is a NoneType",
    ),
    "table is a number": ({"a": 'x = Backfill(table=7, values={"size": 1})'}, "table is a int"),
    "counted with pending and no table": (
        {"a": "x = counted(lambda c, m: (0, 0), name='x', pending=lambda t: t.c.size.is_(None))"},
        "it has no table",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_invalid_data_migration_is_reported_before_any_change(case: str, project: Project) -> None:
    """Exit 127, one line and a hint, with the name; no row is changed, no table is created."""
    modules, words = BROKEN[case]
    engine = _items(project)
    project.data("_first", "")
    project.data("0_good", f"good = {FILL})")
    for module, source in modules.items():
        project.data(module, source)
    with pytest.raises(exceptions.UsageError) as caught:
        project.migrate()
    assert caught.value.exit_code == 127
    assert words in str(caught.value)
    assert len(f"{caught.value}\n{caught.value.hint}".splitlines()) <= 2
    assert sa.inspect(engine).get_table_names() == ["items"]
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT size FROM items")) is None
    engine.dispose()


def test_cli_reports_syntax_error_in_two_lines(project: Project) -> None:
    """No traceback; the file and the line of a syntax error are named."""
    project.data("broken", "\n\nx = = 1")
    ran = project.run("migrate")
    assert ran.code == 127
    assert len(ran.complaint) <= 2
    assert "broken.py:7" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("number", ["abc", "0", "-1", "1.5", ""])
@pytest.mark.parametrize("command", ["migrate", "online_data_migrations"])
@pytest.mark.parametrize("option", ["--max-count", "--batch-size"])
def test_invalid_number_is_refused(
    command: str, option: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 127, also for online_data_migrations, where an option that it lacks is a
    wrong argument as well."""
    assert run([command, option, number]) == 127
    captured = capsys.readouterr()
    assert option in captured.err
    assert captured.out == ""


def test_unknown_name_is_refused_with_known_names(project: Project) -> None:
    """Exit 127, and the known names are listed."""
    _items(project).dispose()
    project.data("kinds", f"good = {FILL})\nother = {FILL})")
    with pytest.raises(exceptions.UnknownDataMigration) as caught:
        project.migrate("godo")
    assert caught.value.exit_code == 127
    assert caught.value.hint == "known names: good, other"


def test_names_of_data_migrations(project: Project) -> None:
    """``name=`` first, then the variable, or the function; private modules are not read."""
    project.data(
        "kinds",
        f"""
        by_variable = {FILL})
        other = {FILL}, name="by_name")

        @row_migration(table="items")
        def by_function(row): ...

        @batch_migration(table="items", name="named")
        def other_function(connection, chunk): ...

        @counted
        def as_it_is(context, max_count): ...
        """,
    )
    project.data("_helpers", f"hidden = {FILL})")
    found = _found(project)
    assert list(found) == ["by_variable", "by_name", "by_function", "named", "as_it_is"]
    assert [migration.kind for migration in found.values()] == [
        "backfill",
        "backfill",
        "row",
        "batch",
        "counted",
    ]


def test_module_named_like_library_module_does_not_shadow_it(project: Project) -> None:
    """``data/json.py`` is a data migration, and ``import json`` still imports the library module."""
    project.data("json", f"x = {FILL})")
    assert list(_found(project)) == ["x"]
    import json

    assert json.loads("1") == 1


def test_revision_given_by_prefix(project: Project) -> None:
    """A prefix of the id is accepted, as everywhere in Alembic; it is resolved once."""
    project.expand("pass", "abcdef123")
    project.data("x", f'x = {FILL}, revision="abcd")')
    assert _found(project)["x"].revision == "abcdef123"


def test_missing_data_folder(project: Project) -> None:
    """An adopted project may have no data migrations."""
    (project.scripts / "data").rmdir()
    assert _found(project) == {}


def _after(name: str, *after: str) -> DataMigration:
    return Backfill(name=name, table="t", values={}, after=after)


@pytest.mark.parametrize(
    ("migrations", "order"),
    [
        ([], []),
        ([_after("b"), _after("a")], ["b", "a"]),
        ([_after("c", "a"), _after("a"), _after("b", "c")], ["a", "c", "b"]),
    ],
)
def test_in_order(migrations: list[DataMigration], order: list[str]) -> None:
    """Each comes after those it depends on, otherwise in the order of definition."""
    assert list(in_order(migrations)) == order
