"""Reads the expressions of a sync for one server: the columns in it, and whether it is repeatable. Pure.

An expression is one of SQLAlchemy, a text, or a dictionary of texts by server. The columns of an expression
become those of the row that was written, so a column is named without its table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement, ColumnClause

from online_migrate import exceptions
from online_migrate.dialects.facets.sync_triggers import Template
from online_migrate.phases.expressions import tree_of
from online_migrate.sql.lexer import MYSQL, Sort, Token, readings
from online_migrate.sql.operations.expressions import calls
from online_migrate.sql.parse import Unreadable
from online_migrate.sync.repeatable_functions import REPEATABLE, TIME_OR_SESSION

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

Expression = ClauseElement | str | int | None | Mapping[str, Any]
"""What a script gives as an expression."""

_DIALECTS = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
_FOLDS = frozenset({"postgresql"})
"""The servers that store a name without quotes in lower case."""
_BODY_QUOTE = "$online_migrate$"


class BadExpression(exceptions.UsageError):
    """{message}"""


def template(given: Expression, server: str) -> Template:
    """Returns *given* for a server. Raises :class:`BadExpression`."""
    text = _text(given, server)
    try:
        found = readings(text, server)
    except Unreadable as error:
        raise BadExpression(message=f"expression {text!r} cannot be read: {error}") from error
    if len(found) != 1:
        raise BadExpression(
            message=f"expression {text!r} has more than one meaning, which depends on settings of the server"
        )
    columns = _columns(text, server)
    _refuse_unrepeatable(text, found[0], columns, server)
    return Template(_parts(text, found[0], columns, server))


def _text(given: Expression, server: str) -> str:
    """Returns the text of an expression, with its columns unqualified."""
    if isinstance(given, Mapping):
        names = (server, "mysql") if server in MYSQL else (server,)
        found = next((given[name] for name in names if name in given), None)
        if found is None:
            raise BadExpression(message=f"there is no expression for {server}: it has {', '.join(given)}")
        return _text(found, server)
    if isinstance(given, str):
        return given.strip()
    return _compiled(sa.literal(given) if not isinstance(given, ClauseElement) else given, server)


def _compiled(given: ClauseElement, server: str) -> str:
    dialect = _dialect(server)
    quote = dialect.identifier_preparer.quote_identifier

    def bare(element: Any, **_: Any) -> Any:
        if isinstance(element, ColumnClause) and not element.is_literal:
            return sa.literal_column(quote(element.name), element.type)
        return None

    bound: Any = visitors.replacement_traverse(given, {}, bare)
    try:
        return str(bound.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    except sa.exc.CompileError as error:
        raise BadExpression(message=f"an expression has no text for {server}: {error}") from error


def comparable(name: str, server: str) -> str:
    """Returns a form in which two names of one column, or of one table, are equal.

    Two tables of MySQL whose names differ only in their case count as one.
    """
    return name if server == "postgresql" else name.casefold()


def _dialect(server: str) -> Dialect:
    # With named parameters a percent sign is not doubled.
    url = sa.engine.url.URL.create(_DIALECTS[server])
    make: Any = url.get_dialect()
    dialect: Dialect = make(paramstyle="named")
    return dialect


def _columns(text: str, server: str) -> frozenset[str]:
    from sqlglot import exp

    tree = tree_of(text, server)
    if tree is None or tree.find(exp.Placeholder, exp.Parameter) is not None:
        raise BadExpression(message=f"{text!r} is not one SQL expression that can be read for {server}")
    if tree.find(exp.Query, exp.Subquery) is not None:
        raise BadExpression(message=f"expression {text!r} reads another table; it may read its own row only")
    if tree.find(exp.AggFunc, exp.Window) is not None and not _is_scalar(tree, server):
        raise BadExpression(message=f"expression {text!r} is an aggregate, and a sync has one row")
    found = list(tree.find_all(exp.Column))
    qualified = [column.sql() for column in found if column.table]
    if qualified:
        raise BadExpression(message=f"write {qualified[0]} in {text!r} without its table")
    return frozenset(column.name for column in found)


def _is_scalar(tree: Any, server: str) -> bool:
    """Returns True if each aggregate is MAX or MIN with two arguments, which SQLite calls for one row."""
    from sqlglot import exp

    found = tree.find_all(exp.AggFunc, exp.Window)
    return server == "sqlite" and all(isinstance(one, exp.Max | exp.Min) and one.expressions for one in found)


def _refuse_unrepeatable(text: str, tokens: Sequence[Token], columns: frozenset[str], server: str) -> None:
    unknown = [name for name in calls(tokens, server) if name not in REPEATABLE[server]]
    unknown += [token.text for token in tokens if token.word in TIME_OR_SESSION and token.text not in columns]
    unknown += [token.text for token in tokens if token.sort is Sort.VARIABLE]
    if unknown:
        raise BadExpression(
            message=f"expression {text!r} uses {unknown[0]}, which is not known to return the same value for "
            "the same row each time; only built-in functions of that kind are allowed"
        )
    if _BODY_QUOTE in text or any(token.word == ";" for token in tokens):
        raise BadExpression(message=f"expression {text!r} is more than one expression")


def _parts(
    text: str, tokens: Sequence[Token], columns: frozenset[str], server: str
) -> tuple[str | tuple[str], ...]:
    parts: list[str | tuple[str]] = []
    at = 0
    for number, token in enumerate(tokens):
        after = tokens[number + 1].word if number + 1 < len(tokens) else ""
        before = tokens[number - 1].word if number else ""
        is_column = token.names and token.text in columns
        if not is_column or after in ("(", ".") or before in (".", "AS", ":", "COLLATE"):
            continue
        start = token.end - len(token.written)
        parts += [text[at:start], (_stored(token, server),)]
        at = token.end
    return tuple(part for part in (*parts, text[at:]) if part)


def _stored(token: Token, server: str) -> str:
    """Returns the name as the server stores it."""
    return token.text.lower() if token.sort is Sort.WORD and server in _FOLDS else token.text
