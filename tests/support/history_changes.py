"""The changes whose history is checked: what the old and the new version of an application write in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

GIB = 1024**3
Values = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Change:
    """One change of the table ``items``, from before expand to after contract."""

    name: str
    columns: str
    """The columns of the old version, as SQL."""
    expand: str
    undo: str
    """What ``downgrade()`` of the expand script does after the sync is dropped."""
    data: str
    """The source of data migration ``moved``."""
    contract: str
    old: Callable[[int], Values]
    """What the old version writes for a value, by column."""
    new: Callable[[int], Values]
    """What the new version writes for a value, by column."""
    new_table: str = "items"
    """The table of the new columns; its key is ``id``."""
    sync: str = ""
    """The call that creates sync ``both``; empty: the new columns are in another table."""

    @property
    def moves(self) -> bool:
        """Whether the new columns are in another table."""
        return self.new_table != "items"


def _name(value: int) -> str:
    """Returns a text; that of the next value may differ in its case only."""
    return f"{'Name' if value % 2 else 'name'} {value // 2}"


RENAME = Change(
    "rename",
    columns="nick VARCHAR(40)",
    expand='op.add_column("items", sa.Column("name", sa.String(40)))',
    undo='op.drop_column("items", "name")',
    data="""
moved = Backfill(table="items", values=lambda t: {"name": t.c.nick},
                 pending=lambda t: sa.and_(t.c.name.is_(None), t.c.nick.is_not(None)))
""",
    contract='op.drop_column("items", "nick")',
    old=lambda value: {"nick": _name(value)},
    new=lambda value: {"name": _name(value)},
    sync='op.create_sync("both", "items", forward={"name": "nick"}, backward={"nick": "name"})',
)
TYPE = Change(
    "type",
    columns="size_gb INTEGER",
    expand='op.add_column("items", sa.Column("size", sa.BigInteger))',
    undo='op.drop_column("items", "size")',
    data="""
moved = Backfill(table="items", values=lambda t: {"size": sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3},
                 pending=lambda t: sa.and_(t.c.size.is_(None), t.c.size_gb.is_not(None)),
                 verify=lambda t: t.c.size == sa.cast(t.c.size_gb, sa.BigInteger) * 1024**3)
""",
    contract='op.drop_column("items", "size_gb")',
    old=lambda value: {"size_gb": value},
    new=lambda value: {"size": value * GIB},
    sync="""
op.create_sync(
    "both", "items",
    forward={"size": sa.cast(sa.column("size_gb"), sa.BigInteger) * 1024**3},
    backward={"size_gb": {"postgresql": "size / 1073741824", "sqlite": "size / 1073741824",
                          "mysql": "size DIV 1073741824"}},
)
""",
)
SPLIT = Change(
    "split",
    columns="full_name VARCHAR(80)",
    expand="""
op.add_column("items", sa.Column("first", sa.String(40)))
op.add_column("items", sa.Column("last", sa.String(40)))
""",
    undo='op.drop_column("items", "first")\nop.drop_column("items", "last")',
    data="""
@row_migration(table="items", pending=lambda t: sa.and_(t.c.last.is_(None), t.c.full_name.is_not(None)))
def moved(row):
    first, _, last = row.full_name.partition(" ")
    return {"first": first, "last": last}
""",
    contract='op.drop_column("items", "full_name")',
    old=lambda value: {"full_name": f"Ada{value} Byron{value}"},
    new=lambda value: {"first": f"Ada{value}", "last": f"Byron{value}"},
    sync="""
op.create_sync(
    "both", "items",
    forward={
        "first": {"postgresql": "split_part(full_name, ' ', 1)",
                  "mysql": "substring_index(full_name, ' ', 1)",
                  "sqlite": "substr(full_name, 1, instr(full_name, ' ') - 1)"},
        "last": {"postgresql": "split_part(full_name, ' ', 2)",
                 "mysql": "substring_index(full_name, ' ', -1)",
                 "sqlite": "substr(full_name, instr(full_name, ' ') + 1)"},
    },
    backward={"full_name": {"postgresql": "first || ' ' || last", "sqlite": "first || ' ' || last",
                            "mysql": "concat(first, ' ', last)"}},
)
""",
)
MOVE = Change(
    "move",
    columns="city VARCHAR(40)",
    expand="""
op.create_table("homes", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
                sa.Column("town", sa.String(40)))
""",
    undo='op.drop_table("homes")',
    data="""
homes = sa.table("homes", sa.column("id"), sa.column("town"))

def unmoved(t):
    return sa.and_(t.c.city.is_not(None), ~sa.exists().where(homes.c.id == t.c.id))

@batch_migration(table="items", pending=unmoved)
def moved(connection, chunk):
    t = chunk.table
    rows = sa.select(t.c.id, t.c.city).where(chunk.where, unmoved(t))
    return connection.execute(sa.insert(homes).from_select(["id", "town"], rows)).rowcount
""",
    contract='op.drop_column("items", "city")',
    old=lambda value: {"city": f"town {value}"},
    new=lambda value: {"town": f"town {value}"},
    new_table="homes",
)
CHANGES = (RENAME, TYPE, SPLIT, MOVE)
