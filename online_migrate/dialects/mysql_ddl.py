"""Which statements MySQL and MariaDB can do under LOCK TABLES without stopping readers for long. Pure.

Under the lock a plain SELECT of anybody else waits, so only statements that change metadata belong
there. The server is the judge: the cheapest algorithm is written out and it refuses what it cannot do
that way. What is known beforehand to rebuild a table runs outside of the lock.

Sources: MySQL 9 Reference Manual, "Online DDL Operations"; MariaDB Knowledge Base, "InnoDB Online DDL".
"""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.sql.statement import (
    Kind,
    Token,
    actions,
    altered_table,
    dropped_column,
    first_word,
    is_data,
    is_read,
    tokens,
)

_DROPS_OF_METADATA = frozenset({"INDEX", "KEY", "FOREIGN", "CONSTRAINT", "CHECK"})
_DROPPED_UNDER_LOCK = frozenset({"TABLE", "TRIGGER", "INDEX"})


def kind(statement: str) -> Kind:
    """What *statement* has to do with the lock."""
    if is_read(statement):
        return Kind.READ
    if is_data(statement):
        return Kind.DATA
    if altered_table(statement) is not None:
        destructive = any(_is_destructive(action) for action in actions(statement))
        return Kind.LOCKED if destructive else Kind.UNLOCKED
    words = [token.word for token in tokens(statement)]
    if first_word(statement) == "RENAME":
        return Kind.LOCKED
    if first_word(statement) == "DROP" and _DROPPED_UNDER_LOCK & set(words[1:3]):
        return Kind.LOCKED
    return Kind.UNLOCKED


def forms_under_lock(statement: str) -> Sequence[str]:
    """The forms of *statement* to try while its tables are locked, the cheapest first."""
    if altered_table(statement) is None:
        return [statement]
    bare = statement.rstrip().rstrip(";")
    forms = [f"{bare}, ALGORITHM=INSTANT"]
    if all(_drops_metadata(action) for action in actions(statement)):
        forms.append(f"{bare}, ALGORITHM=INPLACE")
    if any(action[0].word == "RENAME" and not _renames_part(action) for action in actions(statement)):
        forms.append(bare)
    return forms


def _is_destructive(action: Sequence[Token]) -> bool:
    if dropped_column(action) or _drops_metadata(action):
        return True
    if action[0].word == "RENAME":
        return True
    return action[0].word == "CHANGE" and _changed_name(action)


def _drops_metadata(action: Sequence[Token]) -> bool:
    return len(action) > 1 and action[0].word == "DROP" and action[1].word in _DROPS_OF_METADATA


def _renames_part(action: Sequence[Token]) -> bool:
    return len(action) > 1 and action[1].word in ("COLUMN", "INDEX", "KEY")


def _changed_name(action: Sequence[Token]) -> bool:
    names = [token.text for token in action[1:] if token.word != "COLUMN"][:2]
    return len(names) == 2 and names[0].lower() != names[1].lower()
