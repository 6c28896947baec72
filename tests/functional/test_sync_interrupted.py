"""A contract is killed between ``op.drop_sync`` and the drop of the columns: no value is lost with them.

While the triggers are dropped, a write of one version does not reach the columns of the other. The next
run creates the triggers again, and is refused while the two shapes of a row differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from online_migrate import command
from online_migrate.exceptions import Blocker, GateClosed, Refused
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute, rows

pytestmark = [pytest.mark.needs("row_locks"), pytest.mark.each_product]

ITEMS = """
    op.create_table(
        "items",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("order", sa.String(40)),
        sa.Column("size_gb", sa.Integer),
        mysql_engine="InnoDB",
    )
"""
RANK = """
    op.add_column("items", sa.Column("Rank", sa.String(42)))
    op.add_column("items", sa.Column("size", sa.BigInteger))
    op.create_sync(
        "both", "items",
        forward={
            "Rank": sa.column("order") + "%",
            "size": sa.cast(sa.column("size_gb"), sa.BigInteger) * 1024,
        },
        backward={"order": sa.func.replace(sa.column("Rank"), "%", ""), "size_gb": {
            "postgresql": "size / 1024", "mysql": "size DIV 1024",
        }},
    )
"""
DATA = """
ranked = Backfill(table="items", values=lambda t: {"Rank": t.c.order + "%"},
                  pending=lambda t: t.c.Rank.is_(None) & t.c.order.is_not(None))
"""
# On PostgreSQL the autocommit block commits the drop of the triggers.
DROP = """
    op.drop_sync("both")
    with op.get_context().autocommit_block():
        op.create_index("ix_rank", "items", ["Rank"], postgresql_concurrently=True)
    op.drop_column("items", "order")
    op.drop_column("items", "size_gb")
    op.create_index("ix_size", "items", ["size"])
"""


@dataclasses.dataclass
class Interrupted:
    """A project whose contract is killed."""

    project: Project
    database: Database

    @property
    def quote(self) -> str:
        """The quotation mark of a name."""
        return '"' if self.database.server.product == "postgresql" else "`"

    def execute(self, *statements: str) -> None:
        """Executes statements, in which a double quote surrounds a name."""
        execute(self.database.engine, *(one.replace('"', self.quote) for one in statements))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Returns the rows of a query, in which a double quote surrounds a name."""
        return rows(self.database.engine, query.replace('"', self.quote))

    def gate(self) -> dict[str, Blocker]:
        """Returns the blockers of the gate by id."""
        return {one.id: one for one in command.gate(self.project.site())}

    def refused(self) -> Sequence[Blocker]:
        """Runs contract, which is refused; returns the blockers."""
        with pytest.raises(GateClosed) as refused:
            command.contract(self.project.site())
        return refused.value.blockers

    def contract(self) -> None:
        """Runs contract."""
        command.contract(self.project.site())


