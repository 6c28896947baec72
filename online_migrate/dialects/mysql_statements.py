"""The forms in which a statement is sent to MySQL and MariaDB, with LOCK TABLES and without.

Under the lock a plain SELECT of any other session waits, so only statements that change nothing but metadata
run under it. Without the lock a statement runs only in a form that lets readers and writers continue, unless
its table is small. The server checks both: the statement names the algorithm, and the server refuses a change
that the algorithm cannot do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.facets.statements import Statements
from online_migrate.dialects.mysql_checks import TRANSACTIONAL
from online_migrate.dialects.mysql_errors import error_code
from online_migrate.dialects.problem import Problem
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.sql.classification.verdict import Impact
from online_migrate.sql.forms.form import Form
from online_migrate.sql.forms.mysql import change_of, copy_of, forms_under_lock, refusal_of
from online_migrate.sql.statement import Kind, first_word, identifiers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_ENGINES = """
    SELECT DISTINCT engine FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND table_name IN :names
"""
_KINDS = {
    Impact.READ: Kind.READ,
    Impact.ROWS: Kind.DATA,
    Impact.DESTRUCTIVE: Kind.LOCKED,
    Impact.ADDITIVE: Kind.UNLOCKED,
    Impact.CONTROL: Kind.CONTROL,
    Impact.REFUSED: Kind.REFUSED,
}
_SMALL = 1000
"""The number of rows up to which a table may be copied while its writers wait: it takes some milliseconds."""
_NO_TABLE = 1146


class MySQLStatements(Statements):
    """Names the algorithm in each ALTER TABLE, so that the server refuses one that blocks others."""

    def kind(self, statement: str, *, autocommit: bool) -> Kind:
        return _KINDS[self.classify(statement).impact]

    def metadata_only_forms(self, statement: str) -> Sequence[str]:
        return forms_under_lock(statement, self.name)

    def safe_form(self, connection: Connection, statement: str, *, may_convert: bool) -> Form:
        change = change_of(statement, self.name)
        if change is None:
            return Form((statement,))
        converts = self.classify(statement).in_place and not may_convert
        if not converts and _is_small(connection, change.table):
            return Form(tuple(dict.fromkeys((*change.online, statement))))
        # What loses values is refused as before, by the reason of the contract branch.
        database = connection.engine.url.database or ""
        refusal = None if converts else refusal_of(change, statement, self.name, database)
        return Form(change.online, refusal=refusal, copy=copy_of(change, statement, self.name, database))

    def no_form(self, statement: str) -> Problem:
        if not self.classify(statement).in_place:
            return super().no_form(statement)
        return Problem(
            reason="the server must convert values for it, which may lose data",
            hint="add a column of the new type in an expand revision and fill it with a data migration; or, "
            "if no value can be lost, move it into a contract revision after this one, with requires = ()",
        )

    def widening(self, table: str, column: str) -> str:
        return f"ALTER TABLE {table} MODIFY {column} VARCHAR(255) NOT NULL"

    def commits_by_itself(self, connection: Connection, statement: str) -> bool:
        if self.classify(statement).impact is not Impact.ROWS:
            return False
        engines = sa.text(_ENGINES).bindparams(sa.bindparam("names", expanding=True))
        names = {"names": identifiers(statement, self.name)}
        used = {str(engine).upper() for engine in connection.scalars(engines, names)}
        return first_word(statement, self.name) == "TRUNCATE" or not used <= TRANSACTIONAL


def _is_small(connection: Connection, table: Sequence[str]) -> bool:
    """Returns True for a table with few rows, and for one that other sessions do not see yet."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    name = ".".join(quote(part) for part in table)
    query = f"SELECT COUNT(*) FROM (SELECT 1 FROM {name} LIMIT {_SMALL + 1}) AS few"
    try:
        return int(connection.exec_driver_sql(query).scalar() or 0) <= _SMALL
    except DATABASE_ERRORS as error:
        return error_code(error) == _NO_TABLE
