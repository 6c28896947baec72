"""volumes.zone: a value for rows that were written without the new column."""

from online_migrate import Backfill

zone = Backfill(
    table="volumes",
    values={"zone": "zone-1"},
    pending=lambda t: t.c.zone.is_(None),
    revision="e5_zone",
)
