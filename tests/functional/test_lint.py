"""The command lint on real projects: the two branches, a plain Alembic tree, SQL files; without a server."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project

NO_SERVER = {"ONLINE_MIGRATE_URL": ""}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project of init, without a database."""
    with Project.create(tmp_path / "project", "", pace=None) as project:
        yield project


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")


def test_project_with_both_branches(project: Project) -> None:
    """Each finding with its file and line; the exit code; SQL of every server."""
    project.expand('op.create_table("t", sa.Column("id", sa.BigInteger, primary_key=True))')
    project.expand('op.add_column("t", sa.Column("a", sa.Integer))\nop.drop_column("t", "old")')
    project.contract('op.drop_column("t", "b")', requires=None)
    ran = project.run("lint", environment=NO_SERVER)
    assert ran.code == 3
    assert ran.err == ""
    script = (project.scripts / "expand" / "002_e2.py").read_text(encoding="utf-8").splitlines()
    line = script.index('    op.drop_column("t", "old")') + 1
    servers = "[postgresql, mysql, mariadb, sqlite]"
    title = f"migrations/expand/002_e2.py:{line}: error drop-column {servers} t.old"
    assert title in ran.out.splitlines()
    assert "contract-without-requires" in ran.out
    assert ran.out.splitlines()[-1] == "lint: 2 error(s) in 3 script(s)"


def test_project_without_findings(project: Project) -> None:
    """Exit code 0."""
    project.expand('op.create_table("t", sa.Column("id", sa.BigInteger, primary_key=True))')
    project.contract('op.drop_table("old")', requires=())
    ran = project.run("lint", environment=NO_SERVER)
    assert (ran.code, ran.out) == (0, "lint: nothing found in 2 script(s)\n")


def test_url_decides_the_server(project: Project) -> None:
    """Without a connection: the server of the URL does not run."""
    project.expand('op.drop_column("t", "old")')
    ran = project.run("lint", "--url", "mysql+pymysql://app@127.0.0.1:1/none", environment=NO_SERVER)
    assert ran.code == 3
    assert "drop-column [mysql] t.old" in ran.out


def test_script_that_asks_the_database(project: Project) -> None:
    """A notice, with what was rendered before it still checked."""
    project.expand(
        'op.drop_column("t", "old")\n'
        'rows = op.get_bind().execute(sa.text("SELECT 1")).scalar()\n'
        'op.drop_column("t", "other")'
    )
    ran = project.run("lint", "--format", "json", "--dialect", "postgresql", environment=NO_SERVER)
    assert ran.code == 3
    violations = {violation["rule"]: violation for violation in ran.json["violations"]}
    assert violations["drop-column"]["object"] == "t.old"
    assert violations["not-rendered"]["severity"] == "notice"
    assert violations["not-rendered"]["line"] == violations["drop-column"]["line"] + 1


PLAIN_ENV = """
    raise RuntimeError("lint must not run env.py")
"""
PLAIN_SCRIPT = """
    import sqlalchemy as sa
    from alembic import op

    revision = "{revision}"
    down_revision = {down!r}


    def upgrade():
        {body}
"""


@pytest.fixture
def plain(tmp_path: Path) -> Project:
    """A linear Alembic tree that does not know online-migrate."""
    project = Project(tmp_path / "plain", "")
    _write(project.config_file, "[alembic]\nscript_location = %(here)s/alembic\n")
    _write(project.folder / "alembic" / "env.py", PLAIN_ENV)
    bodies = {
        "1a": 'op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))',
        "2b": 'op.add_column("users", sa.Column("nick", sa.String(20)))',
        "3c": 'op.create_index("ix_nick", "users", ["nick"])',
        "4d": "with op.get_context().autocommit_block():\n"
        '            op.create_index("ix_b", "users", ["nick"], postgresql_concurrently=True)',
    }
    down = None
    for revision, body in bodies.items():
        path = project.folder / "alembic" / "versions" / f"{revision}_.py"
        _write(path, PLAIN_SCRIPT.format(revision=revision, down=down, body=body))
        down = revision
    return project


