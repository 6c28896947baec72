"""contract: a revision that removes the columns of its data migrations one by one can be stopped anywhere."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from online_migrate import command
from online_migrate.exceptions import GateClosed, OnlineMigrateError
from online_migrate.migrate.run import Outcome
from tests.functional.test_chaos_contract import moments
from tests.servers import Database, Server
from tests.support import schema
from tests.support.project import Project

_TABLE = """
    op.create_table("pairs", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                    sa.Column("a", sa.Integer), sa.Column("b", sa.Integer), mysql_engine="InnoDB")
"""
_ADD = """
    op.add_column("pairs", sa.Column("na", sa.Integer))
    op.add_column("pairs", sa.Column("nb", sa.Integer))
"""
FORMS = {
    "a name": """
        first = Backfill(table="pairs", values=lambda t: {"na": t.c.a + 1},
                         pending=lambda t: t.c.na.is_(None) & t.c.a.is_not(None))
        second = Backfill(table="pairs", values=lambda t: {"nb": t.c.b + 1},
                          pending=lambda t: t.c.nb.is_(None) & t.c.b.is_not(None))
    """,
    "a sa.Table": """
        pairs = sa.Table("pairs", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
                         *(sa.Column(name, sa.Integer) for name in ("a", "b", "na", "nb")))
        first = Backfill(table=pairs, values={"na": pairs.c.a + 1},
                         pending=pairs.c.na.is_(None) & pairs.c.a.is_not(None))
        second = Backfill(table=pairs, values={"nb": pairs.c.b + 1},
                          pending=pairs.c.nb.is_(None) & pairs.c.b.is_not(None))
    """,
    "SQL text": """
        pairs = sa.Table("pairs", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
                         *(sa.Column(name, sa.Integer) for name in ("a", "b", "na", "nb")))
        first = Backfill(table=pairs, values={"na": sa.text("a + 1")},
                         pending=sa.literal_column("na IS NULL AND a IS NOT NULL", sa.Boolean))
        second = Backfill(table=pairs, values={"nb": sa.text("b + 1")},
                          pending=sa.literal_column("nb IS NULL AND b IS NOT NULL", sa.Boolean))
    """,
}
"""Two data migrations of one table, in every form in which a table can be given."""
_EACH_FORM = pytest.mark.parametrize(
    "form", ["a sa.Table", *(pytest.param(form, marks=pytest.mark.long) for form in ("a name", "SQL text"))]
)

_NOT_NULL = """
    with op.batch_alter_table("pairs") as batch:
        batch.alter_column("na", existing_type=sa.Integer(), nullable=False)
