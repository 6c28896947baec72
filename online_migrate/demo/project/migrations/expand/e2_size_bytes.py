"""add volumes.size_bytes, which replaces volumes.size_gb"""

import sqlalchemy as sa
from alembic import op

revision = "e2_size_bytes"
down_revision = "e1_display_name"
branch_labels = None
depends_on = None

release = "2"


def upgrade() -> None:
    op.add_column("volumes", sa.Column("size_bytes", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("volumes", "size_bytes")
