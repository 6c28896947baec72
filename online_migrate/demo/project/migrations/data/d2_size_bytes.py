"""volumes.size_gb -> volumes.size_bytes: a change of type and unit."""

import sqlalchemy as sa

from online_migrate import Backfill


def in_bytes(table: sa.Table) -> sa.ColumnElement[int]:
    return sa.cast(table.c.size_gb, sa.BigInteger) * 1024**3


size_bytes = Backfill(
    table="volumes",
    values=lambda t: {"size_bytes": in_bytes(t)},
    pending=lambda t: t.c.size_bytes != in_bytes(t),
    revision="e2_size_bytes",
)
