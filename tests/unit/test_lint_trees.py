"""The rules that need the graph or the data migrations, ignores, and rules that raise: on real projects."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.command import CommandContext
from online_migrate.lint import registry
from online_migrate.lint.rule import Rule, script_rule
from online_migrate.lint.script import Script
from online_migrate.lint.violation import Finding, Report, Violation
from tests.support.project import Project

VOLUMES = """
op.create_table(
    "volumes",
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("gb", sa.Integer),
    sa.Column("name", sa.String(100)),
)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project whose first expand script creates the table volumes; its folder is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONLINE_MIGRATE_URL", raising=False)
    with Project.create(tmp_path, "sqlite://", pace=None) as project:
        project.expand(VOLUMES)
        yield project


def lint(
    *rules: str, paths: Sequence[str] = (), dialects: Sequence[str] = ("postgresql",), **more: object
) -> Report:
    """Runs lint in the working directory; *rules*: only these."""
    given = [Path(path) for path in paths]
    return command.lint(CommandContext(), given, dialects=dialects, only=rules, **more)  # type: ignore[arg-type]


def found(report: Report) -> list[tuple[str, str]]:
    """Returns (rule, object) of each violation."""
    return [(violation.rule, violation.object) for violation in report.violations]


# --- the branches ---------------------------------------------------------------------------------


def test_contract_without_requires(project: Project) -> None:
    """The line of the script that declares, or should declare, ``requires``."""
    project.contract('op.drop_column("volumes", "gb")', requires=None)
    project.contract('op.drop_column("volumes", "name")', requires=())
    [violation] = lint("contract-without-requires").violations
    assert (violation.object, violation.severity) == ("c1", "error")
    text = Path(violation.path).read_text(encoding="utf-8").splitlines()
    assert text[violation.line - 1] == "revision = 'c1'"


@pytest.mark.parametrize("requires", [(), ("fill",)])
def test_statements_under_the_lock_of_contract(project: Project, requires: tuple[str, ...]) -> None:
    """Only without requirements contract sends the safe forms; a NOT NULL is proved before the lock."""
    fill = 'fill = Backfill(table="volumes", values={"gb": 1}, pending=lambda t: t.c.gb.is_(None))'
    project.data("fill", fill)
    project.expand('op.create_index("ix_gb", "volumes", ["gb"])')
    project.contract(
        """
        op.drop_index("ix_gb", "volumes")
        op.alter_column("volumes", "gb", existing_type=sa.Integer(), nullable=False)
        op.create_index("ix_name", "volumes", ["name"])
        op.add_column("volumes", sa.Column("note", sa.Integer))
        op.execute("UPDATE volumes SET note = 1")
        op.alter_column("volumes", "note", existing_type=sa.Integer(), nullable=False)
        """,
        requires=requires,
    )
    rules = ("create-index-blocks-writes", "drop-index-blocks", "set-not-null-scans")
    under_lock = [("create-index-blocks-writes", "ix_name"), ("set-not-null-scans", "volumes.note")]
    assert found(lint(*rules)) == (under_lock if requires else [])


def test_expand_that_depends_on_contract(project: Project) -> None:
    """The graph is not valid, which every other command refuses; lint reports it, and checks on."""
    project.contract('op.drop_column("volumes", "gb")')
    project.expand('op.execute("UPDATE volumes SET gb = 1")', depends_on="c1")
    report = lint("expand-depends-on-contract", "graph-not-valid", "whole-table-change")
    assert [violation.rule for violation in report.violations] == [
        "expand-depends-on-contract",
        "whole-table-change",
    ]
    assert report.violations[0].path.endswith("002_e2.py")
    text = Path(report.violations[0].path).read_text(encoding="utf-8").splitlines()
    assert text[report.violations[0].line - 1] == "depends_on = 'c1'"


def test_graph_with_two_heads(project: Project) -> None:
    """Another reason why the graph is not valid has a rule of its own."""
    project.expand("pass", down_revision="e1")
    project.expand("pass", down_revision="e1")
    assert [rule for rule, _ in found(lint("expand-depends-on-contract", "graph-not-valid"))] == [
        "graph-not-valid"
    ]


def test_expand_that_is_not_additive(project: Project) -> None:
    """Under the id that expand refuses with, with the line of the script, on every server."""
    project.expand('op.add_column("volumes", sa.Column("x", sa.Integer))\nop.drop_column("volumes", "gb")')
    [violation] = lint("drop-column", dialects=("postgresql", "mysql", "mariadb", "sqlite")).violations
    assert violation.servers == ("postgresql", "mysql", "mariadb", "sqlite")
    text = Path(violation.path).read_text(encoding="utf-8").splitlines()
    assert 'op.drop_column("volumes", "gb")' in text[violation.line - 1]
    assert violation.revision == "e2"


