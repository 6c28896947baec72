"""Create a table of carriers

Revision ID: expand_2026_2
Revises: expand_2026_1
"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic
revision = "expand_2026_2"
down_revision = "expand_2026_1"
branch_labels = None
depends_on = None

# used by online-migrate
release = "2026.2"

FOREIGN_KEY = "flights_carrier_id_fkey"
_REASON = "the column is new, old code leaves it NULL, and no row is checked or copied"
additive = {
    "add-foreign-key flights.carrier_id": _REASON,
    f"add-foreign-key flights.{FOREIGN_KEY}": _REASON,
}


def upgrade() -> None:
    op.create_table(
        "carriers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(2), nullable=False),
        sa.Column("name", sa.String(100)),
        sa.UniqueConstraint("code", name="carriers_code_key"),
    )
    # The foreign key is added while the column is new and NULL in every row: no row has to be checked, so no
    # session waits for a check.
    if op.get_context().dialect.name in ("mysql", "mariadb"):
        add_carrier_id_without_a_check()
    else:
        add_carrier_id_in_one_statement()


def add_carrier_id_in_one_statement() -> None:
    """Adds the column with its foreign key.

    In this form PostgreSQL detects that the column is new, and does not scan the table; SQLite has no other
    form.
    """
    foreign_key = sa.ForeignKey("carriers.id", name=FOREIGN_KEY)
    op.add_column("flights", sa.Column("carrier_id", sa.Integer, foreign_key), inline_references=True)


def add_carrier_id_without_a_check() -> None:
    """Adds the column, and then its foreign key without a check of the rows.

    MySQL and MariaDB copy the table for a foreign key that they check, and block its writers meanwhile.
    """
    op.add_column("flights", sa.Column("carrier_id", sa.Integer))
    op.execute("SET SESSION foreign_key_checks = 0")
    op.execute(
        f"ALTER TABLE flights ADD CONSTRAINT {FOREIGN_KEY} FOREIGN KEY (carrier_id) "
        "REFERENCES carriers (id), ALGORITHM=INPLACE, LOCK=NONE"
    )
    op.execute("SET SESSION foreign_key_checks = 1")


def downgrade() -> None:
    if op.get_context().dialect.name in ("mysql", "mariadb"):
        op.drop_constraint(FOREIGN_KEY, "flights", type_="foreignkey")
    # SQLite copies the table, because the column has a foreign key; the other servers alter it in place.
    with op.batch_alter_table("flights") as flights:
        flights.drop_column("carrier_id")
    op.drop_table("carriers")
