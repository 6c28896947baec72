"""The locks of statements that change no definition: VACUUM FULL, REINDEX, LOCK TABLE and so on. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from online_migrate.sql.classification.verdict import Words, by_commas
from online_migrate.sql.lexer import MYSQL
from online_migrate.sql.table_lock import Locked, Strength, TableLock, lock_on

MAINTENANCE_VERBS = ("REFRESH", "CLUSTER", "VACUUM", "REINDEX", "ANALYZE", "OPTIMIZE", "LOCK")
_OPTIONS = (
    *("FULL", "FREEZE", "VERBOSE", "ANALYZE", "MATERIALIZED", "VIEW", "TABLE", "TABLES", "INDEX"),
    *("NO_WRITE_TO_BINLOG", "LOCAL"),
)
_LOCK_MODES: Mapping[tuple[str, ...], Strength | None] = {
    ("ACCESS", "SHARE"): None,
    ("ROW", "SHARE"): None,
    ("ROW", "EXCLUSIVE"): None,
    ("SHARE", "UPDATE"): Strength.MAINTENANCE,
    ("SHARE", "MODE"): Strength.BUILD,
    ("SHARE", "ROW"): Strength.WRITE,
}
"""The modes of LOCK TABLE of PostgreSQL, by their first two words; all others count as EXCLUSIVE."""


def maintenance_locks(verb: str, words: Words, server: str) -> Iterator[TableLock]:
    """Yields the locks of a statement that changes no definition."""
    if verb == "LOCK":
        yield from _locked(words, server)
        return
    options = _options(words)
    rewrites = verb != "ANALYZE" and (verb != "VACUUM" or "FULL" in options)
    if words.next in ("SCHEMA", "DATABASE", "SYSTEM") or (server in MYSQL and not rewrites):
        return
    # REINDEX admits readers of the table, and does not admit them to its indexes, which every query locks.
    strength = Strength.EXCLUSIVE if rewrites else Strength.MAINTENANCE
    kind = Locked.INDEX if "INDEX" in options else Locked.TABLE
    for part in by_commas(words.rest):
        yield from lock_on(Words(part).path(), server, strength, kind=kind)


def _options(words: Words) -> set[str]:
    """Consumes the options before the names, with and without parentheses."""
    found = set()
    if words.take("("):
        while words and not words.take(")"):
            found.add(words.next)
            words.any_()
    while option := words.any_of(*_OPTIONS):
        found.add(option)
    return found


def _locked(words: Words, server: str) -> Iterator[TableLock]:
    """Yields the locks of LOCK TABLE."""
    words.any_of("TABLE", "TABLES")
    parts = [Words(part) for part in by_commas(words.rest)]
    strength: Strength | None = Strength.EXCLUSIVE
    if server not in MYSQL and parts:
        last = [token.word for token in parts[-1].rest]
        mode = last[last.index("IN") + 1 :] if "IN" in last else []
        strength = _LOCK_MODES.get(tuple(mode[:2]), Strength.EXCLUSIVE)
    for part in parts:
        part.take("ONLY")
        path = part.path()
        if server in MYSQL and part.rest and part.rest[-1].word != "WRITE":
            yield from lock_on(path, server, Strength.WRITE)
        elif strength is not None:
            yield from lock_on(path, server, strength)
