"""The tables that a DDL statement locks, and how strongly, as far as its text says. Pure.

A statement that is not known here gives no lock: it is sent without a look at the sessions that it would wait
for. ``CONCURRENTLY`` gives none either: no session that reads or writes rows waits behind such a statement.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Sequence

from online_migrate.sql.catalog_effects.reading import folded
from online_migrate.sql.classification.alter_table import take_table
from online_migrate.sql.classification.verdict import Words, by_commas
from online_migrate.sql.lexer import MYSQL, Sort, Token
from online_migrate.sql.statement import statements


class Strength(enum.IntEnum):
    """What other sessions cannot do while the lock is held. A higher one includes the lower ones."""

    MAINTENANCE = 1
    """Change or vacuum the table: SHARE UPDATE EXCLUSIVE on PostgreSQL."""
    BUILD = 2
    """Write rows; another index may be built: SHARE."""
    WRITE = 3
    """Write rows: SHARE ROW EXCLUSIVE."""
    EXCLUSIVE = 4
    """Read or write rows."""


class Locked(enum.Enum):
    """What the name of a lock is the name of."""

    TABLE = "table"
    INDEX = "index"
    TRIGGER = "trigger"


@dataclasses.dataclass(frozen=True)
class TableLock:
    """The lock of a statement on a table; *kind*: the lock is on the table of an index or a trigger."""

    name: str
    schema: str | None = None
    strength: Strength = Strength.EXCLUSIVE
    kind: Locked = Locked.TABLE
    constraints: tuple[str, ...] = ()
    """The constraints that the statement drops; ``*``: all. The tables that they refer to are locked too."""


def table_locks(text: str, server: str) -> tuple[TableLock, ...]:
    """Returns the locks of a statement on tables that exist before it, each once.

    *server*: postgresql, mysql, mariadb or sqlite. If the text has several readings, those of the first.
    """
    found: dict[TableLock, None] = {}
    for tokens in statements(text, server)[:1]:
        if not any(token.word == "CONCURRENTLY" for token in tokens):
            found |= dict.fromkeys(_locks(tokens, server))
    return tuple(found)


def _locks(tokens: Sequence[Token], server: str) -> Iterator[TableLock]:
    words = Words(tokens)
    verb = words.any_of("ALTER", "CREATE", "DROP", "TRUNCATE", "RENAME", "REFRESH")
    if verb in ("ALTER", "CREATE"):
        yield from _referred(tokens, server)
    if verb == "CREATE":
        yield from _created(words, server)
    elif verb == "ALTER":
        yield from _altered(words, server)
    elif verb == "DROP":
        yield from _dropped(words, server)
    elif verb == "RENAME" and words.any_of("TABLE", "TABLES"):
        yield from _listed(words, server)
    elif verb == "TRUNCATE" or (verb == "REFRESH" and words.take("MATERIALIZED", "VIEW")):
        words.take("TABLE")
        yield from _listed(words, server)


def _referred(tokens: Sequence[Token], server: str) -> Iterator[TableLock]:
    """Yields the locks on tables that a foreign key refers to."""
    for number, token in enumerate(tokens):
        if token.word == "REFERENCES":
            # MySQL locks the other table against readers, the others against writers.
            strength = Strength.EXCLUSIVE if server == "mysql" else Strength.WRITE
            yield from _lock(Words(tokens[number + 1 :]).path(), server, strength)


def _created(words: Words, server: str) -> Iterator[TableLock]:
    words.take("OR", "REPLACE")
    _skip_definer(words)
    words.any_of("UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "TEMPORARY")
    what = words.any_of("INDEX", "TRIGGER", "POLICY", "VIEW", "TABLE")
    if what in ("INDEX", "TRIGGER", "POLICY"):
        strength = {"INDEX": Strength.BUILD, "TRIGGER": Strength.WRITE}.get(what, Strength.EXCLUSIVE)
        yield from _on(words, server, strength)
    elif what == "VIEW":
        yield from _lock(words.path(), server)
    elif what == "TABLE":
        while words and not words.take("PARTITION", "OF"):
            words.any_()
        yield from _lock(words.path(), server)


def _skip_definer(words: Words) -> None:
    """Consumes DEFINER = user@host of MySQL and MariaDB."""
    if words.take("DEFINER", "="):
        while words and words.next not in ("TRIGGER", "VIEW", "SQL", "FUNCTION", "PROCEDURE", "EVENT"):
            words.any_()


def _altered(words: Words, server: str) -> Iterator[TableLock]:
    if words.take("POLICY"):
        yield from _on(words, server, Strength.EXCLUSIVE)
        return
    words.any_of("ONLINE", "IGNORE")
    if not words.take("TABLE"):
        return
    path = take_table(words, server)
    actions = [Words(action) for action in by_commas(words.rest)]
    if server in MYSQL:
        yield from _lock(path, server)
        return
    attached = next((a for a in actions if a.take("ATTACH", "PARTITION")), None)
    if attached is not None:
        yield from _lock(attached.path(), server)
        yield from _lock(path, server, Strength.MAINTENANCE)
        return
    strength = max(map(_strength, actions), default=Strength.EXCLUSIVE)
    dropped = tuple(name for action in actions if (name := _dropped_constraint(action, server)))
    yield from _lock(path, server, strength, constraints=dropped)


def _strength(action: Words) -> Strength:
    """Returns the lock of an action of PostgreSQL's ALTER TABLE."""
    if action.take("VALIDATE", "CONSTRAINT") or action.take("SET", "(") or action.take("RESET", "("):
        return Strength.MAINTENANCE
    if action.take("ALTER"):
        action.take("COLUMN")
        action.path()
        return Strength.MAINTENANCE if action.take("SET", "STATISTICS") else Strength.EXCLUSIVE
    if action.take("ENABLE", "TRIGGER") or action.take("DISABLE", "TRIGGER"):
        return Strength.WRITE
    if action.take("ADD"):
        if action.take("CONSTRAINT"):
            action.path()
        if action.take("FOREIGN", "KEY"):
            return Strength.WRITE
    return Strength.EXCLUSIVE


