"""What a statement of a revision does, and the forms in which it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from online_migrate.dialects.problem import Problem
from online_migrate.sql.catalog_effects.derive import derive
from online_migrate.sql.catalog_effects.effect import Expected
from online_migrate.sql.classification.classify import classify
from online_migrate.sql.classification.verdict import Classification, Impact
from online_migrate.sql.forms.form import Form
from online_migrate.sql.forms.not_null_proof import NotNullProof
from online_migrate.sql.statement import Kind, altered_table

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_REBUILD_HINT = """\
the table would be rebuilt, which blocks all readers.
     First drop what prevents the metadata-only form (an index on the column), or rebuild the table online
     (ALTER TABLE {table} FORCE, LOCK=NONE). For a compressed table, or one with a FULLTEXT index, see
     "Tables that cannot be changed in an instant" in docs/writing.md; if readers may wait, write
     rebuilds = ({table!r},) into the contract script"""
_KINDS = {Impact.READ: Kind.READ, Impact.CONTROL: Kind.CONTROL, Impact.REFUSED: Kind.REFUSED}


class Statements:
    """Classifies a statement, and gives the forms in which it blocks no reader."""

    name: ClassVar[str]

    def classify(self, statement: str) -> Classification:
        """Returns the impact of *statement*, and for a refused one the reason and the hint."""
        return classify(statement, self.name)

    def kind(self, statement: str, *, autocommit: bool) -> Kind:
        """Returns whether *statement*, of a contract revision, runs under the table lock.

        *autocommit*: True if it runs in Alembic's ``autocommit_block``, where no lock persists.
        """
        impact = self.classify(statement).impact
        if impact is Impact.ADDITIVE:
            # Outside of an autocommit block every statement runs in the transaction that holds the lock.
            return Kind.UNLOCKED if autocommit else Kind.LOCKED
        return _KINDS.get(impact, Kind.LOCKED)

    def metadata_only_forms(self, statement: str) -> Sequence[str]:
        """Returns the forms of a DDL statement to try under the lock, the cheapest first."""
        return [statement]

    def safe_form(self, connection: Connection, statement: str, *, may_convert: bool) -> Form:
        """Returns the form in which *statement* is sent outside of the table lock of contract.

        *connection*: reads the facts that the form depends on. *may_convert*: values may be converted, which
        can lose a part of them.
        """
        return Form((statement,))

    def no_form(self, statement: str) -> Problem:
        """Returns the reason and the hint for a statement that the server refused in every permitted form."""
        return Problem(
            reason="the server cannot execute it as a metadata-only change",
            hint=_REBUILD_HINT.format(table=altered_table(statement, self.name) or "TABLE"),
        )

    def not_null_proofs(self, connection: Connection, statements: Sequence[str]) -> Sequence[NotNullProof]:
        """Returns the CHECKs that are validated before the table lock of a contract script.

        Empty on a server where SET NOT NULL does not run under the lock.
        """
        return ()

    def left_not_null_proofs(self, connection: Connection) -> Sequence[str]:
        """Returns the statements that drop the CHECKs of :meth:`not_null_proofs` that exist now."""
        return ()

    def widening(self, table: str, column: str) -> str:
        """Returns the statement that widens a NOT NULL VARCHAR column to 255 characters."""
        return f"ALTER TABLE {table} ALTER COLUMN {column} TYPE VARCHAR(255)"

    def expected(self, statement: str) -> Expected:
        """Returns the effects of a DDL statement on the catalog, as far as its text determines them."""
        return derive(statement, self.name)

    def commits_by_itself(self, connection: Connection, statement: str) -> bool:
        """Returns True if the changes of a statement to rows and the statement's journal record cannot be in
        one transaction."""
        return False