def test_plain_alembic_tree(plain: Project) -> None:
    """Locks are reported, because plain Alembic sends the statements as they are written."""
    ran = plain.run("lint", "--dialect", "postgresql", environment=NO_SERVER)
    assert ran.code == 3
    [title, *_] = ran.out.splitlines()
    assert title == "alembic/versions/3c_.py:10: error create-index-blocks-writes [postgresql] ix_nick"
    assert ran.out.splitlines()[-1] == "lint: 1 error(s) in 4 script(s)"


def test_plain_alembic_tree_since_a_revision(plain: Project) -> None:
    """Only later revisions, for example in a pull request."""
    ran = plain.run("lint", "--dialect", "postgresql", "--since", "3c", environment=NO_SERVER)
    assert (ran.code, ran.out) == (0, "lint: nothing found in 1 script(s)\n")


def test_sql_files(tmp_path: Path) -> None:
    """A folder of SQL files without a project; what an earlier file creates is known."""
    project = Project(tmp_path / "sql", "")
    _write(project.folder / "sql" / "1.sql", "CREATE TABLE t (id bigint PRIMARY KEY, a varchar(10));\n")
    _write(
        project.folder / "sql" / "2.sql",
        """\
        SET lock_timeout = '500ms';

        -- the type stays
        ALTER TABLE t ALTER COLUMN a TYPE varchar(20);
        ALTER TABLE t
            ALTER COLUMN a TYPE integer USING a::integer;
        """,
    )
    ran = project.run("lint", "sql", "--dialect", "postgresql", "--format", "github", environment=NO_SERVER)
    assert ran.code == 3
    commands = [line.partition("::")[2].partition(" ") for line in ran.out.splitlines()]
    assert sorted(kind for kind, _, _ in commands) == ["error", "warning"]
    assert all("file=sql/2.sql,line=5,endLine=6" in rest for _, _, rest in commands)
    assert "alter-type-locks-table" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("missing.sql",),
        ("alembic.ini", "--rule", "no-such-rule"),
        ("--enable", "no-such-rule"),
        ("--since", "no-such-revision"),
        ("--format", "xml"),
        ("--dialect", "oracle"),
        ("-c", "missing.ini"),
    ],
    ids=" ".join,
)
def test_wrong_arguments(project: Project, arguments: tuple[str, ...]) -> None:
    """Exit code 127, a line on stderr, and nothing on stdout."""
    ran = project.run("lint", *arguments, environment=NO_SERVER)
    assert (ran.code, ran.out) == (127, "")
    assert any("Error" in line for line in ran.complaint)


def test_rule_that_raises(project: Project) -> None:
    """A rule of another package is named on stderr; the other rules report; exit code 2."""
    project.expand('op.drop_column("t", "old")')
    folder = project.folder / "packages"
    rule = """
        from online_migrate.lint.rule import script_rule


        @script_rule("fails", reason="-", replacement="-")
        def fails(script):
            raise ValueError("no such thing")
    """
    _write(folder / "their_rules.py", rule)
    info = folder / "their_rules-1.0.dist-info"
    _write(info / "METADATA", "Metadata-Version: 2.1\nName: their-rules\nVersion: 1.0\n")
    _write(info / "entry_points.txt", "[online_migrate.lint_rules]\ntheirs = their_rules\n")
    path = f"{folder}:{Path(__file__).parents[2]}"
    ran = project.run("lint", "--dialect", "mysql", environment={**NO_SERVER, "PYTHONPATH": path}, fresh=True)
    assert ran.code == 2
    said = "rule fails raised ValueError: no such thing for migrations/expand/001_e1.py"
    assert ran.complaint == [f"Error: {said}"]
    assert "drop-column [mysql] t.old" in ran.out


def test_list_of_rules(project: Project) -> None:
    """Every rule with its servers, its reason and its replacement, as text and as data."""
    ran = project.run("lint", "--list-rules", environment=NO_SERVER)
    assert ran.code == 0
    assert "set-not-null-scans (error) [postgresql 12]" in ran.out
    rules = json.loads(project.run("lint", "--list-rules", "--format", "json", environment=NO_SERVER).out)
    assert all(rule["reason"] and rule["replacement"] for rule in rules)