"""
_APART = {
    "sqlite": 'with op.get_context().autocommit_block():\n    op.execute("SELECT 1")\n',
    "postgresql": (
        "with op.get_context().autocommit_block():\n"
        '    op.execute("CREATE INDEX CONCURRENTLY ix_nb ON pairs (nb)")\n'
    ),
}
"""What ends the transaction, and with it the lock, where a revision would be one transaction."""


def parts(product: str) -> list[str]:
    """The script, in parts between which it can be stopped."""
    apart = _APART.get(product, "")
    return [
        'op.drop_column("pairs", "a")\n',
        apart,
        textwrap.dedent(_NOT_NULL),
        'op.drop_column("pairs", "b")\n',
    ]


@contextlib.contextmanager
def life(server: Server, folder: Path, number: int, form: str) -> Iterator[tuple[Project, Database]]:
    """A database of its own, ready for contract."""
    with (
        server.fresh_database(folder, "resume") as database,
        Project.create(folder / f"project{number}", database.url, lock_attempts=20) as project,
    ):
        project.expand(_TABLE, "e1")
        project.expand(_ADD, "e2")
        project.contract("".join(parts(server.product)), "c1", requires=("first", "second"))
        project.data("pairs", FORMS[form])
        project.apply_expand("e1")
        rows = ", ".join(f"({number}, {number}, {10 * number})" for number in range(1, 11))
        schema.run_all(database, f"INSERT INTO pairs (id, a, b) VALUES {rows}")
        project.apply_expand()
        assert {result.outcome for result in project.migrate().values()} == {Outcome.COMPLETE}
        yield project, database


def write_as_before(database: Database) -> None:
    """What the old version does meanwhile: it changes a row of each column that is still there."""
    columns = schema.shape(database)["pairs"]["columns"]
    if "a" in columns:
        schema.run_all(database, "UPDATE pairs SET a = 1003, na = NULL WHERE id = 3")
    if "b" in columns:
        schema.run_all(database, "UPDATE pairs SET b = 1004, nb = NULL WHERE id = 4")


def expected(*, changed_a: bool, changed_b: bool) -> list[tuple[int, int, int]]:
    rows = {number: [number, number + 1, 10 * number + 1] for number in range(1, 11)}
    if changed_a:
        rows[3][1] = 1004
    if changed_b:
        rows[4][2] = 1005
    return [(row[0], row[1], row[2]) for row in rows.values()]


def goes_on(project: Project, database: Database, where: str) -> None:
    """Rows become pending; ``contract`` again, after ``migrate`` where it asks for that, ends contracted."""
    before = schema.shape(database)["pairs"]["columns"]
    write_as_before(database)
    try:
        command.contract(project.site())
    except GateClosed as closed:
        # What is wrong is a row, and is removed by the command that the blocker names.
        project.migrate(*{blocker.object for blocker in closed.blockers if blocker.id == "pending-rows"})
        command.contract(project.site())
    ends_right(database, expected(changed_a="a" in before, changed_b="b" in before), where)


def ends_right(database: Database, rows: list[tuple[int, int, int]], where: str) -> None:
    columns = schema.shape(database)["pairs"]["columns"]
    assert set(columns) == {"id", "na", "nb"}, where
    assert columns["na"][1] is False, where
    assert schema.query_all(database, "SELECT id, na, nb FROM pairs ORDER BY id") == rows, where
    assert schema.version_rows(database) == ["c1"], where
    assert schema.journal(database) == [], where


class Stopped(BaseException):
    """The process is at its end: not an error that anything but its end may handle."""


class Failing(RuntimeError):
    """An error that is no server's; where DDL is transactional it leaves what a kill leaves."""


