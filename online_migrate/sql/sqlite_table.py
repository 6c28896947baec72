"""Features of a SQLite CREATE TABLE or CREATE INDEX that Alembic's batch mode does not preserve. Pure.

Batch mode reflects a table, creates a copy, moves the rows and drops the original. SQLAlchemy does not
reflect collations, CHECK constraints, AUTOINCREMENT, conflict clauses, deferrable foreign keys, table
options, or an index on an expression (SQLAlchemy 2.1, Alembic 1.20). The copy lacks them, and no error is
raised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_TABLE_CONSTRAINTS = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"})


@dataclasses.dataclass(frozen=True)
class Feature:
    """A part of a definition that batch mode may lose."""

    text: str
    """The text of the feature, for messages and for the comparison of two definitions."""
    columns: frozenset[str]
    """The columns that the feature refers to; it does not apply once one of them is removed."""


@dataclasses.dataclass(frozen=True)
class Word:
    """A token; *text*: in lower case, except strings; *name*: the token can be the name of a column."""

    text: str
    name: bool


def features_of_table(sql: str, renamed: Mapping[str, str] | None = None) -> list[Feature]:
    """Returns the features in a CREATE TABLE statement from ``sqlite_master``.

    *renamed*: old column name -> new column name, in lower case; the features contain the new names.
    Raises :class:`ValueError` if the statement cannot be parsed.
    """
    words = [
        dataclasses.replace(word, text=(renamed or {}).get(word.text, word.text)) for word in _words(sql)
    ]
    start, end = _outer_parentheses(words)
    found: list[Feature] = []
    for part in _split(words[start + 1 : end]):
        found += _features_of_part(part)
    options = [word.text for word in words[end + 1 :]]
    if "strict" in options:
        found.append(Feature("STRICT", frozenset()))
    if options[:2] == ["without", "rowid"] or "rowid" in options:
        found.append(Feature("WITHOUT ROWID", frozenset()))
    return found


def index_on_expression(sql: str) -> bool:
    """Returns True if an index is on an expression, which SQLAlchemy does not reflect."""
    words = _words(sql)
    start, end = _outer_parentheses(words)
    return any(
        any(word.text == "(" for word in part)
        or any(not w.name and w.text not in ("asc", "desc", "collate") for w in part)
        for part in _split(words[start + 1 : end])
    )


def names_in(sql: str) -> frozenset[str]:
    """Returns the words of a definition that can be column names, in lower case."""
    return frozenset(word.text for word in _words(sql) if word.name)


def copied_columns(insert: str) -> Mapping[str, str]:
    """Returns old column -> new column from batch mode's ``INSERT INTO _alembic_tmp_t (...) SELECT ...``.

    Empty if the statement cannot be parsed: then no column is known to have been renamed.
    """
    from sqlglot import exp

    from online_migrate.sql.parse import Unreadable, parse

    try:
        [tree] = parse(insert, "sqlite")
    except (Unreadable, ValueError):
        return {}
    if not isinstance(tree, exp.Insert) or not isinstance(tree.this, exp.Schema):
        return {}
    targets = [column.name.lower() for column in tree.this.expressions]
    values = tree.expression.expressions if isinstance(tree.expression, exp.Select) else []
    sources = [value.find(exp.Column) for value in values]
    if len(targets) != len(sources):
        return {}
    return {old.name.lower(): new for new, old in zip(targets, sources, strict=True) if old is not None}


def _features_of_part(part: Sequence[Word]) -> Iterator[Feature]:
    texts = [word.text for word in part]
    is_column = texts[0].upper() not in _TABLE_CONSTRAINTS or not part[0].name
    column = frozenset({texts[0]}) if is_column else frozenset[str]()
    of = f" on column {texts[0]}" if is_column else ""
    for i, text in enumerate(texts):
        following = texts[i + 1] if i + 1 < len(texts) else ""
        if text == "check" and following == "(":
            inside = part[i + 2 : _closing(part, i + 1)]
            condition = " ".join(word.text for word in inside)
            names = frozenset(word.text for word in inside if word.name)
            yield Feature(f"CHECK ({condition})", names | column)
        elif text == "collate":
            yield Feature(f"COLLATE {following.upper()}{of}", column)
        elif text == "autoincrement":
            yield Feature(f"AUTOINCREMENT{of}", column)
        elif text == "on" and following == "conflict":
            yield Feature(f"ON CONFLICT {texts[i + 2].upper()}{of}", column)
        elif text == "deferrable" and texts[i - 1] != "not":
            yield Feature(f"DEFERRABLE{of}", column)


def _words(sql: str) -> list[Word]:
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(sql, read="sqlite")
    except SqlglotError as error:
        raise ValueError(str(error)) from error
    found: list[Word] = []
    for token in tokens:
        if token.token_type.name == "STRING":
            found.append(Word(f"'{token.text}'", name=False))
        elif token.token_type.name == "IDENTIFIER":
            found.append(Word(token.text.lower(), name=True))
        else:
            # sqlglot returns some pairs of words, such as PRIMARY KEY, as one token.
            found += [Word(word.lower(), name=_is_name(word)) for word in token.text.split()]
    return found


def _is_name(word: str) -> bool:
    return word[:1].isalpha() or word[:1] == "_"


def _outer_parentheses(words: Sequence[Word]) -> tuple[int, int]:
    start = next((i for i, word in enumerate(words) if word.text == "(" and not word.name), None)
    if start is None:
        raise ValueError("the definition has no list of columns")
    return start, _closing(words, start)


def _closing(words: Sequence[Any], opening: int) -> int:
    depth = 0
    for i in range(opening, len(words)):
        depth += {"(": 1, ")": -1}.get(words[i].text, 0)
        if depth == 0:
            return i
    raise ValueError("the definition has an unclosed parenthesis")


def _split(words: Sequence[Word]) -> list[list[Word]]:
    parts: list[list[Word]] = [[]]
    depth = 0
    for word in words:
        depth += {"(": 1, ")": -1}.get(word.text, 0)
        if word.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]
