"""set volumes.zone NOT NULL"""

import sqlalchemy as sa
from alembic import op

revision = "c5_zone"
down_revision = "c4_attachments"
branch_labels = None
depends_on = "e5_zone"

release = "2"
requires = ("zone",)


def upgrade() -> None:
    # SQLite copies the table; the other servers alter it in place. PostgreSQL scans all rows under the lock:
    # on a big table, first add and validate CHECK (zone IS NOT NULL), then this is a metadata-only change.
    with op.batch_alter_table("volumes") as volumes:
        volumes.alter_column("zone", existing_type=sa.String(32), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("volumes") as volumes:
        volumes.alter_column("zone", existing_type=sa.String(32), nullable=True)
