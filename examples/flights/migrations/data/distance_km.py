"""Converts miles to kilometres: one UPDATE on the server for each chunk."""

import sqlalchemy as sa

from online_migrate import Backfill

KM_IN_A_MILE = sa.literal_column("1.609344", sa.Numeric(7, 6))

distance_km = Backfill(
    table="flights",
    values=lambda t: {"distance_km": t.c.distance * KM_IN_A_MILE},
    pending=lambda t: t.c.distance.is_not(None) & t.c.distance_km.is_(None),
    revision="expand_2026_1",
    release="2026.1",
)