def test_lock_rules_do_not_check_what_the_engine_sends_safely(project: Project) -> None:
    """An index of an expand script is built online; the same script without branches is reported."""
    project.expand('op.create_index("ix", "volumes", ["gb"])')
    assert found(lint("create-index-blocks-writes")) == []


ALL = ("postgresql", "mysql", "mariadb", "sqlite")


def test_key_of_additive_that_matches_nothing(project: Project) -> None:
    """With the line of the key; a key that matches on one of the servers is none."""
    project.expand(
        'op.drop_column("volumes", "gb")\nop.execute("DROP TABLE old")',
        additive={
            "drop-column volumes.gb": "no code reads it",
            "drop-colum volumes.gb": "misspelt",
            "drop  table OLD": "the text of a statement",
            "DELETE FROM volumes": "stale",
        },
    )
    report = lint("additive-unmatched", dialects=ALL)
    assert {one.object for one in report.violations} == {"drop-colum volumes.gb", "DELETE FROM volumes"}
    for violation in report.violations:
        assert (violation.severity, violation.servers) == ("error", ALL)
        line = Path(violation.path).read_text(encoding="utf-8").splitlines()[violation.line - 1]
        assert violation.object in line
        assert violation.object in violation.reason


def test_key_of_additive_that_matches_on_one_server(project: Project) -> None:
    """The rule of an operation, and the text of its statement, depend on the server."""
    widen = 'op.alter_column("volumes", "gb", existing_type=sa.Integer(), type_=sa.BigInteger())'
    project.expand(widen, additive={"ALTER TABLE volumes MODIFY gb BIGINT NULL": "the table is small"})
    assert found(lint("additive-unmatched", dialects=ALL)) == []
    assert len(found(lint("additive-unmatched", dialects=("postgresql",)))) == 1
    assert found(lint("additive-unmatched", dialects=("mysql",))) == []


def test_key_of_additive_in_a_script_that_cannot_be_rendered(project: Project) -> None:
    """It may match what was not rendered."""
    project.expand('op.get_bind().execute(sa.text("SELECT 1")).scalar()', additive={"drop-column": "why"})
    assert found(lint("additive-unmatched")) == []


# --- data migrations ------------------------------------------------------------------------------

BYTES = """
size_bytes = Backfill(
    table="volumes",
    values=lambda t: {{"size": {value}}},
    pending=lambda t: t.c.size.is_(None),
)
"""


@pytest.mark.parametrize(
    ("type", "value", "dialect", "words"),
    [
        ("sa.Integer", "t.c.gb * 1024", "mysql", "size is integer, but its value may be"),
        ("sa.BigInteger", "t.c.gb * 1024**3", "postgresql", "in type integer"),
        ("sa.SmallInteger", "t.c.gb", "mariadb", "size is smallint, but its value may be 2,147,483,647"),
        ("sa.String(50)", "t.c.name", "postgresql", "a text of 100 characters"),
        ("sa.String(100)", "t.c.name + 'x'", "mysql", "a text of 101 characters"),
        ("sa.Numeric(5, 2)", "t.c.gb", "postgresql", "numeric(5, 2)"),
    ],
)
def test_values_that_do_not_fit(project: Project, type: str, value: str, dialect: str, words: str) -> None:
    """Overflow of a number, on PostgreSQL also of an intermediate result; a text that is too long."""
    project.expand(f'op.add_column("volumes", sa.Column("size", {type}))')
    path = project.data("sizes", BYTES.format(value=value))
    [violation] = lint("values-do-not-fit", dialects=(dialect,)).violations
    assert words in violation.reason
    assert violation.object == "size_bytes: size"
    assert path.read_text(encoding="utf-8").splitlines()[violation.line - 1] == "size_bytes = Backfill("


@pytest.mark.parametrize(
    ("type", "value", "dialect"),
    [
        ("sa.BigInteger", "t.c.gb * 1024**3", "mysql"),
        ("sa.BigInteger", "sa.cast(t.c.gb, sa.BigInteger) * 1024**3", "postgresql"),
        ("sa.Integer", "t.c.gb * 1024", "sqlite"),
        ("sa.String(200)", "t.c.name + 'x'", "postgresql"),
        ("sa.Text", "sa.func.lower(t.c.name)", "mysql"),
        ("sa.Integer", "sa.func.something(t.c.gb)", "mysql"),
    ],
)
def test_values_that_fit(project: Project, type: str, value: str, dialect: str) -> None:
    """Also what cannot be decided."""
    project.expand(f'op.add_column("volumes", sa.Column("size", {type}))')
    project.data("sizes", BYTES.format(value=value))
    assert found(lint("values-do-not-fit", dialects=(dialect,))) == []


