"""accounts.full_name -> accounts.first_name and accounts.last_name: a function in Python."""

from typing import Any

import sqlalchemy as sa

from online_migrate import row_migration


@row_migration(
    table="accounts",
    pending=lambda t: t.c.first_name + " " + t.c.last_name != t.c.full_name,
    revision="e3_split_name",
)
def split_name(row: sa.Row[Any]) -> dict[str, str]:
    first, _, last = row.full_name.partition(" ")
    return {"first_name": first, "last_name": last}
