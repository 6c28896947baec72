"""Names with a schema in a SQL statement. Pure."""

from __future__ import annotations

import re

from online_migrate.dialects.statement import Token, altered_table, tokens

_NAME = re.compile(r"[^\W\d]")


def qualified_names(statement: str) -> list[tuple[str, str]]:
    """Every ``a.b`` of the statement, which may be a table in a schema or a column of a table; sorted."""
    found = tokens(statement)
    return sorted(
        {
            (before.text, after.text)
            for before, dot, after in zip(found, found[1:], found[2:], strict=False)
            if dot.text == "." and not dot.quoted and _is_name(before) and _is_name(after)
        }
    )


def altered_schema(statement: str) -> str | None:
    """The schema that an ``ALTER TABLE`` names before its table."""
    table = altered_table(statement)
    return next((schema for schema, name in qualified_names(statement) if name == table), None)


def _is_name(token: Token) -> bool:
    return token.quoted or _NAME.match(token.text) is not None
