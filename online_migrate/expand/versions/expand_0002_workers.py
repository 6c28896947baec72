"""The workers that share a data migration, and the part of its walk that was assigned to them.

The script can be repeated. A walk that an older engine left unfinished continues from its checkpoint.
"""

import sqlalchemy as sa
from alembic import op

revision = "expand_0002"
down_revision = "expand_0001"
branch_labels = None
depends_on = None

_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}
_GO_ON = """
    INSERT INTO online_migrate_walk (name, run, sweep, frontier, handed_out, extents)
    SELECT name, '', CASE WHEN walked THEN 1 ELSE 0 END, CASE WHEN walked THEN NULL ELSE checkpoint END,
           walked, 0
    FROM online_migrate_data_migration
    WHERE name NOT IN (SELECT name FROM online_migrate_walk)
"""


def upgrade() -> None:
    op.create_table(
        "online_migrate_walk",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("sweep", sa.Integer, nullable=False),
        sa.Column("frontier", sa.Text),
        sa.Column("handed_out", sa.Boolean, nullable=False),
        sa.Column("extents", sa.BigInteger, nullable=False),
        if_not_exists=True,
        **_OPTIONS,
    )
    op.create_table(
        "online_migrate_worker",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("runner", sa.String(255), nullable=False),
        sa.Column("extent", sa.BigInteger),
        sa.Column("lower_key", sa.Text),
        sa.Column("upper_key", sa.Text),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("heartbeat", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("chunk_size", sa.Integer),
        sa.Column("rate", sa.Float),
        sa.Column("waits_for", sa.Text),
        if_not_exists=True,
        **_OPTIONS,
    )
    op.execute(_GO_ON)


def downgrade() -> None:
    op.drop_table("online_migrate_worker")
    op.drop_table("online_migrate_walk")
