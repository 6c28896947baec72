"""Expand refuses what breaks old code: before the first statement where possible, else at the statement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.exceptions import AdditiveUnmatched, GraphBroken, NotAdditive, PastTheCheck, Refused
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute, scalar

ADD = 'op.add_column("items", sa.Column("extra", sa.Integer))\n'
ASKS = "sa.inspect(op.get_bind()).get_columns('items')\n"
"""A script with this line cannot be rendered."""
RENDERED = {
    "drop-column items.old": 'op.drop_column("items", "old")',
    "change-rows items": 'op.execute("DELETE FROM items WHERE id = 1")',
    "add-not-null-column items.n": 'op.add_column("items", sa.Column("n", sa.Integer, nullable=False))',
    "rename-table items": 'op.rename_table("items", "things")',
}


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project whose application has a table with two rows, and no script yet."""
    execute(
        database.engine,
        "CREATE TABLE items (id INTEGER NOT NULL PRIMARY KEY, old INTEGER, name VARCHAR(20))",
        "INSERT INTO items (id, old, name) VALUES (1, 1, 'a'), (2, 2, 'b')",
    )
    with Project.create(tmp_path / "project", database.url) as project:
        yield project


def columns(database: Database) -> set[str]:
    return set(schema.shape(database)["items"]["columns"])


@pytest.mark.parametrize("operation", RENDERED)
def test_rendered_script_is_refused_before_its_first_statement(
    project: Project, database: Database, operation: str
) -> None:
    """Exit code 3; nothing is changed, not even the tables of the engine are created."""
    project.expand(ADD, "e1")
    project.expand(ADD.replace("extra", "more") + RENDERED[operation], "e2")
    before = schema.catalog(database)
    with pytest.raises(NotAdditive) as refusal:
        project.apply_expand()
    assert refusal.value.exit_code == 3
    [blocker] = refusal.value.blockers
    assert (blocker.id, blocker.object) == (operation.split()[0], f"e2: {operation}")
    assert blocker.reason
    assert blocker.hint
    assert "nothing was changed" in refusal.value.hint
    assert schema.catalog(database) == before
    assert scalar(database.engine, "SELECT count(*) FROM items") == 2


def test_refusal_on_the_command_line(project: Project) -> None:
    """The message names the operation, the reason, the form to use and the way to declare an exception."""
    project.expand(RENDERED["drop-column items.old"], "e1")
    ran = project.run("expand")
    assert ran.code == 3
    text = "\n".join(ran.complaint)
    assert "e1: drop-column items.old: " in text
    assert "-> " in text
    assert "additive = {'drop-column items.old': " in text


@pytest.mark.needs("many_writers")
def test_set_not_null_is_refused(project: Project, database: Database) -> None:
    project.expand('op.alter_column("items", "old", existing_type=sa.Integer, nullable=False)', "e1")
    with pytest.raises(NotAdditive, match=r"set-not-null items\.old"):
        project.apply_expand()
    execute(database.engine, "INSERT INTO items (id) VALUES (3)")


def test_text_that_no_server_reads_is_refused(project: Project, database: Database) -> None:
    project.expand(ADD + 'op.execute("CREATE NONSENSE")', "e1")
    with pytest.raises(NotAdditive, match="NONSENSE"):
        project.apply_expand()
    assert "extra" not in columns(database)


@pytest.mark.needs("transactional_ddl", "row_locks")
def test_syntax_error_of_postgresql_is_found_before_it_is_sent(project: Project, database: Database) -> None:
    """PostgreSQL's own parser finds it; the message has its place and what the other reader read."""
    project.expand(ADD + 'op.execute("ALTER TABLE items\\nADD COLUMN order INTEGER")', "e1")
    with pytest.raises(NotAdditive) as refusal:
        project.apply_expand()
    [blocker] = refusal.value.blockers
    assert 'at or near "order", line 2, column 12' in blocker.reason
    assert "AddColumn items" in blocker.reason
    assert "nothing was changed" in refusal.value.hint


SEVERAL = 'op.execute("ALTER TABLE items ADD COLUMN extra INTEGER; DELETE FROM items")'


def test_several_statements_in_one_text_are_judged_one_by_one(project: Project, database: Database) -> None:
    project.expand(SEVERAL, "e1")
    with pytest.raises(NotAdditive, match="change-rows items"):
        project.apply_expand()
    assert "extra" not in columns(database)


@pytest.mark.needs("lock_tables")
def test_comment_that_the_server_executes_is_judged(project: Project, database: Database) -> None:
    project.expand('op.execute("/*!50000 DELETE FROM items */")', "e1")
    with pytest.raises(NotAdditive):
        project.apply_expand()
    assert scalar(database.engine, "SELECT count(*) FROM items") == 2


