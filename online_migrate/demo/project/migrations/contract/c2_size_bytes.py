"""drop volumes.size_gb"""

import sqlalchemy as sa
from alembic import op

revision = "c2_size_bytes"
down_revision = "c1_display_name"
branch_labels = None
depends_on = "e2_size_bytes"

release = "2"
requires = ("size_bytes",)


def upgrade() -> None:
    op.drop_column("volumes", "size_gb")


def downgrade() -> None:
    op.add_column("volumes", sa.Column("size_gb", sa.Integer))
