"""add accounts.first_name and last_name, which replace accounts.full_name"""

import sqlalchemy as sa
from alembic import op

revision = "e3_split_name"
down_revision = "e2_size_bytes"
branch_labels = None
depends_on = None

release = "2"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("first_name", sa.String(80)))
    op.add_column("accounts", sa.Column("last_name", sa.String(80)))


def downgrade() -> None:
    op.drop_column("accounts", "last_name")
    op.drop_column("accounts", "first_name")
