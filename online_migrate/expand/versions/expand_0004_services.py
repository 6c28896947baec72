"""The services that report which contract revisions their code survives, and the contract revisions for them.

The script can be repeated.
"""

import sqlalchemy as sa
from alembic import op

revision = "expand_0004"
down_revision = "expand_0003"
branch_labels = None
depends_on = None

_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}


def upgrade() -> None:
    op.create_table(
        "online_migrate_service",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("service", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("process", sa.String(255), nullable=False),
        sa.Column("code_release", sa.String(255)),
        sa.Column("survives", sa.Text, nullable=False),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("dead_after", sa.BigInteger, nullable=False),
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("heartbeat", sa.BigInteger, nullable=False),
        sa.Column("stopped", sa.BigInteger),
        sa.Column("forced_down", sa.BigInteger),
        sa.Column("forced_by", sa.Text),
        if_not_exists=True,
        **_OPTIONS,
    )
    op.create_table(
        "online_migrate_contracted",
        sa.Column("revision", sa.String(255), primary_key=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("runner", sa.String(255), nullable=False),
        sa.Column("operator", sa.String(255), nullable=False),
        sa.Column("changed_at", sa.DateTime, nullable=False),
        sa.Column("attestation", sa.Text),
        sa.Column("folded", sa.Text, nullable=False),
        if_not_exists=True,
        **_OPTIONS,
    )


def downgrade() -> None:
    op.drop_table("online_migrate_contracted")
    op.drop_table("online_migrate_service")
