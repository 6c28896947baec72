"""add volumes.display_name, which replaces volumes.name"""

import sqlalchemy as sa
from alembic import op

revision = "e1_display_name"
down_revision = "e0_tables"
branch_labels = None
depends_on = None

release = "2"


def upgrade() -> None:
    op.add_column("volumes", sa.Column("display_name", sa.String(80)))


def downgrade() -> None:
    op.drop_column("volumes", "display_name")