# --- syncs ----------------------------------------------------------------------------------------

SYNC = """
op.add_column("volumes", sa.Column("size", {type}))
op.create_sync("size", "volumes", forward={{"size": {forward}}}, backward={{"gb": {backward}}})
"""
GB, SIZE = 'sa.column("gb")', 'sa.column("size")'


@pytest.mark.parametrize(
    ("type", "forward", "backward", "dialect", "rule", "words"),
    [
        (
            "sa.BigInteger",
            f"{GB} * 1024**3",
            "'size / 1073741824'",
            "postgresql",
            "sync-values-do-not-fit",
            "integer",
        ),
        ("sa.SmallInteger", GB, SIZE, "mariadb", "sync-values-do-not-fit", "volumes.size is smallint"),
        ("sa.BigInteger", GB, SIZE, "mysql", "sync-values-do-not-fit", "volumes.gb is integer"),
        ("sa.BigInteger", "'gb * 1024'", "'size / 1024'", "mysql", "sync-rounds", "rounds 1.5 to 2"),
        ("sa.BigInteger", "'gb * 1024'", "'size / 1024.0'", "postgresql", "sync-rounds", "rounds 1.5 to 2"),
        ("sa.BigInteger", f"{GB} * 1", f"{SIZE} / 1024", "postgresql", "sync-rounds", "rounds 1.5 to 2"),
    ],
)
def test_sync_whose_values_do_not_fit(
    project: Project, type: str, forward: str, backward: str, dialect: str, rule: str, words: str
) -> None:
    project.expand(SYNC.format(type=type, forward=forward, backward=backward))
    [violation] = lint(rule, dialects=(dialect,)).violations
    assert words in violation.reason
    source = Path(violation.path).read_text(encoding="utf-8").splitlines()
    assert "create_sync" in source[violation.line - 1]


@pytest.mark.parametrize("dialect", ALL)
def test_sync_without_a_violation(project: Project, dialect: str) -> None:
    """No rule finds anything in a sync, nor in the text of its triggers."""
    divided = {"mysql": "size DIV 1024", "postgresql": "size / 1024", "sqlite": "size / 1024"}
    project.expand(SYNC.format(type="sa.BigInteger", forward="'gb * 1024'", backward=repr(divided)))
    project.expand(
        """
        op.create_table("names", sa.Column("id", sa.BigInteger, primary_key=True),
                        sa.Column("name", sa.String(100)))
        op.create_sync("name", "volumes", to="names", key={"id": "id"},
                       forward={"name": sa.column("name")}, backward={"name": sa.column("name")})
        """
    )
    assert [one for one in found(lint(dialects=(dialect,))) if "sync" in f"{one}"] == []


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        ('op.drop_sync("both")', ["sync-dropped-early"]),
        ('op.drop_sync("both")\nop.drop_column("volumes", "name")', ["sync-dropped-early"]),
        ('op.drop_sync("both")\nop.drop_column("volumes", "gb")', []),
        ('op.drop_sync("other")\nop.drop_table("names")', []),
        ('op.drop_sync("other")\nop.drop_column("volumes", "name")', []),
    ],
)
def test_sync_dropped_without_its_columns(
    project: Project, contract: str, expected: list[str], dialect: str
) -> None:
    """A write of one shape between this script and the next one would be lost."""
    sync = SYNC.format(type="sa.BigInteger", forward="'gb * 1024'", backward="'size'")
    project.expand(sync.replace('"size", "volumes", forward', '"both", "volumes", forward'))
    project.expand(
        """
        op.create_table("names", sa.Column("id", sa.BigInteger, primary_key=True),
                        sa.Column("name", sa.String(100)))
        op.create_sync("other", "volumes", to="names", key={"id": "id"},
                       forward={"name": sa.column("name")}, backward={"name": sa.column("name")})
        """
    )
    project.contract(contract)
    assert [rule for rule, _ in found(lint("sync-dropped-early", dialects=(dialect,)))] == expected


def test_pending_without_an_index(project: Project) -> None:
    """An index that starts with a column of ``pending`` serves it."""
    project.expand('op.add_column("volumes", sa.Column("size", sa.BigInteger))')
    project.data("sizes", BYTES.format(value="1"))
    assert found(lint("pending-without-index")) == [("pending-without-index", "size_bytes")]
    project.expand('op.create_index("ix_size", "volumes", ["size", "gb"])')
    assert found(lint("pending-without-index")) == []