@pytest.fixture
def synced(database: Database, tmp_path: Path) -> Iterator[Interrupted]:
    """Three migrated rows, with both columns of two pairs in step."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(ITEMS)
        project.expand(RANK)
        project.contract(DROP, "c1", requires=("ranked",))
        project.data("ranked", DATA)
        project.apply_expand()
        found = Interrupted(project, database)
        found.execute("INSERT INTO items VALUES (1, 'a', 1, NULL, NULL), (2, 'b', 2, NULL, NULL)")
        found.execute("INSERT INTO items VALUES (3, 'c', 3, NULL, NULL)")
        project.migrate()
        yield found


def killed(interrupted: Interrupted, moment: str) -> None:
    """Kills contract before a statement that begins with *moment*, a double quote around a name."""
    statement = moment.replace('"', interrupted.quote)
    result = schema.run(interrupted.project, "contract", die_at=statement)
    assert result.code == -9, result.output


def test_rows_written_without_triggers_close_the_gate(synced: Interrupted) -> None:
    """An UPDATE of the old version, an UPDATE and an INSERT of the new one."""
    killed(synced, 'ALTER TABLE items DROP COLUMN "order"')
    synced.execute(
        "UPDATE items SET \"order\" = 'A' WHERE id = 1",
        "UPDATE items SET \"Rank\" = 'new%' WHERE id = 2",
        "INSERT INTO items (id, \"Rank\", size) VALUES (4, 'd%', 4096)",
    )
    online = synced.gate()
    assert online.keys() == {"sync-dropped", "sync-out-of-step"}
    assert "half applied" in online["sync-dropped"].reason

    [blocker] = synced.refused()
    assert (blocker.id, blocker.object, blocker.count) == ("sync-out-of-step", "both", 3)
    assert blocker.keys == ("1", "2", "4")
    synced.execute("UPDATE items SET \"order\" = 'C' WHERE id = 3")
    assert synced.rows('SELECT "Rank" FROM items WHERE id = 3') == [("C%",)]

    new_right, old_right, end = blocker.hint.split("; ")
    assert end == "then: online-migrate contract"
    _, _, update = old_right.partition("where the old ones are right: ")
    execute(synced.database.engine, f"{update} AND id = 1")
    assert [one.count for one in synced.refused()] == [2]
    _, _, update = new_right.partition("where the new columns are right: ")
    execute(synced.database.engine, update)
    synced.contract()
    assert synced.rows('SELECT id, "Rank", size FROM items ORDER BY id') == [
        (1, "A%", 1024),
        (2, "new%", 2048),
        (3, "C%", 3072),
        (4, "d%", 4096),
    ]


def test_lossy_conversion_is_in_step(synced: Interrupted) -> None:
    """A value of the new version that the old shape cannot hold exactly does not close the gate."""
    synced.execute("UPDATE items SET size = 1536 WHERE id = 1")
    killed(synced, 'ALTER TABLE items DROP COLUMN "order"')
    synced.contract()
    assert synced.rows('SELECT size, "Rank" FROM items WHERE id = 1') == [(1536, "a%")]


def test_contract_ends_without_columns_to_compare(synced: Interrupted) -> None:
    """Killed after a column is gone, contract runs to its end: the triggers cannot be created again."""
    killed(synced, "CREATE INDEX ix_size")
    with pytest.raises(Refused, match="which needs e2, is half applied"):
        command.rollback(synced.project.site())
    synced.contract()
    assert not synced.gate()
    assert synced.rows("SELECT COUNT(*) FROM items WHERE size IS NOT NULL") == [(3,)]


USERS = """
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("email", sa.String(60)),
        mysql_engine="InnoDB",
    )
"""
EMAILS = """
    op.create_table(
        "emails",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("email", sa.String(60)),
        mysql_engine="InnoDB",
    )
    op.create_sync(
        "moved_email", "users", to="emails", key={"id": "id"},
        forward={"email": sa.func.lower(sa.column("email"))}, backward={"email": sa.column("email")},
    )
"""
MOVED = """
emails = sa.table("emails", sa.column("id"))

@row_migration(
    table="users", pending=lambda t: t.c.email.is_not(None) & ~sa.exists().where(emails.c.id == t.c.id)
)
def moved(row):
    return {"email": row.email}
"""
DROP_EMAIL = """
    op.drop_sync("moved_email")
    with op.get_context().autocommit_block():
        op.create_index("ix_email", "emails", ["email"], postgresql_concurrently=True)
    op.drop_column("users", "email")
"""


def test_rows_of_two_tables(database: Database, tmp_path: Path) -> None:
    """An UPDATE and a DELETE of the old version, an INSERT of the new: a blocker for each table."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand(USERS)
        project.expand(EMAILS)
        project.data("moved", MOVED)
        project.contract(DROP_EMAIL, "c1", requires=("moved",))
        project.apply_expand()
        project.migrate()
        found = Interrupted(project, database)
        found.execute("INSERT INTO users (id, email) VALUES (1, 'A@x'), (2, 'b@x'), (3, NULL), (4, 'd@x')")
        killed(found, "ALTER TABLE users DROP")
        found.execute(
            "UPDATE users SET email = 'other@x' WHERE id = 1",
            "DELETE FROM users WHERE id = 2",
            "INSERT INTO emails (id, email) VALUES (3, 'c@x')",
        )
        blockers = found.refused()
        assert [(one.id, one.keys) for one in blockers] == [
            ("sync-out-of-step", ("1", "3")),
            ("sync-out-of-step", ("2",)),
        ]
        assert "users" in blockers[0].reason
        assert "emails" in blockers[1].reason
        found.execute(
            "UPDATE emails SET email = 'other@x' WHERE id = 1",
            "UPDATE emails SET email = 'C@x' WHERE id = 3",
            "DELETE FROM emails WHERE id = 2",
        )
        found.contract()
        emails = found.rows("SELECT id, email FROM emails ORDER BY id")
        assert emails == [(1, "other@x"), (3, "C@x"), (4, "d@x")]
