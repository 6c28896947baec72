"""Decides whether evaluating a part of a statement can change data: calls and nested writes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from online_migrate.sql.classification.harmless_functions import AFTER, HARMLESS, KEYWORDS
from online_migrate.sql.lexer import MYSQL, Sort, Token

_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "TRUNCATE"})
_NO_WRITES = frozenset({("ON", "DELETE"), ("ON", "UPDATE"), ("FOR", "UPDATE"), ("KEY", "UPDATE")})
_QUERIES = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})


def why_not_read(tokens: Sequence[Token], server: str) -> str | None:
    """Returns why evaluating *tokens*, a query or an expression, may change data; None if it cannot."""
    writes = next(written(tokens), None)
    if writes is not None:
        return f"it contains {writes}"
    if "INTO" in (token.word for token in tokens) and not _into_variables(tokens, server):
        return "it writes its result with INTO"
    unknown = next(unknown_calls(tokens, server), None)
    if unknown is not None:
        return f"it calls {unknown}(), which may change rows"
    return None


def written(tokens: Sequence[Token]) -> Iterator[str]:
    """Yields the verbs of writes inside a query, as in common table expressions."""
    for at in written_at(tokens):
        yield tokens[at].word


def written_at(tokens: Sequence[Token]) -> Iterator[int]:
    """Yields the positions of the verbs of writes."""
    for at, (before, token, after) in enumerate(_neighbours(tokens)):
        if token.word not in _WRITES or before.word == "." or (before.word, token.word) in _NO_WRITES:
            continue
        if token.word in ("INSERT", "REPLACE", "TRUNCATE") and after.word == "(":
            continue  # functions
        yield at


def _into_variables(tokens: Sequence[Token], server: str) -> bool:
    """Returns True if every INTO is MySQL's assignment to user-defined variables."""
    return server in MYSQL and all(
        after.sort is Sort.VARIABLE for _, token, after in _neighbours(tokens) if token.word == "INTO"
    )


def unknown_calls(tokens: Sequence[Token], server: str, *, index: bool = False) -> Iterator[str]:
    """Yields the functions that are called and not known to be harmless.

    *index*: the tokens follow CREATE INDEX or define a constraint, where ``USING gist (`` is an access method
    and ``REFERENCES t (`` is a table.
    """
    names = _names_of_lists(tokens)
    for at, (before, token, after) in enumerate(_neighbours(tokens)):
        if not token.names or after.word != "(" or at in names:
            continue
        if before.word == "." and not (server == "postgresql" and _qualifier(tokens, at) == "PG_CATALOG"):
            if not (index and _is_referenced(tokens, at)):
                yield token.text
            continue
        if index and before.word in ("USING", "REFERENCES"):
            continue
        if not _is_keyword(before, token, server) and token.word not in HARMLESS[server]:
            yield token.text


def _is_keyword(before: Token, token: Token, server: str) -> bool:
    if token.word in KEYWORDS[server]:
        return True
    return before.word in AFTER.get(token.word, ())


def _qualifier(tokens: Sequence[Token], at: int) -> str:
    return tokens[at - 2].word if at >= 2 else ""


def _is_referenced(tokens: Sequence[Token], at: int) -> bool:
    return at >= 3 and tokens[at - 3].word == "REFERENCES"


def _names_of_lists(tokens: Sequence[Token]) -> set[int]:
    """Returns the positions of names that are followed by a column list: of CTEs and of aliases."""
    found = set()
    for at, (before, token, after) in enumerate(_neighbours(tokens)):
        if not token.names or after.word != "(":
            continue
        if before.word == "AS" and at >= 2 and (tokens[at - 2].word == ")" or tokens[at - 2].names):
            found.add(at)
        end = closing(tokens, at + 1)
        rest = [t.word for t in tokens[end + 1 : end + 5] if t.word not in ("NOT", "MATERIALIZED")]
        if rest[:2] == ["AS", "("] and len(rest) > 2 and rest[2] in _QUERIES:
            found.add(at)
    return found


def closing(tokens: Sequence[Token], at: int) -> int:
    """Returns the position of the parenthesis that closes the one at *at*, or of the last token."""
    depth = 0
    for position in range(at, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[position].word, 0)
        if depth == 0:
            return position
    return len(tokens) - 1


def _neighbours(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token, Token]]:
    nothing = Token(Sort.MARK, "")
    for at, token in enumerate(tokens):
        before = tokens[at - 1] if at else nothing
        after = tokens[at + 1] if at + 1 < len(tokens) else nothing
        yield before, token, after
