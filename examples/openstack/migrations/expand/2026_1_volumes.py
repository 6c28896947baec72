"""Create the table of volumes

Revision ID: expand_2026_1
Revises:
"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic
revision = "expand_2026_1"
down_revision = None
branch_labels = "expand"
depends_on = None

# used by online-migrate
release = "2026.1"


def upgrade() -> None:
    op.create_table(
        "volumes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("host", sa.String(80), nullable=False),
        sa.Column("size", sa.Integer, nullable=False),  # GiB
    )


def downgrade() -> None:
    op.drop_table("volumes")