WRITES = {
    "a statement": 'op.get_bind().execute(sa.text("DELETE FROM items"))',
    "a construct": 'op.get_bind().execute(sa.delete(sa.table("items")))',
    "the driver's form": 'op.get_bind().exec_driver_sql("DELETE FROM items")',
}


@pytest.mark.parametrize("write", WRITES)
def test_script_that_asks_the_database_is_refused_at_the_statement(
    project: Project, database: Database, write: str
) -> None:
    """The journal knows what was done before it; the corrected script is continued, and repeats nothing."""
    project.expand(ASKS + ADD + WRITES[write], "e1")
    with pytest.raises(NotAdditive, match="change-rows items"):
        project.apply_expand()
    transactional = database.server.has("transactional_ddl")
    assert ("extra" in columns(database)) is not transactional
    assert bool(schema.journal(database)) is not transactional
    assert schema.version_rows(database) == []
    assert scalar(database.engine, "SELECT count(*) FROM items") == 2
    [script] = (project.scripts / "expand").glob("*.py")
    script.write_text(script.read_text().replace(WRITES[write], "pass"))
    assert project.apply_expand() == ["e1"]
    assert "extra" in columns(database)
    assert schema.journal(database) == []


OTHER_WAYS = {
    "a raw cursor": 'op.get_bind().connection.cursor().execute("DELETE FROM items")',
    "another engine": 'sa.create_engine({url!r}).connect().execute(sa.text("DELETE FROM items"))',
    "the same engine": 'op.get_bind().engine.connect().execute(sa.text("DELETE FROM items"))',
    "a caught refusal": "try:\n    op.get_bind().connection.cursor().execute('DELETE FROM items')\n"
    "except Exception:\n    pass",
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_other_ways_to_the_server_are_refused(project: Project, database: Database, way: str) -> None:
    project.expand(ASKS + OTHER_WAYS[way].format(url=database.url), "e1")
    with pytest.raises(PastTheCheck) as refusal:
        project.apply_expand()
    assert refusal.value.exit_code == 3
    assert refusal.value.hint
    assert schema.version_rows(database) == []
    assert scalar(database.engine, "SELECT count(*) FROM items") == 2


def test_reads_are_allowed(project: Project, database: Database) -> None:
    """The inspector of SQLAlchemy, queries, and a decision by their result."""
    project.expand(
        """
        found = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("items")}
        rows = op.get_bind().execute(sa.text("SELECT count(*), max(name) FROM items")).one()
        if "extra" not in found and rows[0] == 2:
            op.add_column("items", sa.Column("extra", sa.Integer))
        """,
        "e1",
    )
    assert project.apply_expand() == ["e1"]
    assert "extra" in columns(database)


def test_revisions_of_one_run_are_one_group(project: Project, database: Database) -> None:
    """What one revision creates is new to old code, so a later one may restrict it and write its rows."""
    project.expand('op.create_table("kinds", sa.Column("id", sa.Integer, primary_key=True))', "e1")
    project.expand(
        """
        op.add_column("kinds", sa.Column("name", sa.String(20), nullable=False, server_default=""))
        op.create_index("one_name", "kinds", ["name"], unique=True)
        op.execute("INSERT INTO kinds (id, name) VALUES (1, 'first')")
        """,
        "e2",
    )
    assert project.apply_expand() == ["e1", "e2"]
    assert scalar(database.engine, "SELECT name FROM kinds") == "first"


def test_table_of_an_earlier_run_is_old(project: Project, database: Database) -> None:
    """Code that uses the table may have been deployed in between; the hint says how to declare it."""
    project.expand('op.create_table("kinds", sa.Column("id", sa.Integer, primary_key=True))', "e1")
    assert project.apply_expand() == ["e1"]
    change = """
        op.add_column("kinds", sa.Column("name", sa.String(20), nullable=False, server_default=""))
        op.create_index("one_name", "kinds", ["name"], unique=True)
    """
    project.expand(change, "e2")
    with pytest.raises(NotAdditive) as refusal:
        project.apply_expand()
    [blocker] = refusal.value.blockers
    assert blocker.object == "e2: create-unique-index kinds.one_name"
    assert "kinds was created by expand revision e1: if no code uses it yet, declare" in blocker.hint
    [script] = (project.scripts / "expand").glob("*e2*.py")
    declared = 'additive = {"create-unique-index kinds.one_name": "no code uses kinds yet"}\n'
    script.write_text(script.read_text().replace("def upgrade", f"{declared}\n\ndef upgrade"))
    assert project.apply_expand() == ["e2"]


GUARDED = """
sa.inspect(op.get_bind()).get_columns("items")
op.execute("CREATE TABLE IF NOT EXISTS {table} (id INTEGER NOT NULL PRIMARY KEY, old INTEGER)")
with op.get_context().autocommit_block():
    op.create_index("ix_items", "items", ["old"], postgresql_concurrently=True)
op.create_index("one", "{table}", ["old"], unique=True)
"""
"""A script that asks the database, restricts a table that may be new, and commits in between everywhere."""


@pytest.mark.needs("row_locks")
def test_resumed_revision_knows_the_tables_that_it_created(project: Project, database: Database) -> None:
    """CREATE TABLE IF NOT EXISTS found no table before the kill, so the table is new after it."""
    project.expand(GUARDED.format(table="kinds"), "e1")
    killed = schema.run(project, "expand", die_at="CREATE UNIQUE INDEX")
    assert killed.code == -9, killed.output
    assert "kinds" in schema.tables(database)
    resumed = schema.run(project, "expand")
    assert resumed.code == 0, resumed.output
    assert schema.journal(database) == []


@pytest.mark.needs("row_locks")
def test_resumed_revision_knows_the_tables_that_were_there(project: Project, database: Database) -> None:
    """CREATE TABLE IF NOT EXISTS found the table of old code before the kill; it is not new after it."""
    project.expand(GUARDED.format(table="items"), "e1")
    killed = schema.run(project, "expand", die_at="CREATE INDEX")
    assert killed.code == -9, killed.output
    with pytest.raises(NotAdditive, match="create-unique-index"):
        project.apply_expand()


@pytest.mark.needs("many_writers")
def test_linear_base_is_not_judged_and_tells_the_types(project: Project, database: Database) -> None:
    """``upgrade`` applies both; the wider type is known to be additive before the base is applied."""
    base = """
        op.create_table("kinds", sa.Column("id", sa.Integer), sa.Column("name", sa.String(20)))
        op.execute("DELETE FROM items")
    """
    (project.scripts / "expand" / "000_b1.py").write_text(schema.script("b1", base))
    wider = 'op.alter_column("kinds", "name", existing_type=sa.String(20), type_=sa.String(40))'
    project.expand(wider, "e1", down_revision="b1")
    command.upgrade(project.site())
    assert scalar(database.engine, "SELECT count(*) FROM items") == 0
    project.expand('op.alter_column("kinds", "name", existing_type=sa.String(40), type_=sa.String(9))', "e2")
    with pytest.raises(NotAdditive, match=r"change-type kinds\.name"):
        command.upgrade(project.site())


@pytest.mark.parametrize(
    "key", ["drop-column items.old", "drop-column", "alter table items  DROP column old;"]
)
def test_declared_exception_is_applied_and_shown(project: Project, database: Database, key: str) -> None:
    """By operation, by rule, or by the text of the statement; ``status`` shows the reason."""
    project.expand(RENDERED["drop-column items.old"], "e1", additive={key: "no release reads it"})
    ran = project.run("status")
    assert f"not additive, declared in e1: {key}: no release reads it (not applied)" in ran.out
    assert project.apply_expand() == ["e1"]
    assert "old" not in columns(database)
    [shown] = project.report().as_dict()["not_additive"]
    assert shown == {"revision": "e1", "key": key, "reason": "no release reads it", "applied": True}


@pytest.mark.parametrize("asks", ["", ASKS], ids=["rendered", "asks the database"])
def test_key_that_matches_nothing_is_refused(project: Project, database: Database, asks: str) -> None:
    """It may be misspelt. A script that asks the database is refused at its end."""
    project.expand(asks + ADD, "e1", additive={"drop-colum items.old": "misspelt"})
    with pytest.raises(AdditiveUnmatched, match=r"drop-colum items\.old") as refusal:
        project.apply_expand()
    assert isinstance(refusal.value, Refused)
    assert schema.version_rows(database) == []
    assert not asks or ("extra" in columns(database)) is not database.server.has("transactional_ddl")


@pytest.mark.each_product
@pytest.mark.parametrize("additive", [{"drop-column": ""}, {"drop-column": None}, ("drop-column",)])
def test_exception_without_a_reason_is_refused(project: Project, additive: object) -> None:
    project.expand(ADD, "e1", additive=additive)
    with pytest.raises(GraphBroken, match="additive of e1"):
        project.apply_expand()


@pytest.mark.each_product
def test_contract_script_declares_no_exception(project: Project) -> None:
    """It is not limited to additive statements, so the declaration is a mistake."""
    project.expand(ADD, "e1")
    project.contract("pass", "c1", additive={"drop-column": "no release reads it"})
    with pytest.raises(GraphBroken, match="contract revision c1 declares additive"):
        project.apply_expand()


def test_contract_says_which_statement_only_adds(project: Project, database: Database) -> None:
    project.expand("pass", "e1")
    project.contract(
        'op.add_column("items", sa.Column("extra", sa.Integer))\nop.drop_column("items", "old")', "c1"
    )
    project.apply_expand()
    lines: list[str] = []
    command.contract(project.site(echo=lines.append))
    said = [line for line in lines if "only adds" in line]
    assert len(said) == 1
    assert "extra" in said[0]
    assert columns(database) == {"id", "name", "extra"}
