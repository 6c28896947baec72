"""A validated CHECK, with which SET NOT NULL of PostgreSQL reads no row under its lock. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from online_migrate.sql.forms.form import Facts
from online_migrate.sql.forms.names import as_sql, chosen
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable

SERVER = "postgresql"
LABEL = "online_migrate_not_null"
"""The end of the name of each CHECK: one that a killed command left behind is found by it."""
_BEFORE = (
    *(ops.DropColumn, ops.DropConstraint, ops.DropIndex, ops.DropObject, ops.SetNotNull, ops.SetDefault),
    *(ops.DropNotNull, ops.CreateIndex, ops.ValidateConstraint, ops.DropTable, ops.ChangeSession, ops.Query),
)
"""Operations after which the column of a SET NOT NULL is the one that exists before the script."""


@dataclasses.dataclass(frozen=True)
class NotNullProof:
    """The CHECK for one column of a *statement*, without surrounding spaces.

    *table*, *column*, *name*: as SQL. *exists*: an earlier run has added it.
    """

    statement: str
    table: str
    column: str
    name: str
    exists: bool

    @property
    def add(self) -> str:
        """The statement that adds it; existing rows are not read."""
        condition = f"CHECK ({self.column} IS NOT NULL) NOT VALID"
        return f"ALTER TABLE {self.table} ADD CONSTRAINT {self.name} {condition}"

    @property
    def validate(self) -> str:
        """The statement that reads all rows, while they are read and written."""
        return f"ALTER TABLE {self.table} VALIDATE CONSTRAINT {self.name}"

    @property
    def drop(self) -> str:
        """The statement that removes it."""
        return f"ALTER TABLE {self.table} DROP CONSTRAINT IF EXISTS {self.name}"


def not_null_proofs(statements: Sequence[str], facts: Facts) -> tuple[NotNullProof, ...]:
    """Returns the proofs for a script.

    There is none for a small table, nor for a column that a statement before may have created, renamed,
    changed or filled.
    """
    found = (_proof(statement, column, facts) for statement, column in provable(statements))
    return tuple(proof for proof in found if proof is not None)


def provable(statements: Sequence[str]) -> Iterator[tuple[str, ops.SetNotNull]]:
    """Yields each SET NOT NULL whose column exists before the script as it is then, with its statement."""
    for statement in map(str.strip, statements):
        try:
            operations = read_operations(statement, SERVER)
        except Unreadable:
            return
        if not all(isinstance(operation, _BEFORE) for operation in operations):
            return
        if " ONLY " not in statement.upper():
            for operation in operations:
                if isinstance(operation, ops.SetNotNull):
                    yield statement, operation


def _proof(statement: str, operation: ops.SetNotNull, facts: Facts) -> NotNullProof | None:
    name = operation.table
    written = ".".join(as_sql(part) for part in (name.schema, name.name) if part)
    table = facts.table(written)
    if table is None or table.small or operation.column not in table.nullable:
        return None
    # The same name in each run, so that a run that was killed is continued.
    given = chosen(table.plain_name, (operation.column,), LABEL, ())
    return NotNullProof(
        statement, table.name, as_sql(operation.column), as_sql(given), exists=given in table.taken
    )
