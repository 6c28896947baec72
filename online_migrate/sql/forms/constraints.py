"""The parts of an ADD CONSTRAINT of PostgreSQL, as text. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from online_migrate.sql.catalog_effects.reading import folded
from online_migrate.sql.classification.verdict import Words, by_commas
from online_migrate.sql.forms.names import written
from online_migrate.sql.lexer import Sort, Token


@dataclasses.dataclass(frozen=True)
class ConstraintText:
    """A constraint that reads all rows of its table when it is added.

    *kind*: the first word: UNIQUE, PRIMARY, FOREIGN or CHECK. *definition*: the text without the name. *key*:
    the columns, as written and as stored. *name_columns*: those in the name that the server chooses.
    *index*: of a key, what follows the table in its CREATE INDEX. *deferral*: of a key, its last words.
    """

    kind: str
    name: str | None
    definition: str
    key: tuple[tuple[str, str], ...]
    name_columns: tuple[str, ...]
    index: str = ""
    deferral: str = ""


def read_constraint(text: str, tokens: Sequence[Token]) -> ConstraintText | None:
    """Returns the parts of an action of ALTER TABLE; None if it adds no constraint, or reads no row for it.

    *text*: the action; *tokens*: its tokens, whose ends count from the beginning of the statement.
    """
    words = Words(tokens)
    if not words.take("ADD"):
        return None
    name = written(words.path()) if words.take("CONSTRAINT") else None
    kind = words.next
    rest = words.rest
    marks = [token.word for token in rest]
    if kind not in ("UNIQUE", "PRIMARY", "FOREIGN", "CHECK") or (kind == "CHECK" and marks[1:2] != ["("]):
        return None
    unchecked = ("NOT", "VALID"), ("NOT", "ENFORCED"), ("USING", "INDEX")
    pairs = set(zip(_outside(rest), _outside(rest)[1:], strict=False))
    if not pairs.isdisjoint({*unchecked[:2]}) or _uses_index(marks):
        return None
    offset = tokens[-1].end - len(text)
    begin = tokens[len(tokens) - len(rest) - 1].end - offset
    definition = text[begin:].strip()
    if kind in ("FOREIGN", "CHECK"):
        key = _listed(rest) if kind == "FOREIGN" else ()
        names = tuple(stored for _written, stored in key) if key else _checked(rest)
        return ConstraintText(kind, name, definition, key, names)
    return _key(kind, name, definition, text, offset, rest)


def _outside(tokens: Sequence[Token]) -> list[str]:
    """Returns the words outside of parentheses."""
    found: list[str] = []
    depth = 0
    for token in tokens:
        depth -= token.word == ")"
        if depth == 0:
            found.append(token.word)
        depth += token.word == "("
    return found


def _uses_index(marks: Sequence[str]) -> bool:
    pairs = zip(marks, marks[1:], (*marks[2:], ""), strict=False)
    return any(one == "USING" and two == "INDEX" and three != "TABLESPACE" for one, two, three in pairs)


def _listed(tokens: Sequence[Token]) -> tuple[tuple[str, str], ...]:
    """Returns the columns in the first parentheses, as written and as stored."""
    inner: list[Token] = []
    start = next((at for at, token in enumerate(tokens) if token.word == "("), len(tokens))
    for token in tokens[start + 1 :]:
        if token.word == ")":
            break
        inner.append(token)
    parts = [part[0] for part in by_commas(inner) if part]
    return tuple((written((t,)), folded(t.text, t.sort is Sort.NAME, "postgresql")) for t in parts)


def _checked(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Returns the only column of a condition, which is part of the name that the server chooses."""
    names = {
        folded(token.text, token.sort is Sort.NAME, "postgresql")
        for token, after in zip(tokens[1:], (*tokens[2:], None), strict=False)
        if token.names and token.word not in _OPERATORS and (after is None or after.word != "(")
    }
    return tuple(names) if len(names) == 1 else ()


_OPERATORS = frozenset({"AND", "OR", "NOT", "IS", "NULL", "IN", "LIKE", "BETWEEN", "TRUE", "FALSE", "ANY"})


def _key(
    kind: str, name: str | None, definition: str, text: str, offset: int, tokens: Sequence[Token]
) -> ConstraintText | None:
    """Returns a UNIQUE or PRIMARY KEY, with the clauses in the order of CREATE INDEX."""
    words = Words(tokens)
    words.any_()
    words.take("KEY")
    nulls = ""
    if words.take("NULLS"):
        nulls = " NULLS DISTINCT" if words.take("DISTINCT") else " NULLS NOT DISTINCT"
        words.take("NOT", "DISTINCT")
    key = _listed(words.rest)
    columns = f" ({', '.join(column for column, _stored in key)})"
    _skip_parentheses(words)
    if not key or any(token.word == "WITHOUT" for token in tokens):
        return None
    clauses = {"INCLUDE": "", "WITH": "", "TABLESPACE": ""}
    while words.next in ("INCLUDE", "WITH", "USING"):
        start = words.rest[0]
        clause = words.next
        if clause == "USING":
            words.take("USING", "INDEX", "TABLESPACE")
            clauses["TABLESPACE"] = f" TABLESPACE {written(words.path())}"
            continue
        words.any_()
        rest = words.rest
        _skip_parentheses(words)
        inside = rest[: len(rest) - len(words.rest)]
        clauses[clause] = f" {text[start.end - offset - len(clause) : inside[-1].end - offset]}"
    index = columns + clauses["INCLUDE"] + nulls + clauses["WITH"] + clauses["TABLESPACE"]
    deferral = f" {' '.join(token.word for token in words.rest)}" if words else ""
    names = tuple(stored for _written, stored in key)
    return ConstraintText(kind, name, definition, key, names, index, deferral)


def _skip_parentheses(words: Words) -> None:
    depth = 0
    while words:
        depth += {"(": 1, ")": -1}.get(words.next, 0)
        words.any_()
        if depth == 0:
            return
