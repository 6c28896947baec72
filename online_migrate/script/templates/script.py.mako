"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
Create Date: ${create_date}
"""

import sqlalchemy as sa
from alembic import op
% if imports:
${imports}
% endif

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
# Names of the data migrations that must be complete before this revision: ("name", ...), or () for none.
# None is not decided yet: contract refuses the revision.
requires = None
% endif


def upgrade():
% if phase == "expand":
    # Additive changes only, with which the old code still works: new tables, nullable columns, indexes.
% elif phase == "contract":
    # Destructive changes, after which only the new code works: drop, rename, NOT NULL.
% endif
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