def _dropped_constraint(action: Words, server: str) -> str:
    if not action.take("DROP", "CONSTRAINT"):
        return ""
    action.take("IF", "EXISTS")
    return next((lock.name for lock in _lock(action.path(), server)), "")


def _dropped(words: Words, server: str) -> Iterator[TableLock]:
    words.any_of("MATERIALIZED", "TEMPORARY")
    what = words.any_of("TABLE", "TABLES", "VIEW", "INDEX", "TRIGGER", "POLICY")
    words.take("IF", "EXISTS")
    if what in ("TABLE", "TABLES", "VIEW"):
        yield from _listed(words, server, constraints=("*",) if what == "TABLE" else ())
    elif what and any(token.word == "ON" for token in words.rest):
        yield from _on(words, server, Strength.EXCLUSIVE)
    elif what in ("INDEX", "TRIGGER"):
        kind = Locked.INDEX if what == "INDEX" else Locked.TRIGGER
        for part in by_commas(words.rest):
            yield from _lock(Words(part).path(), server, kind=kind)


def _on(words: Words, server: str, strength: Strength) -> Iterator[TableLock]:
    while words and not words.take("ON"):
        words.any_()
    words.take("ONLY")
    yield from _lock(words.path(), server, Strength.EXCLUSIVE if server in MYSQL else strength)


def _listed(words: Words, server: str, *, constraints: tuple[str, ...] = ()) -> Iterator[TableLock]:
    words.take("IF", "EXISTS")
    for part in by_commas(words.rest):
        one = Words(part)
        one.take("ONLY")
        yield from _lock(one.path(), server, constraints=constraints)


def _lock(
    path: Sequence[Token],
    server: str,
    strength: Strength = Strength.EXCLUSIVE,
    *,
    kind: Locked = Locked.TABLE,
    constraints: tuple[str, ...] = (),
) -> Iterator[TableLock]:
    names = [folded(token.text, token.sort is Sort.NAME, server) for token in path]
    if names and names[-1]:
        yield TableLock(names[-1], names[-2] if len(names) > 1 else None, strength, kind, constraints)
