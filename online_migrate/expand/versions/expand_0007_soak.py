"""The contract revisions whose columns and tables were renamed, so that code cannot reach them.

The script can be repeated.
"""

import sqlalchemy as sa
from alembic import op

revision = "expand_0007"
down_revision = "expand_0006"
branch_labels = None
depends_on = None

_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}


def upgrade() -> None:
    op.create_table(
        "online_migrate_soak",
        sa.Column("revision", sa.String(255), primary_key=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("steps", sa.Text, nullable=False),
        sa.Column("verified", sa.Text, nullable=False),
        sa.Column("soaked_at", sa.BigInteger),
        sa.Column("soak_time", sa.BigInteger, nullable=False),
        sa.Column("runner", sa.String(255), nullable=False),
        sa.Column("operator", sa.String(255), nullable=False),
        if_not_exists=True,
        **_OPTIONS,
    )


def downgrade() -> None:
    op.drop_table("online_migrate_soak")
