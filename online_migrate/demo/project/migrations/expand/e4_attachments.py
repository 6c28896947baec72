"""add the table attachments, which replaces volumes.attached_to"""

import sqlalchemy as sa
from alembic import op

revision = "e4_attachments"
down_revision = "e3_split_name"
branch_labels = None
depends_on = None

release = "2"


def upgrade() -> None:
    # Version 1 deletes volumes, but not their attachments: the foreign key deletes them.
    op.create_table(
        "attachments",
        sa.Column(
            "volume_id",
            sa.Integer,
            sa.ForeignKey("volumes.id", name="fk_attachments_volume", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("host", sa.String(80), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("attachments")
