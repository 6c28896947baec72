"""Recognises a query of one table whose condition only compares columns with constants. Pure.

Such a text is read in the same way by every server and needs no parser, whose import takes longer than all
queries at the start of a run. Any other text is not plain.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection

_SOURCE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")
_TOKEN = re.compile(
    r"[ \t\r\n]*(?:(?P<word>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)"
    r"|\d+(?:\.\d+)?(?![\w.$])|!=|[()=<>+*,?])"
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONSTANTS = frozenset({"NULL", "TRUE", "FALSE"})
_BEFORE_PARENTHESIS = frozenset({"AND", "OR", "NOT", "IN"})
_KEYWORDS = _CONSTANTS | _BEFORE_PARENTHESIS | {"IS"}


def is_plain(text: str, source: str, columns: Collection[str]) -> bool:
    """Returns True if *text* is a query of *source* alone, and its condition calls no function.

    *source*: the table as the text names it, with its schema if that is named. *columns*: its columns. A
    quoted name, a string, a comment and every word that is neither a column nor a known keyword make the
    text not plain.
    """
    head = re.match(r"SELECT 1 \s*FROM " + re.escape(source) + r" \s*WHERE ", text)
    # White space and letters outside of ASCII may be part of a name for the server.
    if not text.isascii() or head is None or _SOURCE.fullmatch(source) is None:
        return False
    tokens: list[str] = []
    position = head.end()
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None or not _is_known(token["word"], source, columns):
            return False
        tokens.append(token[0].strip())
        position = token.end()
    return all(_may_follow(first, second) for first, second in itertools.pairwise(tokens))


def words(text: str) -> list[str]:
    """Returns the words of a plain text, keywords included."""
    return _WORD.findall(text)


def _is_known(word: str | None, source: str, columns: Collection[str]) -> bool:
    if word is None or word in _KEYWORDS or word in columns:
        return True
    return word.removeprefix(f"{source}.") in columns


def _may_follow(first: str, second: str) -> bool:
    """Returns True if the two tokens are neither a call, nor a table, nor the beginning of a query."""
    if first == "IN" or second == "(":
        return second == "(" and (first in _BEFORE_PARENTHESIS or not _is_word(first))
    return not (_is_name(first) and _is_name(second))


def _is_word(token: str) -> bool:
    return token[0].isalpha() or token[0] == "_"


def _is_name(token: str) -> bool:
    return _is_word(token) and token not in _KEYWORDS
