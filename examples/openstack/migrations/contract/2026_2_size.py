"""Drop the size of a volume in GiB

Revision ID: contract_2026_2
Revises:
"""

from alembic import op

# revision identifiers, used by Alembic
revision = "contract_2026_2"
down_revision = None
branch_labels = "contract"
depends_on = "expand_2026_2"

# used by online-migrate
release = "2026.2"
# Names of the data migrations that must be complete before this runs.
requires = ("volume_bytes",)


def upgrade() -> None:
    op.drop_column("volumes", "size")


def downgrade() -> None:
    raise NotImplementedError("what was dropped is in the backup")
