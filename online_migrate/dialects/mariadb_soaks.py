"""What uses a column on MariaDB, where CHECKs, defaults and partitionings follow a rename."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from online_migrate.dialects.facets.soaks import REFUSES_ROWS
from online_migrate.dialects.mysql_soaks import MySQLSoaks

_CHECKS = """
    SELECT constraint_name AS name, check_clause AS body FROM information_schema.check_constraints
    WHERE constraint_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND NOT (level = 'Column' AND check_clause = CONCAT('json_valid(`', REPLACE(:column, '`', '``'), '`)'))
"""
"""Without the CHECK that the type JSON consists of: it is true for NULL, and goes with the column."""
_DEFAULTS = """
    SELECT column_name AS name, column_default AS body FROM information_schema.columns
    WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :table
      AND column_default IS NOT NULL AND column_name <> :column
"""


class MariaDBSoaks(MySQLSoaks):
    """The differences from MySQL. There is no index on an expression."""

    column_uses: ClassVar[Sequence[tuple[str, str, str]]] = (
        *(one for one in MySQLSoaks.column_uses if one[0] in ("generated column", "partitioning of table")),
        ("check constraint", REFUSES_ROWS, _CHECKS),
        ("default of column", "is computed from it", _DEFAULTS),
    )
