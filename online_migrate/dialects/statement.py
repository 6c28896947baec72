"""What can be said of a SQL statement by reading its words. Pure."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

_OF_MYSQL = re.compile(r"`|^\s*#(?![>#=-])", re.MULTILINE)
"""A name in backticks, or a line that is a comment on MySQL and MariaDB alone."""
_EXECUTABLE_COMMENT = re.compile(r"/\*M?!\d*(.*?)\*/", re.DOTALL)


class Kind(enum.Enum):
    """What a statement of a contract revision has to do with the lock under which rows were counted."""

    READ = "changes nothing: never recorded, never skipped"
    CONTROL = "changes the transaction, the lock or the session: never recorded, never skipped"
    LOCKED = "destructive: runs only while the lock is held"
    OUTSIDE = "must not, or cannot, run under the lock"
    DATA = "changes rows"
    REFUSED = "not known to be safe without the lock, and it cannot run under it"


@dataclasses.dataclass(frozen=True)
class Token:
    """A word, an identifier (quotes taken off) or a punctuation mark of a statement."""

    text: str
    quoted: bool = False

    @property
    def word(self) -> str:
        """The upper-case word, empty for a quoted identifier: ``"drop"`` is a name, DROP is a verb."""
        return "" if self.quoted else self.text.upper()


@functools.lru_cache(maxsize=512)
def tokens(statement: str) -> tuple[Token, ...]:
    """The tokens of *statement* without comments and without the contents of strings.

    What MySQL and MariaDB execute although it looks like a comment, ``/*! ... */``, is no comment here.
    """
    # Imported when used: moving rows needs none of it, and it takes a while.
    from sqlglot import tokenize
    from sqlglot.errors import TokenError

    text = _EXECUTABLE_COMMENT.sub(r" \1 ", statement)
    # Nobody says by which server a statement is meant; backticks do, and so do backslashes in strings.
    for reader in ("mysql", "postgres") if _OF_MYSQL.search(text) else ("postgres", "mysql"):
        with contextlib.suppress(TokenError):
            return tuple(token for found in tokenize(text, read=reader) for token in _plain(found))
    return tuple(Token(word) for word in text.split())


def _plain(found: Any) -> Iterator[Token]:
    if found.token_type.name.endswith("STRING"):
        yield Token("''", quoted=True)
    elif found.token_type.name == "IDENTIFIER":
        yield Token(found.text, quoted=True)
    else:
        # Some pairs of words, such as PRIMARY KEY, are one token there.
        yield from (Token(word) for word in found.text.split())


def identifiers(statement: str) -> list[str]:
    """Every word of *statement* that could name a table, an index, a column or a trigger, sorted."""
    return sorted({token.text for token in tokens(statement) if re.match(r"[^\W\d]", token.text)})


def first_word(statement: str) -> str:
    """The verb of the statement, in upper case."""
    return _verb(tokens(statement))


def _verb(words: Sequence[Token]) -> str:
    return next((token.word for token in words if token.word not in ("(", ";")), "")


def actions(statement: str) -> list[tuple[Token, ...]]:
    """The comma-separated actions of an ``ALTER TABLE``, without its head."""
    rest = list(tokens(statement))[2:]
    while rest and rest[0].word in ("IF", "EXISTS", "ONLY"):
        rest.pop(0)
    rest = rest[1:]  # the table's name
    while rest and rest[0].text == ".":
        rest = rest[2:]
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in rest:
        if not token.quoted and token.text in "()":
            depth += 1 if token.text == "(" else -1
        if depth == 0 and not token.quoted and token.text in (",", ";"):
            parts.append([])
        else:
            parts[-1].append(token)
    return [tuple(part) for part in parts if part]


def altered_table(statement: str) -> str | None:
    """The table that an ``ALTER TABLE`` alters, without its schema."""
    found = tokens(statement)
    if [token.word for token in found[:2]] != ["ALTER", "TABLE"]:
        return None
    rest = list(found[2:])
    while rest and rest[0].word in ("IF", "EXISTS", "ONLY"):
        rest.pop(0)
    if not rest:
        return None
    return rest[2].text if len(rest) > 2 and rest[1].text == "." else rest[0].text


def dropped_columns(statement: str) -> list[tuple[str, str]]:
    """(table, column) of every column that the statement drops."""
    table = altered_table(statement)
    if table is None:
        return []
    found = []
    for action in actions(statement):
        column = dropped_column(action)
        if column:
            found.append((table, column))
    return found


_DROP_OTHERS = frozenset(
    {"INDEX", "KEY", "FOREIGN", "PRIMARY", "CONSTRAINT", "CHECK", "PARTITION", "DEFAULT"}
)


def dropped_column(action: Sequence[Token]) -> str | None:
    """The column that an action of an ALTER TABLE drops, if it is that."""
    if len(action) < 2 or action[0].word != "DROP" or action[1].word in _DROP_OTHERS:
        return None
    rest = [token for token in action[1:] if token.word not in ("COLUMN", "IF", "EXISTS")]
    return rest[0].text if rest else None


def taken_away(statement: str) -> list[str]:
    """The columns and tables that are not there under their old name once the statement is done."""
    found = [column for _table, column in dropped_columns(statement)]
    words = tokens(statement)
    if [token.word for token in words[:2]] == ["DROP", "TABLE"]:
        found += [
            token.text for token in words[2:] if token.word not in ("IF", "EXISTS", "CASCADE", "RESTRICT")
        ]
    table = altered_table(statement)
    for action in actions(statement) if table is not None else ():
        names = [token.text for token in action[1:] if token.word not in ("COLUMN", "TO", "AS")]
        if action[0].word == "RENAME" and names:
            found.append(names[0] if action[1].word == "COLUMN" else str(table))
        elif action[0].word == "CHANGE" and len(names) > 1 and names[0] != names[1]:
            found.append(names[0])
    return found


def dropped_indexes(statement: str) -> list[str]:
    """The indexes that the statement drops by name."""
    found = tokens(statement)
    if [token.word for token in found[:2]] == ["DROP", "INDEX"]:
        names = [t for t in found[2:] if t.word not in ("IF", "EXISTS", "CONCURRENTLY")]
        return [names[0].text] if names else []
    if altered_table(statement) is None:
        return []
    return [
        action[-1].text
        for action in actions(statement)
        if len(action) > 2 and action[0].word == "DROP" and action[1].word in ("INDEX", "KEY", "CONSTRAINT")
    ]


def dropped(statement: str, what: str) -> str | None:
    """The name of the *what* (``TRIGGER``, ``FUNCTION``) that the statement drops, without its schema."""
    found = [t for t in tokens(statement) if t.word not in ("IF", "EXISTS")]
    if [token.word for token in found[:2]] != ["DROP", what] or len(found) < 3:
        return None
    return found[4].text if len(found) > 4 and found[3].text == "." else found[2].text


def shorten(statement: str, width: int = 120) -> str:
    """The statement on one line, cut to *width* characters."""
    line = " ".join(statement.split())
    return line if len(line) <= width else line[: width - 1] + "…"
