"""The rows of the latency probe, by which a running data migration measures the latency that users see.

The script can be repeated.
"""

import sqlalchemy as sa
from alembic import op

revision = "expand_0003"
down_revision = "expand_0002"
branch_labels = None
depends_on = None

_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}


def upgrade() -> None:
    op.create_table(
        "online_migrate_canary",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("runner", sa.String(255), nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("read_time", sa.Double),
        sa.Column("write_time", sa.Double),
        if_not_exists=True,
        **_OPTIONS,
    )


def downgrade() -> None:
    op.drop_table("online_migrate_canary")
