"""the tables of version 1 of the application"""

import sqlalchemy as sa
from alembic import op

revision = "e0_tables"
down_revision = None
branch_labels = ("expand",)
depends_on = None

release = "1"


def upgrade() -> None:
    op.create_table(
        "volumes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("size_gb", sa.Integer, nullable=False),
        sa.Column("attached_to", sa.String(80)),
    )
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("full_name", sa.String(160), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("accounts")
    op.drop_table("volumes")
