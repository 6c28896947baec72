"""Drop the clock times and the miles of flights

Revision ID: contract_2026_1
Revises:
"""

from alembic import op

# revision identifiers, used by Alembic
revision = "contract_2026_1"
down_revision = None
branch_labels = "contract"
depends_on = "expand_2026_1"

# used by online-migrate
release = "2026.1"
# Names of the data migrations that must be complete before this runs.
requires = ("flight_times", "distance_km")


def upgrade() -> None:
    op.drop_column("flights", "dep_time")
    op.drop_column("flights", "arr_time")
    op.drop_column("flights", "distance")


def downgrade() -> None:
    raise NotImplementedError("what was dropped is in the backup")
