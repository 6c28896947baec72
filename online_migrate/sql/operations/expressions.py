"""Reads expressions: where a default ends, what form it has, which functions it calls. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from online_migrate.sql.classification.harmless_functions import AFTER, KEYWORDS
from online_migrate.sql.lexer import MYSQL, Sort, Token
from online_migrate.sql.operations.cursor import Cursor, Unknown, written
from online_migrate.sql.operations.parts import Expression, Value
from online_migrate.sql.operations.types import read_type

_OPERATORS = frozenset("+-*/<>=~!@#%^&|")
_TYPED = frozenset({"DATE", "TIME", "TIMESTAMP", "INTERVAL", "TIMESTAMPTZ"})
_NOW = frozenset(
    {"CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIME", "LOCALTIMESTAMP", "NOW"}
    | {"TRANSACTION_TIMESTAMP", "STATEMENT_TIMESTAMP", "CURDATE", "CURTIME"}
)
_CALLED = frozenset({"NOW", "TRANSACTION_TIMESTAMP", "STATEMENT_TIMESTAMP", "CURDATE", "CURTIME"})
"""Names of :data:`_NOW` that are functions, and have parentheses."""
_SYNTAX_TEXT = """
    BETWEEN BIGINT BIT BOOLEAN CHAR CHARACTER COALESCE DEC DECIMAL EXISTS EXTRACT FLOAT GREATEST GROUPING
    INOUT INT INTEGER INTERVAL LEAST NATIONAL NCHAR NONE NORMALIZE NULLIF NUMERIC OUT OVERLAY POSITION
    PRECISION REAL ROW SETOF SMALLINT SUBSTRING TIME TIMESTAMP TREAT TRIM VARCHAR XMLATTRIBUTES XMLCONCAT
    XMLELEMENT XMLEXISTS XMLFOREST XMLPARSE XMLPI XMLROOT XMLSERIALIZE CAST CURRENT_TIMESTAMP CURRENT_TIME
    LOCALTIME LOCALTIMESTAMP THEN WHEN ELSE CASE
"""
_SYNTAX = frozenset(_SYNTAX_TEXT.split())
"""Keywords with parentheses that are not functions of the catalog."""
_NO_COLUMNS_TEXT = """
    AND OR NOT IN IS NULL LIKE ILIKE BETWEEN CASE WHEN THEN ELSE END TRUE FALSE ANY ALL SOME ARRAY FROM FOR
    CURRENT_TIMESTAMP CURRENT_DATE CURRENT_TIME LOCALTIME LOCALTIMESTAMP CURRENT_USER SESSION_USER SIMILAR TO
    DISTINCT SYMMETRIC BOTH LEADING TRAILING USING ISNULL NOTNULL