@contextlib.contextmanager
def stopping(at: int | None, error: type[BaseException] = Stopped) -> Iterator[list[str]]:
    """Inside the block, what is sent is listed, mere reads left out; *at* (from 1) is not sent any more."""
    sent: list[str] = []

    def send(statement: str) -> None:
        if not schema.is_read(statement):
            sent.append(" ".join(statement.split()))
            if len(sent) == at:
                raise error(statement)

    def on_execute(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        send(statement)

    def on_commit(_connection: object) -> None:
        send("COMMIT")

    event.listen(sa.Engine, "before_cursor_execute", on_execute)
    event.listen(sa.Engine, "commit", on_commit)
    try:
        yield sent
    finally:
        event.remove(sa.Engine, "before_cursor_execute", on_execute)
        event.remove(sa.Engine, "commit", on_commit)


@pytest.mark.timeout(1200)
@_EACH_FORM
def test_a_contract_that_removes_what_it_verified_can_be_stopped_anywhere(
    server: Server, tmp_path: Path, form: str
) -> None:
    """What is gone counts as verified; what is left is migrated and looked at again."""
    with life(server, tmp_path, 0, form) as (project, database):
        with stopping(None) as sent:
            command.contract(project.site())
        ends_right(database, expected(changed_a=False, changed_b=False), "undisturbed")
    for at in moments(sent, every=False, transactional=False):
        where = f"stopped before statement {at}: {sent[at - 1]}"
        with life(server, tmp_path, at, form) as (project, database):
            error = Failing if server.has("transactional_ddl") else Stopped
            with stopping(at, error), pytest.raises((error, OnlineMigrateError)):
                command.contract(project.site())
            goes_on(project, database, where)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", list(FORMS))
def test_a_contract_that_removes_what_it_verified_can_be_killed_anywhere(
    server: Server, tmp_path: Path, form: str
) -> None:
    """The same by kill -9, at every statement that reaches the driver."""
    with life(server, tmp_path, 0, form) as (project, database):
        undisturbed = schema.run(project, "contract")
        assert undisturbed.code == 0, undisturbed.output
    for at, statement in enumerate(undisturbed.statements, start=1):
        with life(server, tmp_path, at, form) as (project, database):
            killed = schema.run(project, "contract", die_at=at)
            assert killed.code == -9, killed.output
            goes_on(project, database, f"killed before statement {at}: {statement}")


@_EACH_FORM
def test_a_contract_that_removes_what_it_verified_can_fail_anywhere(
    server: Server, tmp_path: Path, form: str
) -> None:
    """An exception of the script between two statements; without it the next run ends contracted."""
    for position in range(1, len(parts(server.product)) + 1):
        with life(server, tmp_path, position, form) as (project, database):
            [path] = (project.scripts / "contract").glob("*.py")
            text = path.read_text()
            lines = parts(server.product)
            lines.insert(position, 'raise RuntimeError("of the script")\n')
            head = text.partition("def upgrade():\n")[0]
            path.write_text(f"{head}def upgrade():\n{textwrap.indent(''.join(lines), '    ')}")
            with pytest.raises(OnlineMigrateError) as failure:
                command.contract(project.site())
            assert failure.value.exit_code == 2, failure.value
            path.write_text(text)
            goes_on(project, database, f"an exception after part {position}")


def test_an_expression_that_is_broken_meanwhile_does_not_count_as_verified(
    server: Server, tmp_path: Path
) -> None:
    """Its column is still there: refused, and nothing more is removed."""
    with life(server, tmp_path, 0, "a sa.Table") as (project, database):
        last = "ALTER TABLE pairs DROP COLUMN b"
        assert schema.run(project, "contract", die_at=last).code == -9
        write_as_before(database)
        project.data("pairs", FORMS["a name"].replace("t.c.nb.is_(None)", "t.c.bn.is_(None)"))
        refused = schema.run(project, "contract")
        assert refused.code == 3, refused.output
        assert "bn" in refused.output
        assert "b" in schema.shape(database)["pairs"]["columns"]
        project.data("pairs", FORMS["a sa.Table"])
        project.migrate("second")
        assert schema.run(project, "contract").code == 0


def test_a_later_revision_may_require_what_an_earlier_one_removed(server: Server, tmp_path: Path) -> None:
    """The verification of the earlier one counts, also for a declared table."""
    with life(server, tmp_path, 0, "a sa.Table") as (project, database):
        project.contract("pass", "c2", requires=("first", "second"))
        assert command.contract(project.site(), "c1").revisions == ("c1",)
        assert command.gate(project.site()) == []
        assert command.contract(project.site()).revisions == ("c2",)
        assert schema.version_rows(database) == ["c2"]


def test_the_gate_of_a_half_applied_revision_names_what_is_left(server: Server, tmp_path: Path) -> None:
    """A row of the second is pending, the first is gone: one blocker, which ``migrate second`` removes."""
    with life(server, tmp_path, 0, "a sa.Table") as (project, database):
        assert schema.run(project, "contract", die_at="ALTER TABLE pairs DROP COLUMN b").code == -9
        write_as_before(database)
        assert "a" not in schema.shape(database)["pairs"]["columns"]
        [blocker] = command.gate(project.site())
        assert (blocker.id, blocker.object) == ("pending-rows", "second")
        outcomes = {name: result.outcome for name, result in project.migrate().items()}
        assert outcomes == {"first": Outcome.CONTRACTED, "second": Outcome.COMPLETE}
        assert command.gate(project.site()) == []
        assert command.contract(project.site()).revisions == ("c1",)
        ends_right(database, expected(changed_a=False, changed_b=True), "half applied")
