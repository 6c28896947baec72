"""Reads a text of PostgreSQL with the reader of tokens and with PostgreSQL's own parser. Pure.

The parser is that of pglast, an optional dependency (extra ``[lint]``), which is imported when a text is
read. Where it is installed, a text is recognised only if both readers read the same operations. Where it is
not installed, or for another server, the reader of tokens alone decides.

The parser has the grammar of one version of PostgreSQL. A newer server knows more, and one before 14 had
operators that the grammar no longer has; for them a syntax error of the parser counts for nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from online_migrate.sql.lexer import readings
from online_migrate.sql.operations.cursor import written
from online_migrate.sql.operations.operation import CreateTrigger, Operation, SetTableOption, Unrecognized
from online_migrate.sql.operations.parts import Expression, Index
from online_migrate.sql.operations.placeholders import without_placeholders
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable

Found = tuple[Operation, ...]
_SAME_GRAMMAR_SINCE = 14
_NEWEST_SERVER = 18
_LONGEST_NAME = 63
"""Bytes; the parser cuts a longer name off, as the server does."""


def read_by_both(text: str, server: str, version: Sequence[int] | None = None) -> Found:
    """Returns the operations of *text* like :func:`~.reader.read_operations`.

    A text on which the readers disagree, or with a syntax error, is :class:`.Unrecognized`. *version*: that
    of the server, None if it is not known.
    """
    found = read_operations(text, server)
    if server != "postgresql" or not _is_installed():
        return found
    return _checked(text, version[0] if version else None)


@functools.lru_cache(maxsize=1)
def _is_installed() -> bool:
    try:
        import pglast  # noqa: F401 - only whether it is installed
    except ImportError:
        return False
    return True


@functools.lru_cache(maxsize=2048)
def _checked(text: str, major: int | None) -> Found:
    from online_migrate.sql.operations import pglast_reader

    ours = read_operations(text, "postgresql")
    plain = without_placeholders(text)
    try:
        theirs = pglast_reader.read_operations(plain)
    except pglast_reader.SyntaxFault as fault:
        if plain != text or not _counts(major):
            return ours
        return _with_place(text, ours, fault)
    except (Unreadable, RecursionError):
        return ours
    compared = ours if plain == text else read_operations(plain, "postgresql")
    if _agree(compared, theirs):
        return ours
    why = (
        f"The two readers disagree: the reader of tokens reads {_told(ours)}, and PostgreSQL's parser"
        f" {_told(theirs)}."
    )
    return (Unrecognized(what=_head(text), why=why),)


def _counts(major: int | None) -> bool:
    """Returns True if the server has the grammar of the parser, so that it reports the same syntax error."""
    from pglast import get_postgresql_version

    newest = get_postgresql_version()[0]
    return _SAME_GRAMMAR_SINCE <= (_NEWEST_SERVER if major is None else major) <= newest


def _with_place(text: str, ours: Found, fault: Any) -> Found:
    """Returns a text with a syntax error as unrecognised; *fault*: the error, with its place."""
    before = text[: fault.position]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    place = f"{fault.message}, line {line}, column {column}"
    unknown = next((one for one in ours if isinstance(one, Unrecognized)), None)
    if unknown is not None:
        why = f"The reader does not know this part of the statement; PostgreSQL's parser says: {place}."
        return tuple(dataclasses.replace(one, why=why) if one is unknown else one for one in ours)
    why = f"PostgreSQL's parser says: {place}. The reader of tokens reads {_told(ours)}."
    return (Unrecognized(what=_head(text), why=why),)


def _head(text: str) -> str:
    return written(readings(text, "postgresql")[0][:8])


def _told(operations: Found) -> str:
    """Returns what a reader has read, for a message."""
    if not operations:
        return "nothing"
    return ", ".join(_name(operation) for operation in operations[:5]) + (
        ", ..." if len(operations) > 5 else ""
    )


def _name(operation: Operation) -> str:
    parts = ("object", "table", "index", "view", "type")
    subject = next((str(getattr(operation, part)) for part in parts if getattr(operation, part, None)), "")
    return f"{type(operation).__name__} {subject}".strip()


# --- comparison -----------------------------------------------------------------------------------


def _agree(ours: Found, theirs: Found) -> bool:
    """Returns True if two readers have read the same; what either does not know is no disagreement.

    What the reader of tokens does not know is refused anyway. The reader of the tree knows fewer kinds.
    """
    if any(isinstance(operation, Unrecognized) for operation in ours):
        return True
    if theirs and all(isinstance(operation, Unrecognized) for operation in theirs):
        return True
    if len(ours) != len(theirs):
        return False
    pairs = zip(ours, theirs, strict=True)
    return all(isinstance(other, Unrecognized) or _same(one, other) for one, other in pairs)


_NOT_KEPT: dict[type[Any], frozenset[str]] = {
    Expression: frozenset({"text"}),
    CreateTrigger: frozenset({"body"}),
}
"""The fields that the readers write in other words."""


def _same(one: Any, other: Any) -> bool:
    """Returns True if two operations, or parts of them, are the same, except for what is written."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is str:
        return bool(one == other or _shortened(one) == other)
    if kind is tuple:
        return len(one) == len(other) and all(map(_same, one, other))
    if not dataclasses.is_dataclass(kind) or one == other:
        return bool(one == other)
    return all(_same(*_values(one, other, name)) for name in _compared(kind))


def _shortened(name: str) -> str:
    """Returns a name as PostgreSQL stores it."""
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")


@functools.cache
def _compared(kind: type[Any]) -> tuple[str, ...]:
    left_out = _NOT_KEPT.get(kind, frozenset())
    return tuple(f.name for f in dataclasses.fields(kind) if f.compare and f.name not in left_out)


def _values(one: Any, other: Any, name: str) -> tuple[Any, Any]:
    """Returns the values of a field, which may be written in two ways."""
    values = getattr(one, name), getattr(other, name)
    if isinstance(one, Index) and name == "method" and values == ("btree", None):
        return None, None  # the parser does not say if it was written
    if isinstance(one, SetTableOption) and name == "value" and one.option == "storage parameters":
        return None, None
    return values
