"""The tables that a DDL statement locks, and how strongly, as far as its text says. Pure.

A statement that is not known here gives no lock: it is sent without a look at the sessions that it would wait
for. ``CONCURRENTLY`` gives none either: no session that reads or writes rows waits behind such a statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from online_migrate.sql.classification.alter_table import take_table
from online_migrate.sql.classification.verdict import Words, by_commas
from online_migrate.sql.lexer import MYSQL, Token
from online_migrate.sql.maintenance_locks import MAINTENANCE_VERBS, maintenance_locks
from online_migrate.sql.statement import statements
from online_migrate.sql.table_lock import Locked, Strength, TableLock, lock_on


def table_locks(text: str, server: str) -> tuple[TableLock, ...]:
    """Returns the locks of a statement on tables that exist before it, each once.

    *server*: postgresql, mysql, mariadb or sqlite. If the text has several readings, those of the first.
    """
    found: dict[TableLock, None] = {}
    for tokens in statements(text, server)[:1]:
        if not any(token.word == "CONCURRENTLY" for token in tokens):
            found |= dict.fromkeys(_locks(_behind_set_statement(tokens), server))
    return tuple(found)


def _behind_set_statement(tokens: Sequence[Token]) -> Sequence[Token]:
    """Returns the statement behind SET STATEMENT ... FOR of MariaDB."""
    words = Words(tokens)
    if words.take("SET", "STATEMENT"):
        while words and not words.take("FOR"):
            words.any_()
    return words.rest


def _locks(tokens: Sequence[Token], server: str) -> Iterator[TableLock]:
    words = Words(tokens)
    verb = words.any_of("ALTER", "CREATE", "DROP", "TRUNCATE", "RENAME", *MAINTENANCE_VERBS)
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
    elif verb == "TRUNCATE":
        words.take("TABLE")
        yield from _listed(words, server)
    elif verb:
        yield from maintenance_locks(verb, words, server)


def _referred(tokens: Sequence[Token], server: str) -> Iterator[TableLock]:
    """Yields the locks on tables that a foreign key refers to."""
    for number, token in enumerate(tokens):
        if token.word == "REFERENCES":
            # MySQL locks the other table against readers, the others against writers.
            strength = Strength.EXCLUSIVE if server == "mysql" else Strength.WRITE
            yield from lock_on(Words(tokens[number + 1 :]).path(), server, strength)


def _created(words: Words, server: str) -> Iterator[TableLock]:
    words.take("OR", "REPLACE")
    _skip_definer(words)
    words.any_of("UNIQUE", "FULLTEXT", "SPATIAL", "CONSTRAINT", "TEMPORARY")
    what = words.any_of("INDEX", "TRIGGER", "POLICY", "RULE", "STATISTICS", "VIEW", "TABLE")
    if what in _CREATED_ON:
        strength, before = _CREATED_ON[what]
        yield from _on(words, server, strength, before)
    elif what == "VIEW":
        yield from lock_on(words.path(), server)
    elif what == "TABLE":
        while words and words.next not in ("PARTITION", "INHERITS"):
            words.any_()
        if words.take("PARTITION", "OF"):
            yield from lock_on(words.path(), server)
        elif words.take("INHERITS", "("):
            yield from _listed(words, server, Strength.MAINTENANCE)


_CREATED_ON = {
    "INDEX": (Strength.BUILD, "ON"),
    "TRIGGER": (Strength.WRITE, "ON"),
    "POLICY": (Strength.EXCLUSIVE, "ON"),
    "RULE": (Strength.EXCLUSIVE, "TO"),
    "STATISTICS": (Strength.MAINTENANCE, "FROM"),
}
"""The lock on the table of such an object, and the word before the name of the table."""


def _skip_definer(words: Words) -> None:
    """Consumes DEFINER = user@host of MySQL and MariaDB."""
    if words.take("DEFINER", "="):
        while words and words.next not in ("TRIGGER", "VIEW", "SQL", "FUNCTION", "PROCEDURE", "EVENT"):
            words.any_()


def _altered(words: Words, server: str) -> Iterator[TableLock]:
    if words.take("POLICY"):
        yield from _on(words, server, Strength.EXCLUSIVE)
        return
    if words.take("INDEX"):
        yield from _altered_index(words, server)
        return
    words.any_of("ONLINE", "IGNORE")
    if not words.take("TABLE"):
        return
    path = take_table(words, server)
    actions = [Words(action) for action in by_commas(words.rest)]
    if server in MYSQL:
        yield from lock_on(path, server)
        return
    if len(actions) == 1 and actions[0].take("ATTACH", "PARTITION"):
        yield from lock_on(actions[0].path(), server)
        yield from lock_on(path, server, Strength.MAINTENANCE)
        return
    for action in actions:
        if action.take("INHERIT"):
            yield from lock_on(action.path(), server, Strength.MAINTENANCE)
    strength = max(map(_strength, actions), default=Strength.EXCLUSIVE)
    dropped = tuple(name for action in actions if (name := _dropped_constraint(action, server)))
    yield from lock_on(path, server, strength, constraints=dropped)


def _altered_index(words: Words, server: str) -> Iterator[TableLock]:
    words.take("IF", "EXISTS")
    path = words.path()
    light = words.take("RENAME") or words.take("SET", "(") or words.take("RESET", "(")
    strength = Strength.MAINTENANCE if light else Strength.EXCLUSIVE
    yield from lock_on(path, server, strength, kind=Locked.INDEX)


def _strength(action: Words) -> Strength:
    """Returns the lock of an action of PostgreSQL's ALTER TABLE."""
    if action.take("VALIDATE", "CONSTRAINT") or action.take("SET", "(") or action.take("RESET", "("):
        return Strength.MAINTENANCE
    if action.take("ALTER"):
        action.take("COLUMN")
        action.path()
        return Strength.MAINTENANCE if action.take("SET", "STATISTICS") else Strength.EXCLUSIVE
    if action.any_of("ENABLE", "DISABLE"):
        action.any_of("ALWAYS", "REPLICA")
        return Strength.WRITE if action.take("TRIGGER") else Strength.EXCLUSIVE
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
    return next((lock.name for lock in lock_on(action.path(), server)), "")


