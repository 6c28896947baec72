"""drop accounts.full_name"""

import sqlalchemy as sa
from alembic import op

revision = "c3_split_name"
down_revision = "c2_size_bytes"
branch_labels = None
depends_on = "e3_split_name"

release = "2"
requires = ("split_name",)


def upgrade() -> None:
    op.drop_column("accounts", "full_name")


def downgrade() -> None:
    op.add_column("accounts", sa.Column("full_name", sa.String(160)))
