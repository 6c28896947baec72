"""Names in the forms of PostgreSQL: as written, and as the server would choose them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from online_migrate.sql.lexer import Sort, Token

_BYTES = 63
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


def written(path: Sequence[Token]) -> str:
    """Returns a name with its qualifiers as the statement writes it."""
    return ".".join(quoted(token.text) if token.sort is Sort.NAME else token.text for token in path)


def quoted(name: str) -> str:
    """Returns the name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def as_sql(name: str) -> str:
    """Returns a name of :func:`chosen` as SQL, without quotes where none are needed."""
    return name if _PLAIN.fullmatch(name) else quoted(name)


def chosen(table: str, columns: Sequence[str], label: str, taken: Collection[str]) -> str:
    """Returns the name that PostgreSQL gives to an index or a constraint without a name.

    *label*: its last part, for example ``key``. *taken*: names that are in use.
    """
    number = 0
    while True:
        name = _joined(table, "_".join(columns), f"{label}{number or ''}")
        if name not in taken:
            return name
        number += 1


def _joined(table: str, columns: str, label: str) -> str:
    room = _BYTES - len(label) - 1 - (1 if columns else 0)
    first, second = table.encode(), columns.encode()
    while len(first) + len(second) > room:
        if len(first) > len(second):
            first = first[:-1]
        else:
            second = second[:-1]
    parts = (first.decode(errors="ignore"), second.decode(errors="ignore"), label)
    return "_".join(part for part in parts if part)
