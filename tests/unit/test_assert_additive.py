"""assert_additive and its marker: a project's own history is judged without a database."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import online_migrate
from online_migrate.exceptions import UnknownRevision
from online_migrate.expand import bootstrap
from online_migrate.phases.known import Server
from online_migrate.runtime.history import judge_history
from online_migrate.testing import assert_additive

pytest_plugins = ["pytester"]

BASE = """
    op.create_table("volumes", sa.Column("id", sa.Integer, primary_key=True),
                    sa.Column("size", sa.String(20)), sa.Column("old", sa.Integer))
"""


def script(revision: str, down: str | None, upgrade: str, heading: str = "") -> str:
    body = textwrap.indent(textwrap.dedent(upgrade).strip(), "    ")
    return (
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision = {revision!r}\ndown_revision = {down!r}\n{heading}\n\ndef upgrade():\n{body}\n"
    )


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    """A linear history with the base revision r1, and no database URL."""
    path = tmp_path / "alembic.ini"
    path.write_text("[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n")
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text("raise AssertionError('env.py is not run')\n")
    add(path, "r1", None, BASE)
    return path


def add(ini: Path, revision: str, down: str | None, upgrade: str, heading: str = "") -> None:
    folder = ini.parent / "migrations" / "versions"
    (folder / f"{revision}.py").write_text(script(revision, down, upgrade, heading))


def problems(ini: Path, **arguments: object) -> str:
    with pytest.raises(AssertionError) as failure:
        assert_additive(ini, since="r1", **arguments)  # type: ignore[arg-type]
    return str(failure.value)


def test_earlier_history_tells_the_types(ini: Path) -> None:
    """A longer VARCHAR is additive, a shorter one is not; a table of the judged group is new."""
    add(
        ini,
        "r2",
        "r1",
        'op.alter_column("volumes", "size", existing_type=sa.String(20), type_=sa.String(40))',
    )
    add(ini, "r3", "r2", 'op.create_table("kinds", sa.Column("id", sa.Integer, primary_key=True))')
    add(ini, "r4", "r3", 'op.add_column("kinds", sa.Column("name", sa.String(9), nullable=False))')
    assert_additive(ini, since="r1")
    add(
        ini, "r5", "r4", 'op.alter_column("volumes", "size", existing_type=sa.String(20), type_=sa.String(9))'
    )
    assert "change-type volumes.size (postgresql, mysql)" in problems(ini)


def test_problem_has_file_line_statement_reason_and_form(ini: Path) -> None:
    add(
        ini,
        "r2",
        "r1",
        'op.add_column("volumes", sa.Column("n", sa.Integer))\nop.drop_column("volumes", "old")',
    )
    found = problems(ini)
    assert found.startswith("1 problem(s) in the revisions after r1:")
    assert "r2.py:9: drop-column volumes.old (postgresql, mysql)" in found
    assert "    ALTER TABLE volumes DROP COLUMN" in found
    assert "    why: " in found
    assert "    instead: " in found
    assert_additive(ini, since="r2")


def test_exceptions_of_script_and_of_test(ini: Path) -> None:
    add(ini, "r2", "r1", 'op.drop_column("volumes", "old")')
    assert_additive(ini, since="r1", allowed={"r2": {"drop-column volumes.old": "never read"}})
    assert "which matches nothing" in problems(ini, allowed={"r2": {"drop-column": "x", "drop-table": "y"}})
    assert "allowed names r9" in problems(ini, allowed={"r2": {"drop-column": "x"}, "r9": {}})
    with pytest.raises(ValueError, match="no reason"):
        assert_additive(ini, since="r1", allowed={"r2": {"drop-column": " "}})
    add(
        ini,
        "r2",
        "r1",
        'op.drop_column("volumes", "old")',
        'additive = {"drop-column volumes.old": "never read"}',
    )
    assert_additive(ini, since="r1")


def test_script_that_asks_the_database_is_a_problem(ini: Path) -> None:
    add(ini, "r2", "r1", 'op.get_bind().execute(sa.text("SELECT 1")).scalar()\nsa.inspect(op.get_bind())')
    assert "not-rendered (postgresql)" in problems(ini, dialects=["postgresql"])
    assert_additive(ini, since="r1", allowed={"r2": {"not-rendered": "only reads"}})


def test_dialect_is_that_of_the_url(ini: Path) -> None:
    add(ini, "r2", "r1", 'op.drop_column("volumes", "old")')
    with ini.open("a") as file:
        file.write("sqlalchemy.url = mariadb+pymysql://u@localhost/x\n")
    assert "(mariadb)" in problems(ini)


def test_unknown_since(ini: Path) -> None:
    with pytest.raises(UnknownRevision):
        assert_additive(ini, since="r1x")


def test_contract_revisions_are_not_judged(ini: Path) -> None:
    add(
        ini, "e1", "r1", 'op.add_column("volumes", sa.Column("n", sa.Integer))', 'branch_labels = ("expand",)'
    )
    add(ini, "c1", "r1", 'op.drop_column("volumes", "old")', 'branch_labels = ("contract",)')
    assert_additive(ini, since="r1")


def test_marker_of_pytest(ini: Path, pytester: pytest.Pytester) -> None:
    """The config is relative to the root folder; the test fails, and passes with the exception."""
    add(ini, "r2", "r1", 'op.drop_column("volumes", "old")')
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.online_migrate_additive(config={str(ini)!r}, since="r1")
        def test_refused():
            pass

        allowed = {{"r2": {{"drop-column": "x"}}}}

        @pytest.mark.online_migrate_additive({str(ini)!r}, since="r1", allowed=allowed)
        def test_allowed():
            pass
        """
    )
    # An installed package has the plugin as an entry point too, and pytest refuses to register it twice.
    options = ("-p", "no:online-migrate", "-p", "online_migrate.pytest_plugin", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*options, "--strict-markers")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*drop-column volumes.old*"])


EXCEPTIONS = {
    # CREATE TABLE IF NOT EXISTS, because a script of the engine can be repeated: the table may exist.
    "engine": {"change-rows online_migrate_walk"},
    "flights": {"add-foreign-key flights.carrier_id", "add-foreign-key flights.flights_carrier_id_fkey"},
}
"""What is not additive: the script of flights declares it."""
PACKAGE = Path(str(online_migrate.__file__)).parent
DEMO = PACKAGE / "demo" / "project" / "migrations"
FLIGHTS = Path(__file__).parents[2] / "examples" / "flights" / "migrations"


@pytest.mark.parametrize("product", ["postgresql", "mysql", "mariadb", "sqlite"])
@pytest.mark.parametrize("tree", ["engine", "demo", "flights"])
def test_expand_scripts_of_this_project_are_additive(tree: str, product: str) -> None:
    """The engine's own tables, the demo, and the example."""
    scripts = {
        "engine": bootstrap.scripts,
        "demo": lambda: ScriptDirectory(str(DEMO), version_locations=[str(DEMO / "expand")]),
        "flights": lambda: ScriptDirectory(str(FLIGHTS), version_locations=[str(FLIGHTS / "expand")]),
    }[tree]()
    judged = {one.revision for one in scripts.walk_revisions() if not one.revision.startswith("contract")}
    for revision in judge_history(Config(), scripts, judged, Server(product)):
        assert {str(v) for v in revision.verdicts if not v.additive} <= EXCEPTIONS.get(tree, set())
