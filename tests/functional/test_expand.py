"""expand: each revision in its own step, resumable, and never a contract revision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate import command
from online_migrate.command.revisions import revision_runner
from online_migrate.exceptions import ContractNotPermitted, RevisionFailed
from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Project

SEEDED = """
    op.create_table("colours", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                    sa.Column("name", sa.String(20)), mysql_engine="InnoDB")
    op.bulk_insert(sa.table("colours", sa.column("id"), sa.column("name")),
                   [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}, {"id": 3, "name": "blue"}])
    op.add_column("colours", sa.Column("used", sa.Integer))
    op.execute("INSERT INTO colours (id, name, used) VALUES (4, '100% grey', 0)")
    op.execute("UPDATE colours SET used = COALESCE(used, 0) + 1")
    op.create_index("ix_colours", "colours", ["name"])
    op.execute("UPDATE colours SET used = COALESCE(used, 0) + 1")
"""
COLOURS = [(1, "red", 2), (2, "green", 2), (3, "blue", 2), (4, "100% grey", 2)]


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project without scripts."""
    with Project.create(tmp_path / "project", database.url, lock_timeout=0.5) as project:
        yield project


@pytest.mark.parametrize("branch", ["expand", "contract"])
def test_rows_written_by_revision_are_written_once(server: Server, tmp_path: Path, branch: str) -> None:
    """kill -9 anywhere in a revision that mixes DDL and rows: no row is missing, none is duplicated."""
    query = "SELECT id, name, used FROM colours ORDER BY id"
    for moment in range(1, 200):
        with (
            server.fresh_database(tmp_path, "seeded") as database,
            Project.create(tmp_path / f"project{moment}", database.url) as project,
        ):
            if branch == "contract":
                project.expand("pass", "e1")
                project.apply_expand()
                project.contract(SEEDED, "c1")
            else:
                project.expand(SEEDED, "e1")
            killed = schema.run(project, branch, die_at=5 * moment)
            if killed.code == 0:
                break
            assert killed.code == -9, killed.output
            resumed = schema.run(project, branch)
            assert resumed.code == 0, (killed.statements[-1], resumed.output)
            assert schema.query_all(database, query) == COLOURS, killed.statements[-1]
            assert schema.journal(database) == []
    assert moment > 2


def test_expand_stops_at_its_target(project: Project, database: Database) -> None:
    """``expand e2`` of three revisions; an unambiguous prefix of an id is accepted; then the others."""
    for number in (1, 2, 3):
        table = f'op.create_table("t{number}", sa.Column("id", sa.Integer, primary_key=True))'
        project.expand(table, f"e{number}aa")
    assert project.apply_expand("e2") == ["e1aa", "e2aa"]
    assert "t3" not in schema.tables(database)
    assert project.apply_expand("expand@head") == ["e3aa"]
    assert project.apply_expand() == []


def test_failed_revision_keeps_earlier_ones(project: Project, database: Database) -> None:
    """e1 stays applied, e2 failed; with a corrected script, expand continues with e2 and repeats nothing."""
    project.expand('op.create_table("t1", sa.Column("id", sa.Integer, primary_key=True))', "e1")
    create = 'op.create_table("t2", sa.Column("id", sa.Integer, primary_key=True))\n'
    project.expand(create + 'op.add_column("nowhere", sa.Column("n", sa.Integer))', "e2")
    with pytest.raises(RevisionFailed) as failure:
        project.apply_expand()
    assert (failure.value.exit_code, failure.value.facts["revision"]) == (2, "e2")
    assert schema.version_rows(database) == ["e1"]
    assert ("t2" in schema.tables(database)) != database.server.has("transactional_ddl")
    script = project.scripts / "expand" / "002_e2.py"
    script.write_text(script.read_text().replace('"nowhere"', '"t2"'))
    assert project.apply_expand() == ["e2"]
    assert "n" in schema.shape(database)["t2"]["columns"]
    assert schema.journal(database) == []


def test_expand_never_applies_contract_revision(project: Project, database: Database) -> None:
    """Neither with a target nor when the runner is given a contract revision by mistake."""
    from online_migrate.expand import runner

    project.expand('op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))', "e1")
    project.contract('op.drop_table("t")', "c1")
    project.apply_expand()
    with revision_runner(project.site()) as stepper, pytest.raises(ContractNotPermitted):
        runner.run(stepper, ["c1"])
    with revision_runner(project.site()) as stepper, pytest.raises(ContractNotPermitted):
        stepper.apply("c1")
    assert "t" in schema.tables(database)


def test_expand_migrate_contract_with_quoted_names(project: Project, database: Database) -> None:
    """Reserved words, capitals, spaces, percent signs and colons in names, through all phases."""
    project.expand(
        """
        op.create_table("Order", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                        sa.Column("from", sa.Integer), sa.Column("Two Words", sa.Integer),
                        mysql_engine="InnoDB")
        op.create_index("ix Order", "Order", ["Two Words"])
        """,
        "e1",
    )
    project.expand('op.add_column("Order", sa.Column("100%:n", sa.Integer))', "e2")
    project.data(
        "quoted",
        """
        quoted = Backfill(table="Order", values=lambda t: {"100%:n": t.c["from"]}, revision="e2",
                          pending=lambda t: t.c["100%:n"].is_(None))
        """,
    )
    drop = 'op.drop_index("ix Order", "Order")\nop.drop_column("Order", "Two Words")\n'
    project.contract(f'{drop}op.drop_column("Order", "from")', "c2", requires=("quoted",))
    project.apply_expand("e1")
    quote = database.engine.dialect.identifier_preparer.quote
    order = quote("Order")
    schema.run_all(database, f"INSERT INTO {order} (id, {quote('from')}) VALUES (1, 10), (2, 20)")
    project.apply_expand()
    assert project.migrate()["quoted"].done == 2
    assert command.contract(project.site()).revisions == ("c2",)
    assert schema.query_all(database, f"SELECT * FROM {order} ORDER BY id") == [(1, 10), (2, 20)]
    assert set(schema.shape(database)["Order"]["columns"]) == {"id", "100%:n"}
