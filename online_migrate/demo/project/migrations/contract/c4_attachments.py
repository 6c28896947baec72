"""drop volumes.attached_to"""

import sqlalchemy as sa
from alembic import op

revision = "c4_attachments"
down_revision = "c3_split_name"
branch_labels = None
depends_on = "e4_attachments"

release = "2"
requires = ("attachments",)


def upgrade() -> None:
    op.drop_column("volumes", "attached_to")


def downgrade() -> None:
    op.add_column("volumes", sa.Column("attached_to", sa.String(80)))
