"""Drop the carrier code of flights

Revision ID: contract_2026_2
Revises: contract_2026_1
"""

from alembic import op

# revision identifiers, used by Alembic
revision = "contract_2026_2"
down_revision = "contract_2026_1"
branch_labels = None
depends_on = "expand_2026_2"

# used by online-migrate
release = "2026.2"
# Names of the data migrations that must be complete before this runs.
requires = ("carriers",)


def upgrade() -> None:
    op.drop_column("flights", "carrier")


def downgrade() -> None:
    raise NotImplementedError("what was dropped is in the backup")