"""
_NO_COLUMNS = frozenset(_NO_COLUMNS_TEXT.split())
"""Words that no server accepts as the name of a column without quotes."""
_NO_COLUMNS_OF_MYSQL = frozenset({"DIV", "MOD", "XOR", "REGEXP", "RLIKE", "BINARY", "INTERVAL"})


def expression(tokens: Sequence[Token], server: str) -> Expression:
    """Returns the expression that *tokens* are."""
    if not tokens:
        raise Unknown("an expression without words")
    return Expression(_form(tokens, server), written(tokens), calls(tokens, server))


def calls(tokens: Sequence[Token], server: str) -> tuple[str, ...]:
    """Returns the functions that *tokens* call, in lower case, in the order of their first call."""
    found = ["nextval"] if takes_number(tokens, server) else []
    for at, (token, after) in enumerate(itertools.pairwise(tokens)):
        if not token.names or after.word != "(" or token.word in _SYNTAX or token.word in KEYWORDS[server]:
            continue
        before = tokens[at - 1].word if at else ""
        is_type = before == ":" or (before == "AS" and "CAST" in (t.word for t in tokens[:at]))
        if not is_type and before not in AFTER.get(token.word, ()):
            found.append(token.text.lower())
    return tuple(dict.fromkeys(found))


def takes_number(tokens: Sequence[Token], server: str) -> bool:
    """Returns True if *tokens* contain NEXT VALUE FOR, which changes a sequence (MariaDB)."""
    words = [token.word for token in tokens]
    starts = (at for at, word in enumerate(words) if word == "NEXT")
    return server == "mariadb" and any(words[at : at + 3] == ["NEXT", "VALUE", "FOR"] for at in starts)


def columns_in(tokens: Sequence[Token], server: str) -> tuple[str, ...]:
    """Returns the columns that a condition names, in the order of their first use.

    A word that may be a column or a keyword counts as a column.
    """
    found = []
    cursor = Cursor(tokens, server)
    while cursor:
        if cursor.take(":", ":") or cursor.take("AS"):
            read_type(cursor)
        elif cursor.take("COLLATE"):
            cursor.path()
        elif cursor.take("AT", "TIME", "ZONE"):
            continue
        elif not cursor.names or _is_keyword(cursor):
            cursor.token()
        else:
            is_text = cursor.rest[0].sort is Sort.NAME and cursor.rest[0].written[0] == '"'
            name = cursor.path().name
            if cursor.next != "(" and not (is_text and server in MYSQL):
                found.append(name)
    return tuple(dict.fromkeys(found))


def _is_keyword(cursor: Cursor) -> bool:
    if cursor.next in _NO_COLUMNS or (cursor.server in MYSQL and cursor.next in _NO_COLUMNS_OF_MYSQL):
        return True
    before_text = len(cursor.rest) > 1 and cursor.rest[1].sort is Sort.STRING
    return before_text and cursor.next != ""  # the name of a type, or an operator


# --- the form -------------------------------------------------------------------------------------


def _form(tokens: Sequence[Token], server: str) -> Value:
    cursor = Cursor(tokens, server)
    try:
        found = _plain(cursor)
        while cursor.take(":", ":"):
            read_type(cursor)
            found = found if found is not Value.NOW else Value.EXPRESSION
    except Unknown:
        return Value.EXPRESSION
    return Value.EXPRESSION if cursor else found


def _plain(cursor: Cursor) -> Value:
    if cursor.next == "(":
        return _form(cursor.group().tokens, cursor.server)
    if cursor.take("NULL"):
        return Value.NULL
    if cursor.any_of("TRUE", "FALSE"):
        return Value.CONSTANT
    if cursor.next in _NOW:
        return _now(cursor)
    if cursor.take("CAST"):
        return _cast(cursor.group())
    if cursor.next in _TYPED:
        read_type(cursor)
        cursor.text()
        return Value.CONSTANT
    while cursor.any_of("-", "+"):
        pass
    if cursor.next == "(":
        found = _form(cursor.group().tokens, cursor.server)
        return found if found is Value.CONSTANT else Value.EXPRESSION
    token = cursor.token()
    is_text = token.sort is Sort.NAME and cursor.server in MYSQL and token.written[0] == '"'
    if token.names and cursor and cursor.rest[0].sort is Sort.STRING:
        cursor.token()  # a text after the name of its type
        return Value.CONSTANT
    known = token.sort in (Sort.STRING, Sort.NUMBER) or is_text
    return Value.CONSTANT if known else Value.EXPRESSION


def _now(cursor: Cursor) -> Value:
    word = cursor.token().word
    if cursor.next == "(":
        inside = cursor.group()
        known = not inside or (len(inside.tokens) == 1 and inside.tokens[0].sort is Sort.NUMBER)
        return Value.NOW if known else Value.EXPRESSION
    return Value.EXPRESSION if word in _CALLED else Value.NOW


def _cast(inside: Cursor) -> Value:
    words = [token.word for token in inside.tokens]
    if "AS" not in words:
        return Value.EXPRESSION
    at = len(words) - 1 - words[::-1].index("AS")
    found = _form(inside.tokens[:at], inside.server)
    return found if found is not Value.NOW else Value.EXPRESSION


# --- the end --------------------------------------------------------------------------------------


def take_default(cursor: Cursor) -> Expression:
    """Consumes the expression of a DEFAULT in the definition of a column, which other clauses may follow."""
    start = cursor.at
    _operand(cursor)
    while cursor.next in _OPERATORS or cursor.next in ("DIV", "MOD"):
        while cursor.next in _OPERATORS or cursor.next in ("DIV", "MOD"):
            cursor.token()
        _operand(cursor)
    return expression(cursor.tokens[start : cursor.at], cursor.server)


def _operand(cursor: Cursor) -> None:
    while cursor.any_of("+", "-", "~"):
        pass
    if cursor.next == "(":
        cursor.group()
    elif cursor.take("CASE"):
        _case(cursor)
    elif cursor.take("NEXT", "VALUE", "FOR"):
        cursor.path()
    elif cursor.take("ARRAY"):
        _brackets(cursor)
    elif cursor.names and cursor.next not in ("NOT", "CONSTRAINT", "DEFAULT"):
        _named(cursor)
    elif cursor and cursor.rest[0].sort is not Sort.MARK:
        cursor.token()
    else:
        raise cursor.fail()
    while cursor.take(":", ":"):
        read_type(cursor)
    while cursor.take("AT", "TIME", "ZONE"):
        _operand(cursor)


def _named(cursor: Cursor) -> None:
    if cursor.next in _TYPED and cursor.word(1) != ".":
        read_type(cursor)
    else:
        cursor.path()
    if cursor.next == "(":
        cursor.group()
    elif cursor and cursor.rest[0].sort is Sort.STRING:
        cursor.token()


def _case(cursor: Cursor) -> None:
    depth = 1
    while depth:
        depth += {"CASE": 1, "END": -1}.get(cursor.token().word, 0)


def _brackets(cursor: Cursor) -> None:
    if cursor.next == "(":
        cursor.group()
        return
    cursor.expect("[")
    depth = 1
    while depth:
        depth += {"[": 1, "]": -1}.get(cursor.token().word, 0)
