"""The forms in which a statement is sent to MySQL and MariaDB, with LOCK TABLES and without.

Under the lock a plain SELECT of any other session waits, so only statements that change nothing but metadata
run under it. Without the lock only statements that convert no value run. The server checks both: the
statement names the algorithm, and the server refuses a change that the algorithm cannot do.

Sources: MySQL 9 Reference Manual, "Online DDL Operations"; MariaDB Knowledge Base, "InnoDB Online DDL".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects.facets.statements import Statements
from online_migrate.dialects.mysql_checks import TRANSACTIONAL
from online_migrate.dialects.problem import Problem
from online_migrate.sql.classification.alter_table import read_alter_table
from online_migrate.sql.classification.verdict import Impact
from online_migrate.sql.lexer import Token, readings
from online_migrate.sql.parse import Unreadable
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
_DROPS_OF_METADATA = frozenset({"INDEX", "KEY", "FOREIGN", "CONSTRAINT", "CHECK"})


def forms_under_lock(statement: str, server: str) -> Sequence[str]:
    """Returns the forms of *statement* to try while its tables are locked, the cheapest first.

    *server*: the name of the dialect, ``mysql`` or ``mariadb``.
    """
    altered = read_alter_table(_tokens(statement, server), server)
    if altered is None or any(_drops_partition(action) for action in altered.actions):
        return [statement]  # DROP PARTITION accepts no ALGORITHM, and copies nothing
    forms = [with_algorithm(statement, server, "INSTANT")]
    if all(_drops_metadata(action) for action in altered.actions):
        forms.append(with_algorithm(statement, server, "INPLACE"))
    if all(map(_renames, altered.actions)) and not all(map(_renames_part, altered.actions)):
        forms.append(statement)
    return forms


def with_algorithm(statement: str, server: str, algorithm: str) -> str:
    """Returns the ALTER TABLE with an ALGORITHM clause, which overrides one that the statement names itself.

    The clause is inserted after the last token: after a trailing comment the server would not read it.
    """
    tokens = [token for token in _tokens(statement, server) if token.word != ";"]
    end = tokens[-1].end if tokens else len(statement)
    return f"{statement[:end]}, ALGORITHM={algorithm}"


def _tokens(statement: str, server: str) -> Sequence[Token]:
    try:
        return readings(statement, server)[0]
    except Unreadable:
        return ()


def _drops_metadata(action: Sequence[Token]) -> bool:
    return len(action) > 1 and action[0].word == "DROP" and action[1].word in _DROPS_OF_METADATA


def _drops_partition(action: Sequence[Token]) -> bool:
    return [token.word for token in action[:2]] == ["DROP", "PARTITION"]


def _renames(action: Sequence[Token]) -> bool:
    return bool(action) and action[0].word == "RENAME"


def _renames_part(action: Sequence[Token]) -> bool:
    return _renames(action) and len(action) > 1 and action[1].word in ("COLUMN", "INDEX", "KEY")


class MySQLStatements(Statements):
    """Names the algorithm in each ALTER TABLE, so that the server refuses one that blocks readers."""

    def kind(self, statement: str, *, autocommit: bool) -> Kind:
        return _KINDS[self.classify(statement).impact]

    def metadata_only_forms(self, statement: str) -> Sequence[str]:
        return forms_under_lock(statement, self.name)

    def forms_outside_lock(self, statement: str) -> Sequence[str]:
        in_place = self.classify(statement).in_place
        return [with_algorithm(statement, self.name, "INPLACE")] if in_place else [statement]

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
