"""The forms in which a statement is sent to MySQL and MariaDB, with LOCK TABLES and without. Pure.

Under the lock a plain SELECT of any other session waits, so only statements that change nothing but metadata
run under it. Without the lock only statements that convert no value run. The server checks both: the
statement names the algorithm, and the server refuses a change that the algorithm cannot do.

Sources: MySQL 9 Reference Manual, "Online DDL Operations"; MariaDB Knowledge Base, "InnoDB Online DDL".
"""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.sql.classification.alter_table import actions
from online_migrate.sql.classification.verdict import Impact
from online_migrate.sql.lexer import Token, readings
from online_migrate.sql.parse import Unreadable
from online_migrate.sql.statement import Kind

KINDS = {
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
    altered = actions(_tokens(statement, server))
    if not altered or any(_drops_partition(action) for action in altered):
        return [statement]  # DROP PARTITION accepts no ALGORITHM, and copies nothing
    forms = [with_algorithm(statement, server, "INSTANT")]
    if all(_drops_metadata(action) for action in altered):
        forms.append(with_algorithm(statement, server, "INPLACE"))
    if all(_renames(action) for action in altered) and not all(_renames_part(action) for action in altered):
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
