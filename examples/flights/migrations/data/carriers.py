"""Moves carriers into a separate table: any SQL, once for each chunk, in the chunk's transaction."""

import nycflights
import sqlalchemy as sa

from online_migrate import Chunk, batch_migration

carriers = sa.Table(
    "carriers",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.String(2)),
    sa.Column("name", sa.String(100)),
)


@batch_migration(
    name="carriers",
    table="flights",
    pending=lambda t: t.c.carrier.is_not(None) & t.c.carrier_id.is_(None),
    revision="expand_2026_2",
    release="2026.2",
)
def move_carriers(connection: sa.Connection, chunk: Chunk) -> int:
    """Inserts the carriers of the chunk that are missing, and sets ``carrier_id`` of its flights."""
    add_missing(connection, chunk)
    code = chunk.table.c.carrier
    its_carrier = sa.select(carriers.c.id).where(carriers.c.code == code).scalar_subquery()
    update = sa.update(chunk.table).where(chunk.where).values(carrier_id=its_carrier)
    return connection.execute(update).rowcount


def add_missing(connection: sa.Connection, chunk: Chunk) -> None:
    """Inserts a row into carriers for every code of the chunk that has none."""
    known = sa.select(carriers.c.code)
    code = chunk.table.c.carrier
    missing = connection.scalars(sa.select(code).where(chunk.where, code.not_in(known)).distinct()).all()
    if missing:
        names = nycflights.airlines()
        rows = [{"code": its, "name": names.get(its)} for its in missing]
        connection.execute(sa.insert(carriers), rows)
