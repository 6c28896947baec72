"""The data migration of release 2026.2. Its code migrates the rows that it uses by the same expressions."""

from __future__ import annotations

import sqlalchemy as sa

from online_migrate import Backfill

GIB = 1024**3


def in_bytes(t: sa.Table) -> sa.ColumnElement[int]:
    """Returns the size that old code has written, in bytes."""
    return sa.cast(t.c.size, sa.BigInteger) * GIB


volume_bytes = Backfill(
    name="volume_bytes",
    table="volumes",
    # Old code writes only ``size``, so a row that was migrated may become pending again.
    pending=lambda t: t.c.size_bytes != in_bytes(t),
    values=lambda t: {"size_bytes": in_bytes(t)},
    revision="expand_2026_2",
    release="2026.2",
)
