"""The first revision of the engine's own contract branch; it removes nothing yet."""

revision = "contract_0001"
down_revision = None
branch_labels = ("contract",)
depends_on = "expand_0001"
requires = ()


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
