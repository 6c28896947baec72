"""Reads the names of the columns that a query returns. Pure."""

from __future__ import annotations

from online_migrate.sql.lexer import Sort
from online_migrate.sql.operations.cursor import Cursor, Unknown

_ENDS = frozenset(
    {"FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT", "OFFSET"}
    | {"FETCH", "FOR", "INTO", "WITH"}
)

_OPERATORS = frozenset(
    {"AND", "OR", "NOT", "LIKE", "ILIKE", "IS", "IN", "DIV", "MOD", "XOR", "BETWEEN", "ZONE", "COLLATE", "TO"}
    | {"REGEXP", "RLIKE", "GLOB", "MATCH", "INTERVAL", "BINARY", "ESCAPE", "SIMILAR"}
)
"""Words after which a name is an operand, and no alias."""


def selected_columns(query: Cursor) -> tuple[str, ...] | None:
    """Returns the names in the select list of *query*; None if one of them is not known."""
    try:
        return _selected(query)
    except Unknown:
        return None


def _selected(query: Cursor) -> tuple[str, ...] | None:
    while query.next == "(":
        query = query.group()
    if query.take("WITH"):
        _skip_common_tables(query)
    if not query.take("SELECT"):
        return None
    if query.take("DISTINCT") and query.take("ON"):
        query.group()
    query.take("ALL")
    start = query.at
    while query and query.next not in _ENDS:
        if query.next == "(":
            query.group()
        elif query.next == "CASE":
            _skip_case(query)
        else:
            query.token()
    names = [_name(part) for part in Cursor(query.tokens[start : query.at], query.server).split()]
    return None if None in names else tuple(name for name in names if name is not None)


def _skip_common_tables(query: Cursor) -> None:
    query.take("RECURSIVE")
    while True:
        query.name()
        if query.next == "(":
            query.group()
        query.expect("AS")
        query.take("NOT")
        query.take("MATERIALIZED")
        query.group()
        if not query.take(","):
            return


def _skip_case(query: Cursor) -> None:
    depth = 0
    while query:
        depth += {"CASE": 1, "END": -1}.get(query.token().word, 0)
        if depth == 0:
            return


def _name(part: Cursor) -> str | None:
    """Returns the name of one column: its alias, or the column itself; None if the server chooses it."""
    if not part or not part.tokens[-1].names:
        return None
    last = Cursor(part.tokens[-1:], part.server)
    if len(part.tokens) == 1:
        return last.name()
    before = part.tokens[-2]
    if before.word == "AS" or (before.word == "." and _is_path(part)):
        return last.name()
    return last.name() if _may_have_alias(part) else None


def _is_path(part: Cursor) -> bool:
    cursor = Cursor(part.tokens, part.server)
    cursor.path()
    return not cursor


def _may_have_alias(part: Cursor) -> bool:
    """Returns True for an operand and a name after it: ``a b``, ``count(*) n``, ``'x' n``."""
    last = part.tokens[-1]
    if last.word in ("END", "NULL", "TRUE", "FALSE"):
        return False
    before = part.tokens[-2]
    if before.word in _OPERATORS:
        return False
    return before.word == ")" or before.sort in (Sort.NUMBER, Sort.STRING) or before.names
