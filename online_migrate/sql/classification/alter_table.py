"""Classifies the actions of ALTER TABLE: additive, destructive, or converting values. Pure.

Sources: MySQL 9 Reference Manual and MariaDB Knowledge Base, "ALTER TABLE"; PostgreSQL 18, "ALTER TABLE".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from online_migrate.sql.classification.queries import unknown_calls
from online_migrate.sql.classification.verdict import (
    ADDITIVE,
    DESTRUCTIVE,
    IN_PLACE,
    ROWS,
    Classification,
    Impact,
    Words,
    by_commas,
    refused,
)
from online_migrate.sql.lexer import MYSQL, Token


def alter_table(words: Words, server: str) -> Classification:
    """Returns the classification of an ALTER TABLE; *words* begin after the verb."""
    if not take_table(words, server):
        return refused("it names no table")
    if server in MYSQL and _is_about_partitions(words.rest):
        return _mysql_action(Words(words.rest), server)  # the only action: its commas separate names
    judge = _mysql_action if server in MYSQL else _standard_action
    verdicts = [judge(Words(action), server) for action in by_commas(words.rest)]
    return worst(verdicts)


def take_table(words: Words, server: str) -> Sequence[Token]:
    """Consumes what comes before the actions, and returns the table's name with its qualifiers."""
    while words.take("IF", "EXISTS") or words.take("ONLY"):
        pass
    path = words.path()
    words.take("*")
    if server in MYSQL and not words.take("NOWAIT") and words.take("WAIT"):
        words.number()
    return path


def worst(verdicts: Sequence[Classification]) -> Classification:
    """Returns the classification of a statement that consists of actions with these classifications."""
    order = (Impact.REFUSED, Impact.ROWS, Impact.DESTRUCTIVE)
    for effect in order:
        for verdict in verdicts:
            if verdict.impact is effect:
                return verdict
    return IN_PLACE if IN_PLACE in verdicts else ADDITIVE


# --- PostgreSQL and SQLite: any other action runs in the transaction that holds the lock -----------

_CONSTRAINTS = ("CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN", "EXCLUDE", "NOT")


def _standard_action(words: Words, server: str) -> Classification:
    if words.take("ADD"):
        constraint = words.next in _CONSTRAINTS
        if not constraint and not _column_name(words):
            return DESTRUCTIVE
        rest = words.rest
        return DESTRUCTIVE if any(unknown_calls(rest, server, index=True)) else ADDITIVE
    if words.take("VALIDATE", "CONSTRAINT"):
        return ADDITIVE if words.name() and not words else DESTRUCTIVE
    if words.take("ALTER"):
        words.take("COLUMN")
        return ADDITIVE if words.name() and _changes_no_value(words, server) else DESTRUCTIVE
    if words.take("SET", "(") or words.take("RESET", "("):
        return ADDITIVE  # storage parameters
    return DESTRUCTIVE


def _column_name(words: Words) -> bool:
    words.take("COLUMN")
    words.take("IF", "NOT", "EXISTS")
    return bool(words.name())


def _changes_no_value(words: Words, server: str) -> bool:
    if words.take("DROP", "DEFAULT") or words.take("DROP", "NOT", "NULL"):
        return not words
    if words.take("SET", "DEFAULT"):
        return not any(unknown_calls(words.rest, server))
    return words.take("SET", "STATISTICS") or words.take("SET", "STORAGE")


# --- MySQL and MariaDB: an allow-list -------------------------------------------------------------

