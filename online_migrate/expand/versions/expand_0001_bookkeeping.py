"""The bookkeeping tables.

The script can be repeated, because it is the bootstrap: there is no journal before it.
"""

import sqlalchemy as sa
from alembic import op

revision = "expand_0001"
down_revision = None
branch_labels = ("expand",)
depends_on = None

_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}


def upgrade() -> None:
    op.create_table(
        "online_migrate_data_migration",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("checkpoint", sa.Text),
        sa.Column("walked", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("runner", sa.String(255)),
        sa.Column("started_at", sa.DateTime),
        sa.Column("updated_at", sa.DateTime),
        sa.Column("finished_at", sa.DateTime),
        sa.Column("verified_at", sa.DateTime),
        sa.Column("verified_by", sa.String(255)),
        if_not_exists=True,
        **_OPTIONS,
    )
    op.create_table(
        "online_migrate_failure",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("key_hash", sa.String(64), primary_key=True),
        sa.Column("row_key", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("failed_at", sa.DateTime, nullable=False),
        if_not_exists=True,
        **_OPTIONS,
    )
    op.create_table(
        "online_migrate_journal",
        sa.Column("revision", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("occurrence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("before_text", sa.Text),
        sa.Column("undo", sa.Text),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("done_at", sa.DateTime),
        if_not_exists=True,
        **_OPTIONS,
    )


def downgrade() -> None:
    op.drop_table("online_migrate_journal")
    op.drop_table("online_migrate_failure")
    op.drop_table("online_migrate_data_migration")
