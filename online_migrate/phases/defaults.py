"""Whether a default suits old code, and whether the server adds it without touching the rows. Pure.

Old code executes the default in its own INSERT. A function of the user may raise an error there, or the
role of old code may lack the privilege (nextval needs USAGE of the sequence).

Rewrites, seen on the servers: PostgreSQL stores a default that is not volatile in the catalog, also ``now()``
and ``1+1``, and rewrites the table for gen_random_uuid(). MySQL adds a literal and CURRENT_TIMESTAMP at once
and copies the table for every expression in parentheses, so for every default of a JSON, TEXT or BLOB column.
MariaDB adds an expression at once unless it calls a function such as uuid().
"""

from __future__ import annotations

from online_migrate.phases.expressions import names_columns
from online_migrate.phases.given import Given
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.verdict import Verdict
from online_migrate.sql.classification.harmless_functions import HARMLESS
from online_migrate.sql.operations.parts import Column, Expression, Value

_STABLE = """
    now current_timestamp current_date current_time localtime localtimestamp transaction_timestamp
    statement_timestamp timezone current_user session_user current_database current_schema lower upper
    concat to_char date_trunc make_interval make_date md5 array cast coalesce jsonb_build_object
    jsonb_build_array json_build_object json_build_array to_jsonb to_json date
"""
_WITHOUT_REWRITE: dict[str, frozenset[str]] = {
    "postgresql": frozenset(_STABLE.split()),
    "mysql": frozenset(),
    "mariadb": frozenset(
        ["now", "current_timestamp", "concat", "lower", "upper", "json_array", "json_object", "cast"]
    ),
    "sqlite": frozenset(),
}
"""The functions of a default for which the server does not rewrite the table."""

_EXPRESSION_ONLY = frozenset(
    [
        "json",
        "text",
        "tinytext",
        "mediumtext",
        "longtext",
        "blob",
        "tinyblob",
        "mediumblob",
        "longblob",
        "geometry",
    ]
)
"""MySQL: types whose default can only be an expression."""


def default_unfit_for_old_code(subject: str, default: Expression | None, given: Given) -> Verdict | None:
    """Returns a verdict if the INSERT of old code may fail in the default of a new column."""
    if default is None or default.form is not Value.EXPRESSION:
        return None
    unknown = [call for call in default.calls if call.upper() not in HARMLESS[given.product]]
    if not unknown and not names_columns(default, given.product):
        return None
    return apply_rule(
        "default-calls-function",
        subject,
        f"An INSERT of old code executes {', '.join(unknown) or default.text}, and fails if that raises an"
        " error or old code has no privilege for it.",
        "Use a literal, or no default: new code writes the value, and a data migration fills the old rows.",
    )


def default_that_may_raise(subject: str, default: Expression | None) -> Verdict:
    """Returns the verdict on a default that the server evaluates for the first time in an INSERT."""
    return apply_rule(
        "default-calls-function",
        subject,
        f"An INSERT of old code fails if {'' if default is None else default.text} raises an error.",
        "Use a literal, or no default: new code writes the value, and a data migration fills the old rows.",
    )


def default_that_rewrites(subject: str, column: Column, given: Given) -> Verdict | None:
    """Returns a verdict if the server touches every row to add a column with its default."""
    if column.default is None or _is_added_at_once(column, column.default, given.product):
        return None
    return apply_rule(
        "add-column-rewrite",
        subject,
        "The server rewrites the whole table for this default; reads or writes of old code wait meanwhile.",
        f"Add the column without a default, then ALTER COLUMN {column.name} SET DEFAULT in a statement of its"
        " own, and fill the old rows by a data migration.",
    )


def _is_added_at_once(column: Column, default: Expression, product: str) -> bool:
    if default.form is Value.NULL:
        return True
    in_parentheses = column.type is not None and column.type.name in _EXPRESSION_ONLY
    if product == "mysql" and in_parentheses:
        return False
    if default.form is Value.NOW and product == "mysql":
        plain = column.type is not None and column.type.name in ("timestamp", "datetime")
        return plain and not default.text.startswith("(")
    if default.form is not Value.EXPRESSION:
        return True
    return product in ("postgresql", "mariadb") and _WITHOUT_REWRITE[product].issuperset(default.calls)


def same_default(old: Expression | None, new: Expression | None) -> bool:
    """Returns True if two defaults are the same; no default and DEFAULT NULL are."""
    first, second = (None if e is None or e.form is Value.NULL else e for e in (old, new))
    return first == second