def test_not_valid_constraint_before_the_backfill(project: Project) -> None:
    """The constraint of an expand script on a column that a data migration fills; not on another one."""
    project.expand('op.add_column("volumes", sa.Column("size", sa.BigInteger))')
    project.data("sizes", BYTES.format(value="1"))
    add = "ALTER TABLE volumes ADD CONSTRAINT {0} CHECK ({1} > 0) NOT VALID"
    project.expand(f'op.execute("{add.format("k", "size")}")\nop.execute("{add.format("l", "gb")}")')
    assert found(lint("not-valid-before-backfill")) == [("not-valid-before-backfill", "k")]


# --- what is reported -----------------------------------------------------------------------------


def test_since_reports_only_later_revisions(project: Project) -> None:
    """What the revisions after it create is new for all of them."""
    project.expand('op.execute("UPDATE volumes SET gb = 1")')
    project.expand('op.create_table("n", sa.Column("id", sa.Integer))')
    project.expand('op.execute("UPDATE n SET id = 1")')
    assert found(lint("whole-table-change")) == [
        ("whole-table-change", "volumes"),
        ("whole-table-change", "n"),
    ]
    assert found(lint("whole-table-change", since="e2")) == []


def test_paths_of_scripts(project: Project) -> None:
    """Only the scripts that are given."""
    project.expand('op.execute("UPDATE volumes SET gb = 1")')
    project.expand('op.execute("UPDATE volumes SET gb = 2")')
    report = lint("whole-table-change", paths=["migrations/expand/003_e3.py"])
    assert [violation.revision for violation in report.violations] == ["e3"]


# --- ignores --------------------------------------------------------------------------------------


def _with_comment(project: Project, comment: str, *, above: bool = False) -> None:
    statement = 'op.drop_column(\n    "volumes",\n    "gb",\n)'
    project.expand(f"{comment}\n{statement}" if above else f"{statement}  {comment}")


@pytest.mark.parametrize("above", [True, False])
def test_comment_ignores_a_rule(project: Project, above: bool) -> None:
    """On the line above, or on any line of the statement."""
    _with_comment(project, "# online-migrate: ignore[drop-column] no code reads it", above=above)
    report = lint("drop-column")
    assert (found(report), report.ignored, report.exit_code) == ([], 1, 0)


@pytest.mark.parametrize(
    ("comment", "rules"),
    [
        ("# online-migrate: ignore[drop-column]", ["drop-column", "ignore-without-reason"]),
        ("# online-migrate: ignore[drop-table] why", ["drop-column", "ignore-unused"]),
        ("# online-migrate: ignore[drop-colum] why", ["drop-column", "ignore-unknown-rule"]),
        ("# online-migrate: ignore[drop-table, drop-column] why", ["ignore-unused"]),
    ],
)
def test_faults_of_ignores(project: Project, comment: str, rules: list[str]) -> None:
    """An ignore without a reason ignores nothing, and is a violation itself."""
    _with_comment(project, comment)
    assert sorted(rule for rule, _ in found(lint("drop-column", "drop-table"))) == rules


def test_rule_is_ignored_in_the_settings(project: Project) -> None:
    """With a reason; without one it is reported at the line of the setting."""
    project.expand('op.drop_column("volumes", "gb")')
    with project.config_file.open("a", encoding="utf-8") as ini:
        ini.write("lint_ignore =\n    drop-column: this project stops its services\n    drop-table\n")
    report = lint("drop-column")
    assert found(report) == [("ignore-without-reason", "drop-table")]
    assert report.ignored == 1
    line = project.config_file.read_text(encoding="utf-8").splitlines()[report.violations[0].line - 1]
    assert line.strip() == "drop-table"


def test_rule_is_enabled_in_the_settings(project: Project) -> None:
    """A rule that is off by default."""
    project.expand('op.add_column("volumes", sa.Column("c", sa.CHAR(3)))')
    assert "char-column" not in [rule for rule, _ in found(lint())]
    with project.config_file.open("a", encoding="utf-8") as ini:
        ini.write("lint_enable = char-column\n")
    assert "char-column" in [rule for rule, _ in found(lint())]


def test_comment_in_a_sql_file(project: Project) -> None:
    """At the end of the statement, or above it."""
    Path("a.sql").write_text(
        "SET lock_timeout = '1s';\n"
        "DROP TABLE a;  -- online-migrate: ignore[drop-table] it is empty\n"
        "-- online-migrate: ignore[drop-table] it is empty\n"
        "DROP TABLE b;\n\n"
        "DROP TABLE\n  c;\n",
        encoding="utf-8",
    )
    report = lint("drop-table", paths=["a.sql"])
    assert [(violation.line, violation.end_line) for violation in report.violations] == [(6, 7)]
    assert report.ignored == 2


