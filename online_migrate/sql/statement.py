"""The names in a SQL statement: those that it mentions, alters, drops and renames. Pure.

A text is read as its server reads it, see :mod:`.lexer`. Where that depends on the version or on a setting of
the server, the names of every reading are returned. Names are returned as the catalog stores them.
"""

from __future__ import annotations

import enum
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from online_migrate.sql.catalog_effects.reading import folded
from online_migrate.sql.classification.alter_table import AlterTable, read_alter_table
from online_migrate.sql.classification.verdict import Words, by_commas
from online_migrate.sql.lexer import Sort, Token, split, successful_readings
from online_migrate.sql.parse import Unreadable

_NAME = re.compile(r"[^\W\d]\w*")


class Kind(enum.Enum):
    """How a statement of a contract revision relates to the lock under which rows were counted."""

    READ = "changes nothing: never recorded, never skipped"
    CONTROL = "changes the transaction, the lock or the session: never recorded, never skipped"
    LOCKED = "destructive: runs only while the lock is held"
    UNLOCKED = "must not, or cannot, run under the lock"
    DATA = "changes rows"
    REFUSED = "not known to be safe without the lock, and it cannot run under it"


def statements(text: str, server: str) -> list[Sequence[Token]]:
    """Returns the statements in *text*, in each of its readings, without repetitions.

    *server*: postgresql, mysql, mariadb or sqlite. Empty if no reading closes all comments and quotes.
    """
    found: list[Sequence[Token]] = []
    for tokens in successful_readings(text, server):
        try:
            parts: Iterable[Sequence[Token]] = split(tokens)
        except Unreadable:
            parts = [tokens]  # the body of a routine, which only the server can read
        found += [part for part in parts if part not in found]
    return found


def first_word(text: str, server: str) -> str:
    """Returns the verb of the first statement, in upper case."""
    found = statements(text, server)
    return next((token.word for token in found[0] if token.word != "("), "") if found else ""


# --- names that a statement mentions ---------------------------------------------------------------


def is_concurrent(text: str, server: str) -> bool:
    """Returns True if the statement contains the keyword CONCURRENTLY in every reading."""
    found = successful_readings(text, server)
    return bool(found) and all(any(t.word == "CONCURRENTLY" for t in tokens) for tokens in found)


def identifiers(text: str, server: str) -> list[str]:
    """Returns every word of *text* that could name a table, index, column or trigger, sorted.

    Words in strings and comments count only if the text cannot be read.
    """
    found = successful_readings(text, server)
    if not found:
        return sorted(set(_NAME.findall(text)))
    names = {stored(token, server) for tokens in found for token in tokens if token.names}
    return sorted(names - {""})


def qualified_names(text: str, server: str) -> list[tuple[str, str]]:
    """Returns every ``a.b`` of *text* as (a, b), sorted.

    Each may be a table in a schema or a column of a table.
    """
    return sorted(
        {
            (stored(before, server), stored(after, server))
            for tokens in successful_readings(text, server)
            for before, dot, after in zip(tokens, tokens[1:], tokens[2:], strict=False)
            if dot.word == "." and before.names and after.names
        }
    )


def altered_table(text: str, server: str) -> str | None:
    """Returns the table that an ``ALTER TABLE`` alters, without its schema; None for another statement."""
    return next((_last(altered.path, server) for altered in _altered(text, server)), None)


def altered_schema(text: str, server: str) -> str | None:
    """Returns the schema that an ``ALTER TABLE`` names before its table; None if it names none."""
    paths = (altered.path for altered in _altered(text, server))
    return next((stored(path[-2], server) for path in paths if len(path) > 1), None)


# --- names that a statement removes ----------------------------------------------------------------

_DROP_OTHERS = frozenset(
    {"INDEX", "KEY", "FOREIGN", "PRIMARY", "CONSTRAINT", "CHECK", "PARTITION", "DEFAULT"}
)
"""What DROP of an ALTER TABLE drops beside a column, if a name follows."""


def dropped_columns(text: str, server: str) -> list[tuple[str, str]]:
    """Returns (table, column) of every column that the statement drops."""
    found = [
        (_last(altered.path, server), column)
        for altered in _altered(text, server)
        for column in _columns_dropped_by(altered, server)
        if column
    ]
    return list(dict.fromkeys(found))


