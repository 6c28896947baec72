"""How a column or a table is made unreachable and brought back, and what of the schema uses it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from online_migrate.dialects.facets.locks import LockTarget
from online_migrate.dialects.problem import Problem
from online_migrate.sql.soaked import SoakedObject

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


_CALL = re.compile(r"\w\s*\(")
"""A call of a function in a default, which may give another value in each row."""


@dataclasses.dataclass(frozen=True)
class Use:
    """An object of the schema that uses a column or a table. *kind*: for example view, trigger."""

    kind: str
    name: str
    reason: str
    table: str | None = None
    """The table of a foreign key that refers to the object."""


@dataclasses.dataclass(frozen=True)
class RequiredColumn:
    """How a column that is NOT NULL and has no default becomes nullable, and NOT NULL again.

    *before_lock*: the statement reads the table, and so must not run under the table lock. *restore*: names
    the column by its own name.
    """

    relax: str
    restore: str
    before_lock: bool


REFUSES_ROWS = "uses it, and may refuse rows of new code, which have no value in it"
"""The reason of a CHECK, which stays while the column soaks, also if the script drops it."""


def _refuses_second(
    inspector: sa.engine.Inspector, subject: SoakedObject, primary: set[str]
) -> Problem | None:
    """Returns the unique key that refuses a second row with the same default; *primary*: the primary key."""
    keys: list[Mapping[str, Any]] = [
        *inspector.get_unique_constraints(subject.table, schema=subject.schema),
        *(one for one in inspector.get_indexes(subject.table, schema=subject.schema) if one["unique"]),
    ]
    for one in keys:
        columns = set(one["column_names"])
        if subject.column in columns and not (primary and primary <= columns):
            return Problem(
                f"unique key {one['name']} has it, and its default is the same in each row of new code",
                "drop the key in a contract revision before, or drop the column by contract without --soak",
            )
    return None


class Soaks:
    """Renames columns and tables, and finds what would break, or would still reach them."""

    name: ClassVar[str]
    rename_names_schema: ClassVar[bool] = False
    """RENAME TO moves the table to the current schema unless the new name has one."""

    def rename(self, connection: Connection, subject: SoakedObject, *, back: bool) -> str:
        """Returns the statement that gives *subject* its soaked name; *back*: its own name again."""
        quote = connection.dialect.identifier_preparer.quote
        old, new = (subject.soaked, subject.name) if back else (subject.name, subject.soaked)
        table = subject.table if subject.column is not None else old
        path = ".".join(quote(part) for part in (subject.schema, table) if part)
        if subject.column is not None:
            return f"ALTER TABLE {path} RENAME COLUMN {quote(old)} TO {quote(new)}"
        schema = f"{quote(subject.schema)}." if subject.schema and self.rename_names_schema else ""
        return f"ALTER TABLE {path} RENAME TO {schema}{quote(new)}"

    def uses_of(self, connection: Connection, subject: SoakedObject) -> list[Use]:
        """Returns what uses *subject* and would break by its rename, or would let code reach it."""
        raise NotImplementedError

    def required_column(
        self, connection: Connection, subject: SoakedObject
    ) -> RequiredColumn | Problem | None:
        """Returns how an INSERT that does not name the column succeeds; None: it does so already.

        Problem: the server cannot do that without copying the table, or the column is in the primary key, or
        has the same default in each row and is unique.
        """
        inspector = sa.inspect(connection)
        columns = inspector.get_columns(subject.table, schema=subject.schema)
        column = next(one for one in columns if one["name"] == subject.column)
        key = inspector.get_pk_constraint(subject.table, schema=subject.schema)
        if subject.column in key["constrained_columns"]:
            return Problem(
                "it is in the primary key, so a row cannot be without it",
                "drop it by contract without --soak",
            )
        default = column.get("default")
        if default is not None and not _CALL.search(str(default)):
            refused = _refuses_second(inspector, subject, set(key["constrained_columns"]))
            if refused is not None:
                return refused
        automatic = column.get("autoincrement") is True or "identity" in column or "computed" in column
        if column["nullable"] or default is not None or automatic:
            return None
        return self.relaxed(connection, subject)

    def relaxed(self, connection: Connection, subject: SoakedObject) -> RequiredColumn | Problem:
        """Returns how the NOT NULL column *subject* becomes nullable."""
        raise NotImplementedError

    def has_object(self, connection: Connection, subject: SoakedObject, name: str) -> bool:
        """Returns True if the table of *subject* has a column *name*; for a table, if *name* exists."""
        inspector = sa.inspect(connection)
        if subject.column is None:
            return bool(inspector.has_table(name, schema=subject.schema))
        if not inspector.has_table(subject.table, schema=subject.schema):
            return False
        columns = inspector.get_columns(subject.table, schema=subject.schema)
        return name.casefold() in {column["name"].casefold() for column in columns}

    def target_of(self, subject: SoakedObject, *, soaked: bool) -> LockTarget:
        """Returns the table that a rename of *subject* locks; *soaked*: it has its soaked name."""
        if soaked and subject.column is None:
            return LockTarget(subject.soaked, subject.schema)
        return LockTarget(subject.table, subject.schema)