# --- rules of other packages ----------------------------------------------------------------------


@script_rule("no-tables", reason="{table} is a table.", replacement="none")
def no_tables(script: Script) -> Iterator[Finding]:
    for step in script.steps:
        yield step.finding("here", table="t")


@script_rule("broken-rule", reason="-", replacement="-")
def broken_rule(script: Script) -> Iterator[Finding]:
    raise RuntimeError("the rule is broken")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Returns a function that installs entry points, given as name=object of this module."""

    def install(**entries: str) -> None:
        points = [
            importlib.metadata.EntryPoint(name, f"{__name__}:{value}", registry.GROUP)
            for name, value in entries.items()
        ]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: points)

    return install


def test_rule_of_an_entry_point(project: Project, installed: Callable[..., None]) -> None:
    """It is run like a rule of this package."""
    installed(mine="no_tables")
    [violation] = lint("no-tables").violations
    assert isinstance(violation, Violation)
    assert (violation.reason, violation.line > 1) == ("t is a table.", True)


def test_rule_that_raises_does_not_stop_the_others(project: Project, installed: Callable[..., None]) -> None:
    """It is named, and the exit code is 2."""
    installed(mine="no_tables", broken="broken_rule")
    report = lint("no-tables", "broken-rule")
    assert [failed.rule for failed in report.failed_rules] == ["broken-rule"]
    assert "RuntimeError: the rule is broken" in str(report.failed_rules[0])
    assert [rule for rule, _ in found(report)] == ["no-tables"]
    assert report.exit_code == 2


@pytest.mark.parametrize("value", ["VOLUMES", "missing"])
def test_entry_point_that_cannot_be_used(
    project: Project, installed: Callable[..., None], value: str
) -> None:
    """It is refused with its name."""
    installed(mine=value)
    with pytest.raises(registry.RuleBroken, match="'mine'"):
        lint()


def test_id_of_an_entry_point_is_taken(
    project: Project, installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule of this package is not replaced."""
    monkeypatch.setitem(globals(), "taken", Rule(id="drop-column", reason="-", replacement="-"))
    installed(mine="taken")
    with pytest.raises(registry.RuleBroken, match="'drop-column' is taken"):
        lint()


def test_backfill_to_write_beside_a_function(project: Project) -> None:
    """With its table and its pending, until a data migration of single rows has the same table."""
    function = (
        "from online_migrate import counted\n"
        "def fill(context, max_count):\n    return 0, 0\n"
        "sizes = counted(fill, name='sizes', table=sa.table('volumes', sa.column('gb')),\n"
        "                pending=lambda t: t.c.gb.is_(None))\n"
        "other = counted(fill, name='other')\n"
    )
    project.data("functions", function)
    first, second = lint("function-without-backfill").violations
    assert (first.object, first.severity, second.object) == ("sizes", "notice", "other")
    assert first.replacement.startswith(
        'sizes_rows = Backfill(table="volumes", values={...}, pending=lambda t: t.c.gb.is_(None))   beside it'
    )
    assert "Backfill(table=..., values={...}, pending=...)" in second.replacement
    project.data(
        "rows", 'rows = Backfill(table="volumes", values={"gb": 1}, pending=lambda t: t.c.gb.is_(None))'
    )
    assert [one.object for one in lint("function-without-backfill").violations] == ["other"]


def test_code_of_a_data_migration_that_may_be_removed(project: Project) -> None:
    """Once a script names the release of removable_in; not before, and not for one that was removed."""
    backfill = (
        'Backfill(table="volumes", values={"gb": 1}, pending=lambda t: t.c.gb.is_(None), removable_in="3")'
    )
    project.data("sizes", f"sizes = {backfill}")
    project.contract('op.drop_column("volumes", "gb")', requires=("sizes",), release="2")
    assert lint("removable-data-migration").violations == ()
    project.expand("pass", release="3")
    [violation] = lint("removable-data-migration").violations
    assert (violation.object, violation.severity, violation.line) == ("sizes", "notice", 5)
    assert 'sizes = Removed(table=..., pending=..., removed_in="3")' in violation.replacement
    removed = 'Removed(table="volumes", pending=lambda t: t.c.gb.is_(None), removed_in="3")'
    project.data("sizes", f"from online_migrate import Removed\nsizes = {removed}")
    assert lint("removable-data-migration").violations == ()
