"""add volumes.zone, nullable because version 1 does not write it"""

import sqlalchemy as sa
from alembic import op

revision = "e5_zone"
down_revision = "e4_attachments"
branch_labels = None
depends_on = None

release = "2"


def upgrade() -> None:
    op.add_column("volumes", sa.Column("zone", sa.String(32)))


def downgrade() -> None:
    op.drop_column("volumes", "zone")
