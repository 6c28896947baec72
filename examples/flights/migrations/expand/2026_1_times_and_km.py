"""Add timestamps and kilometres to flights

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
    # Nullable and without a default, so each is a metadata-only change on every server.
    op.add_column("flights", sa.Column("departed_at", sa.DateTime))
    op.add_column("flights", sa.Column("arrived_at", sa.DateTime))
    # Whole miles times 1.609344: six decimal places are exact.
    op.add_column("flights", sa.Column("distance_km", sa.Numeric(12, 6)))


def downgrade() -> None:
    op.drop_column("flights", "distance_km")
    op.drop_column("flights", "arrived_at")
    op.drop_column("flights", "departed_at")
