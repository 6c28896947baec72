"""In which form MySQL and MariaDB are sent a statement, with LOCK TABLES and without. Pure.

Under the lock a plain SELECT of any other session waits, so only statements that change metadata belong
there; without it only statements that convert no value. The server is the judge of both: the algorithm is
written out, and it refuses what it cannot do that way.

Sources: MySQL 9 Reference Manual, "Online DDL Operations"; MariaDB Knowledge Base, "InnoDB Online DDL".
"""

from __future__ import annotations

from collections.abc import Sequence

from online_migrate.dialects.statement import Kind
from online_migrate.sql.alter import actions
from online_migrate.sql.lexer import Token, readings
from online_migrate.sql.parse import Unreadable
from online_migrate.sql.verdict import Impact

KINDS = {
    Impact.READ: Kind.READ,
    Impact.ROWS: Kind.DATA,
    Impact.DESTRUCTIVE: Kind.LOCKED,
    Impact.ADDITIVE: Kind.OUTSIDE,
    Impact.CONTROL: Kind.CONTROL,
    Impact.REFUSED: Kind.REFUSED,
}
_DROPS_OF_METADATA = frozenset({"INDEX", "KEY", "FOREIGN", "CONSTRAINT", "CHECK"})


def forms_under_lock(statement: str, server: str) -> Sequence[str]:
    """The forms of *statement* to try while its tables are locked, the cheapest first."""
    altered = actions(_tokens(statement, server))
    if not altered or any(_drops_partition(action) for action in altered):
        return [statement]  # dropping a partition takes no ALGORITHM, and copies nothing
    forms = [with_algorithm(statement, server, "INSTANT")]
    if all(_drops_metadata(action) for action in altered):
        forms.append(with_algorithm(statement, server, "INPLACE"))
    if all(_renames(action) for action in altered) and not all(_renames_part(action) for action in altered):
        forms.append(statement)
    return forms


def with_algorithm(statement: str, server: str, algorithm: str) -> str:
    """The ALTER TABLE with an algorithm, which counts more than one that it names itself.

    It follows the last token: behind a comment the server would not see it.
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
