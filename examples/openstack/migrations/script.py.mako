"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
Create Date: ${create_date}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

# revision identifiers, used by Alembic
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}
% if phase:

# used by online-migrate
release = ${repr(release)}
% endif
% if phase == "contract":
# Names of the data migrations that must be complete before this runs: ("name", ...); () says that none is
# needed. None has not said it yet, and is refused.
requires = None
% endif


def upgrade():
% if phase == "expand":
    # Only what code that does not know of it survives: new tables, new nullable columns, new indexes.
% elif phase == "contract":
    # What only code that has stopped using the old shape survives: drop, rename, tighten.
% endif
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
