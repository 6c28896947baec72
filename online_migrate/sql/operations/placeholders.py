"""The placeholders of drivers in a text of PostgreSQL: ``%(name)s``, ``%s`` and ``:name``. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from online_migrate.sql.lexer import Token, readings


def without_placeholders(text: str) -> str:
    """Returns *text* with parameters of PostgreSQL in place of the placeholders of drivers."""
    if "%" not in text and ":" not in text:
        return text
    parts, at = [], 0
    for start, end in _places(readings(text, "postgresql")[0]):
        parts += [text[at:start], "$1"]
        at = end
    return "".join([*parts, text[at:]])


def _places(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Yields where each placeholder begins and ends."""
    words = [token.word for token in tokens]
    at = 0
    while at < len(tokens):
        length = _length(tokens, words, at)
        if length:
            yield tokens[at].end - 1, tokens[at + length - 1].end
        at += length or 1


def _length(tokens: Sequence[Token], words: Sequence[str], at: int) -> int:
    """Returns the number of tokens of the placeholder at *at*; 0: there is none."""
    if words[at] == "%" and words[at + 1 : at + 2] == ["("] and words[at + 3 : at + 5] == [")", "S"]:
        return 5 if not any(token.spaced for token in tokens[at + 1 : at + 5]) else 0
    if words[at] == "%" and words[at + 1 : at + 2] == ["S"] and not tokens[at + 1].spaced:
        return 2
    if words[at] != ":" or at + 1 >= len(tokens) or not tokens[at + 1].names or tokens[at + 1].spaced:
        return 0
    return 2 if at == 0 or words[at - 1] != ":" else 0
