"""volumes.zone becomes NOT NULL"""

import sqlalchemy as sa
from alembic import op

revision = "c5_zone"
down_revision = "c4_attachments"
branch_labels = None
depends_on = "e5_zone"

release = "2"
requires = ("zone",)


def upgrade() -> None:
    # SQLite copies the table; the other servers alter it where it is. (PostgreSQL reads all rows meanwhile:
    # on a big table, add and validate CHECK (zone IS NOT NULL) before, and this takes no time.)
    with op.batch_alter_table("volumes") as volumes:
        volumes.alter_column("zone", existing_type=sa.String(32), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("volumes") as volumes:
        volumes.alter_column("zone", existing_type=sa.String(32), nullable=True)
