"""The parts of a CREATE INDEX of PostgreSQL, as text. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from online_migrate.sql.catalog_effects.reading import folded
from online_migrate.sql.classification.verdict import Words, by_commas
from online_migrate.sql.forms.form import Step
from online_migrate.sql.forms.names import written
from online_migrate.sql.lexer import Sort, Token


@dataclasses.dataclass(frozen=True)
class IndexText:
    """*head*: the text up to INDEX. *columns*: as in the name that the server chooses. *tail*: after the
    table."""

    head: str
    concurrently: bool
    guarded: bool
    name: str | None
    only: bool
    table: str
    columns: tuple[str, ...]
    tail: str

    def concurrent_step(self, name: str, table: str) -> Step:
        """Returns the step that builds the index on *table*."""
        schema = f"{table.rpartition('.')[0]}." if "." in table else ""
        guard = " IF NOT EXISTS" if self.guarded else ""
        return Step(
            f"{self.head} CONCURRENTLY{guard} {name} ON {table}{self.tail}",
            concurrent=True,
            undo=f"DROP INDEX CONCURRENTLY IF EXISTS {schema}{name}",
        )


def read_create_index(statement: str, tokens: Sequence[Token]) -> IndexText | None:
    """Returns the parts of a CREATE INDEX; None for any other statement."""
    words = Words(tokens)
    if not words.take("CREATE"):
        return None
    words.take("UNIQUE")
    if not words.take("INDEX"):
        return None
    head = statement[: tokens[len(tokens) - len(words.rest) - 1].end]
    concurrently = words.take("CONCURRENTLY")
    guarded = words.take("IF", "NOT", "EXISTS")
    name = None if words.next == "ON" else written(words.path())
    if not words.take("ON"):
        return None
    only = words.take("ONLY")
    path = words.path()
    if not path:
        return None
    tail = statement[path[-1].end : tokens[-1].end]
    columns = index_columns(words.rest)
    return IndexText(head, concurrently, guarded, name, only, written(path), columns, tail)


def index_columns(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Returns the columns in the first parentheses, as in a name that the server chooses."""
    inner: list[Token] = []
    depth = 0
    for token in tokens:
        depth -= token.word == ")"
        if depth == 0 and inner:
            break
        if depth > 0:
            inner.append(token)
        depth += token.word == "("
    found: list[str] = []
    for part in by_commas(inner):
        is_column = bool(part) and part[0].names and (len(part) == 1 or part[1].word not in ("(", "."))
        name = folded(part[0].text, part[0].sort is Sort.NAME, "postgresql") if is_column else "expr"
        number = 0
        while (unique := f"{name}{number or ''}") in found:
            number += 1
        found.append(unique)
    return tuple(found)