def _dropped(words: Words, server: str) -> Iterator[TableLock]:
    words.any_of("MATERIALIZED", "TEMPORARY")
    what = words.any_of("TABLE", "TABLES", "VIEW", "SEQUENCE", "INDEX", "TRIGGER", "POLICY", "RULE")
    words.take("IF", "EXISTS")
    if what in ("TABLE", "TABLES", "VIEW", "SEQUENCE"):
        yield from _listed(words, server, constraints=("*",) if what == "TABLE" else ())
    elif what and any(token.word == "ON" for token in words.rest):
        yield from _on(words, server, Strength.EXCLUSIVE)
    elif what in ("INDEX", "TRIGGER"):
        kind = Locked.INDEX if what == "INDEX" else Locked.TRIGGER
        for part in by_commas(words.rest):
            yield from lock_on(Words(part).path(), server, kind=kind)


def _on(words: Words, server: str, strength: Strength, before: str = "ON") -> Iterator[TableLock]:
    while words and not words.take(before):
        words.any_()
    words.take("ONLY")
    yield from lock_on(words.path(), server, Strength.EXCLUSIVE if server in MYSQL else strength)


def _listed(
    words: Words,
    server: str,
    strength: Strength = Strength.EXCLUSIVE,
    *,
    constraints: tuple[str, ...] = (),
) -> Iterator[TableLock]:
    words.take("IF", "EXISTS")
    for part in by_commas(words.rest):
        one = Words(part)
        one.take("ONLY")
        yield from lock_on(one.path(), server, strength, constraints=constraints)
