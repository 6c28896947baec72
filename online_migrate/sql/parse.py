"""A SQL text as syntax trees. Pure.

The parser is sqlglot, imported when used. A text that it cannot read raises :class:`Unreadable`. A statement
of which it recognises only the verb is returned as ``exp.Command``; callers must treat it as unknown.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot import exp

READERS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
"""The name of each server's SQL in sqlglot."""


class Unreadable(ValueError):
    """The text has no syntax tree; the message says where reading stopped."""


@functools.lru_cache(maxsize=512)
def parse(text: str, server: str) -> tuple[exp.Expr, ...]:
    """The syntax trees of the statements in *text*, in order; comments are dropped, also executable ones.

    *server*: a key of :data:`READERS`. Raises :class:`Unreadable`. Trees are cached: do not change them.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        return tuple(tree for tree in _quietly(sqlglot.parse, text, READERS[server]) if tree is not None)
    except (SqlglotError, RecursionError) as error:
        raise Unreadable(_place_of(error)) from error


def executable_comments(text: str, server: str) -> list[str]:
    """The contents of comments that MySQL and MariaDB execute: ``/*! ... */``, ``/*M! ... */``.

    The version number after the mark is left out, as if every server met it. Raises :class:`Unreadable`.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    if "/*!" not in text and "/*M!" not in text:
        return []
    try:
        tokens = sqlglot.tokenize(text, read=READERS[server])
    except SqlglotError as error:
        raise Unreadable(_place_of(error)) from error
    comments = [comment for token in tokens for comment in token.comments]
    if not tokens:
        comments = [text.strip().removeprefix("/*").removesuffix("*/")]
    marked = [c.removeprefix("M") for c in comments if c.startswith(("!", "M!"))]
    return [comment[1:].lstrip("0123456789").strip() for comment in marked]


def words_and_calls(text: str, server: str) -> list[tuple[str, bool, bool]]:
    """The words of *text*, in order: each with whether it is quoted, and whether a parenthesis follows it.

    Key words are among them. Raises :class:`Unreadable`.
    """
    import sqlglot
    from sqlglot import TokenType
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(text, read=READERS[server])
    except SqlglotError as error:
        raise Unreadable(_place_of(error)) from error
    quoted = (TokenType.IDENTIFIER, TokenType.STRING)  # MySQL may read a quoted word as a name
    following = [*tokens[1:], None]
    return [
        (token.text, token.token_type in quoted, after is not None and after.token_type is TokenType.L_PAREN)
        for token, after in zip(tokens, following, strict=True)
        if token.text[:1].isalpha() or token.text[:1] == "_" or token.token_type in quoted
    ]


def _quietly(read: object, text: str, reader: str) -> list[exp.Expr | None]:
    """Calls sqlglot without its warning for statements that it returns as a Command."""
    import logging

    logger = logging.getLogger("sqlglot")
    before, logger.disabled = logger.disabled, True
    try:
        return read(text, read=reader)  # type: ignore[operator, no-any-return]
    finally:
        logger.disabled = before


def _place_of(error: BaseException) -> str:
    """The first line of sqlglot's message, without its terminal colours."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
