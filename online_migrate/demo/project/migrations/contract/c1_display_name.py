"""drop volumes.name"""

import sqlalchemy as sa
from alembic import op

revision = "c1_display_name"
down_revision = None
branch_labels = ("contract",)
depends_on = "e1_display_name"

release = "2"
requires = ("display_name",)


def upgrade() -> None:
    op.drop_column("volumes", "name")


def downgrade() -> None:
    op.add_column("volumes", sa.Column("name", sa.String(80)))