_KEYS = ("INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "PRIMARY", "FOREIGN", "CONSTRAINT", "CHECK")
_FOREIGN = frozenset(
    {"DROP", "MODIFY", "CHANGE", "RENAME", "DISCARD", "IMPORT", "EXCHANGE", "TRUNCATE", "COALESCE", "ENGINE"}
    | {"REORGANIZE", "REPAIR", "CONVERT"}
)
"""Verbs of other actions, which cannot appear inside the definition of a column or a key."""
_OPTION_NAMES = """
    ROW_FORMAT KEY_BLOCK_SIZE COMMENT AUTO_INCREMENT STATS_PERSISTENT STATS_AUTO_RECALC STATS_SAMPLE_PAGES
    CHARSET COLLATE MAX_ROWS MIN_ROWS AVG_ROW_LENGTH CHECKSUM PACK_KEYS DELAY_KEY_WRITE PAGE_COMPRESSED
    PAGE_COMPRESSION_LEVEL PAGE_CHECKSUM COMPRESSION ENCRYPTION ENCRYPTED ENCRYPTION_KEY_ID ALGORITHM LOCK
"""
_OPTIONS = frozenset(_OPTION_NAMES.split())
_PARTITIONS_KEPT = ("REORGANIZE", "COALESCE", "REBUILD", "OPTIMIZE", "ANALYZE", "CHECK")


def _mysql_action(words: Words, server: str) -> Classification:
    verb = words.next
    judge = _BY_VERB.get(verb)
    if judge is None:
        return _options(words)
    words.any_()
    return judge(words)


def _is_about_partitions(tokens: Sequence[Token]) -> bool:
    return len(tokens) > 1 and tokens[1].word == "PARTITION" and tokens[0].word != "REMOVE"


def _add(words: Words) -> Classification:
    if words.take("PARTITION"):
        return ADDITIVE
    if words.next == "PERIOD" or words.take("SYSTEM", "VERSIONING"):
        return _unknown("ADD PERIOD and ADD SYSTEM VERSIONING")
    if words.next in _KEYS or words.take("VECTOR", "INDEX"):
        words.any_()
    elif not _column_name(words) and words.next != "(":
        return _unknown("this form of ADD")
    return _without_other_verbs(words, ADDITIVE)


def _without_other_verbs(words: Words, verdict: Classification) -> Classification:
    depth = 0
    for before, token in zip((None, *words.rest), words.rest, strict=False):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        named = before is not None and before.word in ("CONSTRAINT", "KEY", "INDEX", "AFTER")
        if depth == 0 and token.word in _FOREIGN and not named:
            return _unknown(f"{token.word} inside the definition of a column or a key")
    return verdict


def _alter(words: Words) -> Classification:
    if words.any_of("INDEX", "KEY", "CHECK", "CONSTRAINT") and words.name():
        words.take("NOT")
        known = words.any_of("VISIBLE", "INVISIBLE", "IGNORED", "ENFORCED")
        return ADDITIVE if known and not words else _unknown("this form of ALTER INDEX")
    words.take("COLUMN")
    words.take("IF", "EXISTS")
    if not words.name():
        return _unknown("this form of ALTER")
    if words.take("SET", "DEFAULT"):
        return _without_other_verbs(words, ADDITIVE)
    known_all = (
        words.take("DROP", "DEFAULT") or words.take("SET", "VISIBLE") or words.take("SET", "INVISIBLE")
    )
    return ADDITIVE if known_all and not words else _unknown("this form of ALTER COLUMN")


def _drop(words: Words) -> Classification:
    if words.take("PRIMARY", "KEY"):
        return ADDITIVE if not words else _unknown("what follows PRIMARY KEY")  # removes no row and no value
    if words.take("SYSTEM") or words.take("PERIOD"):
        return _unknown("DROP SYSTEM VERSIONING, which deletes the history of all rows,")
    if words.take("PARTITION"):
        listed = all(token.names or token.word == "," for token in words.rest)
        return DESTRUCTIVE if words and listed else _unknown("what follows DROP PARTITION")
    return DESTRUCTIVE


def _change(words: Words) -> Classification:
    words.take("COLUMN")
    words.take("IF", "EXISTS")
    old, new = words.name(), words.name()
    if not old or not new:
        return _unknown("this form of CHANGE")
    verdict = IN_PLACE if old.lower() == new.lower() else DESTRUCTIVE
    return _without_other_verbs(words, verdict)


def _modify(words: Words) -> Classification:
    words.take("COLUMN")
    words.take("IF", "EXISTS")
    return _without_other_verbs(words, IN_PLACE) if words.name() else _unknown("this form of MODIFY")


def _engine(words: Words) -> Classification:
    words.take("=")
    engine = words.name()
    if engine.upper() != "INNODB":
        return refused(
            f"the storage engine {engine or '?'} may store no rows, and a copy cannot run under the lock",
            "keep ENGINE=InnoDB, or move it into a contract revision after this one, with requires = ()",
        )
    return _options(words) if words else ADDITIVE


def _convert(words: Words) -> Classification:
    if words.take("TO", "CHARACTER", "SET") or words.take("TO", "CHARSET"):
        return IN_PLACE
    return _unknown("this form of CONVERT")


def _partitions_kept(words: Words) -> Classification:
    """Classifies actions that keep all rows: the server raises an error if a row fits in no partition."""
    return ADDITIVE if words.take("PARTITION") else _unknown("this action")


def _truncate(words: Words) -> Classification:
    return ROWS if words.take("PARTITION") else _unknown("this action")


def _exchange(words: Words) -> Classification:
    return refused(
        "after an interruption it is unknown whether EXCHANGE PARTITION was executed, "
        "and a second one reverts it"
    )


def _partition(words: Words) -> Classification:
    return ADDITIVE if words.take("BY") else _unknown("this action")


def _remove(words: Words) -> Classification:
    return ADDITIVE if words.take("PARTITIONING") and not words else _unknown("this action")


def _order(words: Words) -> Classification:
    return ADDITIVE if words.take("BY") else _unknown("this action")


def _keys(words: Words) -> Classification:
    return ADDITIVE if words.take("KEYS") and not words else _unknown("this action")


def _validation(words: Words) -> Classification:
    return ADDITIVE if words.take("VALIDATION") and not words else _unknown("this action")


def _options(words: Words) -> Classification:
    """Classifies table options such as ``ROW_FORMAT = DYNAMIC COMMENT 'x'``; an empty action is refused."""
    if not words:
        return _unknown("an empty action")
    while words:
        if words.take("FORCE") or words.take("DEFAULT"):
            continue
        if words.take("ENGINE"):
            return _engine(words)
        if words.take("REMOVE"):
            return _remove(words)
        if words.take("PARTITION"):
            return _partition(words)
        name = words.next
        if not (words.take("CHARACTER", "SET") or (name in _OPTIONS and words.value())):
            return _unknown(words.next or "this action")
        words.take("=")
        if not words.value():
            return _unknown(f"the value of {name}")
    return ADDITIVE


def _unknown(what: str) -> Classification:
    return refused(
        f"{what} in ALTER TABLE is not known to preserve all data, and is not tested under the lock"
    )


def _rename(words: Words) -> Classification:
    return DESTRUCTIVE


_BY_VERB = {
    "ADD": _add,
    "ALTER": _alter,
    "DROP": _drop,
    "RENAME": _rename,
    "CHANGE": _change,
    "MODIFY": _modify,
    "CONVERT": _convert,
    "TRUNCATE": _truncate,
    "EXCHANGE": _exchange,
    "PARTITION": _partition,
    "REMOVE": _remove,
    "ORDER": _order,
    "ENABLE": _keys,
    "DISABLE": _keys,
    "WITH": _validation,
    "WITHOUT": _validation,
    **dict.fromkeys(_PARTITIONS_KEPT, _partitions_kept),
}


@dataclasses.dataclass(frozen=True)
class AlterTable:
    """The parts of an ALTER TABLE."""

    path: Sequence[Token]
    """The table's name with its qualifiers."""
    actions: Sequence[Sequence[Token]]


def read_alter_table(tokens: Sequence[Token], server: str) -> AlterTable | None:
    """Returns the parts of an ALTER TABLE; None for any other statement."""
    words = Words(tokens)
    if not words.take("ALTER"):
        return None
    words.take("ONLINE")
    if not words.take("TABLE"):
        return None
    path = take_table(words, server)
    return AlterTable(path, by_commas(words.rest)) if path else None
