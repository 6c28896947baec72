"""The barriers of data migrations, and how far their rows are verified.

The script can be repeated.
"""

import sqlalchemy as sa
from alembic import op

revision = "expand_0006"
down_revision = "expand_0005"
branch_labels = None
depends_on = None

_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}


def upgrade() -> None:
    op.create_table(
        "online_migrate_verification",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("barrier", sa.String(64)),
        sa.Column("barrier_state", sa.String(32), nullable=False),
        sa.Column("table_name", sa.String(255), nullable=False),
        sa.Column("schema_name", sa.String(255)),
        sa.Column("definition", sa.Text),
        sa.Column("expressions", sa.Text, nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("checkpoint", sa.Text),
        sa.Column("checked", sa.BigInteger, nullable=False),
        sa.Column("failing", sa.BigInteger, nullable=False),
        sa.Column("failing_keys", sa.Text, nullable=False),
        sa.Column("runner", sa.String(255), nullable=False),
        sa.Column("barrier_at", sa.DateTime),
        sa.Column("started_at", sa.DateTime),
        sa.Column("updated_at", sa.DateTime),
        sa.Column("finished_at", sa.DateTime),
        if_not_exists=True,
        **_OPTIONS,
    )


def downgrade() -> None:
    op.drop_table("online_migrate_verification")
