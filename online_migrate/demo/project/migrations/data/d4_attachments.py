"""volumes.attached_to -> the table attachments: any SQL, in the transaction of the chunk."""

import sqlalchemy as sa

from online_migrate import Chunk, batch_migration

attachment = sa.table("attachments", sa.column("volume_id", sa.Integer), sa.column("host", sa.String))


def differs(volumes: sa.Table) -> sa.ColumnElement[bool]:
    host = sa.select(attachment.c.host).where(attachment.c.volume_id == volumes.c.id).scalar_subquery()
    return sa.func.coalesce(volumes.c.attached_to, "") != sa.func.coalesce(host, "")


@batch_migration(table="volumes", pending=differs, revision="e4_attachments")
def attachments(connection: sa.Connection, chunk: Chunk) -> int:
    volumes = chunk.table
    # The lock prevents changes of a volume by the application between the read and the write.
    rows = connection.execute(
        sa.select(volumes.c.id, volumes.c.attached_to).where(chunk.where).with_for_update()
    ).all()
    if rows:
        ids = [row.id for row in rows]
        connection.execute(sa.delete(attachment).where(attachment.c.volume_id.in_(ids)))
    attached = [{"volume_id": row.id, "host": row.attached_to} for row in rows if row.attached_to]
    if attached:
        connection.execute(sa.insert(attachment), attached)
    return len(rows)
