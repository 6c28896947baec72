"""The syncs that were created, with the text of their triggers.

The script can be repeated.
"""

import sqlalchemy as sa
from alembic import op

revision = "expand_0005"
down_revision = "expand_0004"
branch_labels = None
depends_on = None

_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}


def upgrade() -> None:
    op.create_table(
        "online_migrate_sync",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("revision", sa.String(255)),
        sa.Column("table_name", sa.String(255), nullable=False),
        sa.Column("table_schema", sa.String(255)),
        sa.Column("target", sa.Text),
        sa.Column("forward", sa.Text, nullable=False),
        sa.Column("backward", sa.Text, nullable=False),
        sa.Column("columns_used", sa.Text, nullable=False),
        sa.Column("triggers", sa.Text, nullable=False),
        sa.Column("changed_at", sa.DateTime, nullable=False),
        if_not_exists=True,
        **_OPTIONS,
    )


def downgrade() -> None:
    op.drop_table("online_migrate_sync")