def removed_names(text: str, server: str) -> list[str]:
    """Returns the columns and tables that no longer exist under their old name after the statement."""
    tables = (name for tokens in statements(text, server) for name in _dropped_tables(tokens, server))
    columns = (name for altered in _altered(text, server) for name in _removed_by(altered, server))
    return _each(itertools.chain(tables, columns))


def dropped_indexes(text: str, server: str) -> list[str]:
    """Returns the indexes that the statement drops by name."""
    return _each(name for tokens in statements(text, server) for name in _indexes_of(tokens, server))


def dropped(text: str, what: str, server: str) -> str | None:
    """Returns the name of the object that the statement drops, without its schema, or None.

    *what*: the kind of the object, ``TRIGGER`` or ``FUNCTION``.
    """
    for tokens in statements(text, server):
        words = Words(tokens)
        if words.take("DROP", what):
            words.take("IF", "EXISTS")
            return _last(words.path(), server) or None
    return None


def _altered(text: str, server: str) -> Iterator[AlterTable]:
    for tokens in statements(text, server):
        altered = read_alter_table(tokens, server)
        if altered is not None:
            yield altered


def _columns_dropped_by(altered: AlterTable, server: str) -> Iterator[str]:
    for action in altered.actions:
        words = Words(action)
        if words.take("DROP") and not drops_another(words):
            words.take("COLUMN")
            words.take("IF", "EXISTS")
            yield _last(words.path(), server)


def drops_another(words: Words) -> bool:
    """Returns True if the rest of a DROP names an index, a key or another object.

    Outside of MySQL and MariaDB ``key`` and others may be the name of a column: then no name follows.
    """
    rest = [token.word for token in words.rest]
    return bool(rest) and rest[0] in _DROP_OTHERS and rest[1:] not in ([], ["CASCADE"], ["RESTRICT"])


def _removed_by(altered: AlterTable, server: str) -> Iterator[str]:
    yield from _columns_dropped_by(altered, server)
    for action in altered.actions:
        words = Words(action)
        if words.take("RENAME"):
            yield _renamed(words, altered, server)
        elif words.take("CHANGE"):
            words.take("COLUMN")
            words.take("IF", "EXISTS")
            old, new = _last(words.path(), server), _last(words.path(), server)
            yield old if old != new else ""


def _renamed(words: Words, altered: AlterTable, server: str) -> str:
    """Returns the old name of the column or table that RENAME renames; empty for an index or a constraint."""
    if words.take("COLUMN"):
        words.take("IF", "EXISTS")
    elif words.any_of("TO", "AS", "=") or all(token.word != "TO" for token in words.rest):
        return _last(altered.path, server)
    old = _last(words.path(), server)
    return old if words.next == "TO" else ""


def _dropped_tables(tokens: Sequence[Token], server: str) -> Iterator[str]:
    words = Words(tokens)
    if words.take("DROP", "TABLE") or words.take("DROP", "TABLES"):
        words.take("IF", "EXISTS")
        for part in by_commas(words.rest):
            yield _last(Words(part).path(), server)


def _indexes_of(tokens: Sequence[Token], server: str) -> Iterator[str]:
    words = Words(tokens)
    if words.take("DROP", "INDEX"):
        words.take("CONCURRENTLY")
        words.take("IF", "EXISTS")
        for part in by_commas(words.rest):
            yield _last(Words(part).path(), server)
    altered = read_alter_table(tokens, server)
    for action in altered.actions if altered is not None else ():
        words = Words(action)
        if words.take("DROP") and words.any_of("INDEX", "KEY", "CONSTRAINT"):
            words.take("IF", "EXISTS")
            yield _last(words.path(), server)


def _last(path: Sequence[Token], server: str) -> str:
    return stored(path[-1], server) if path else ""


def stored(token: Token, server: str) -> str:
    """Returns the name that the catalog stores for a token."""
    return folded(token.text, token.sort is Sort.NAME, server)


def _each(names: Iterable[str]) -> list[str]:
    """Returns each name once, in the order of its first occurrence, without empty ones."""
    return [name for name in dict.fromkeys(names) if name]


def shorten(statement: str, width: int = 120) -> str:
    """Returns the statement on one line, truncated to *width* characters."""
    line = " ".join(statement.split())
    return line if len(line) <= width else line[: width - 1] + "…"
