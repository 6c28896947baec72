"""Add the size of a volume in bytes

Revision ID: expand_2026_2
Revises: expand_2026_1
"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic
revision = "expand_2026_2"
down_revision = "expand_2026_1"
branch_labels = None
depends_on = None

# used by online-migrate
release = "2026.2"


def upgrade() -> None:
    op.add_column("volumes", sa.Column("size_bytes", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("volumes", "size_bytes")
