"""The error codes of MySQL and MariaDB."""

from __future__ import annotations

import re
from typing import ClassVar

from online_migrate.dialects.blame import Blame
from online_migrate.dialects.facets.errors import Errors
from online_migrate.driver_errors import driver_error_of, error_message

BEING_CHANGED = 1684
"""Error code: another session is creating, changing or dropping the table of the DESCRIBE."""
NO_SUCH_KEY = 1176
"""Error code: there is no index of that name, or the index is invisible."""
TOO_LARGE = 1153
"""Error code: a packet is larger than max_allowed_packet; the server then closes the connection."""
LOCK_WAIT_TIMEOUT = 1205
"""Error code: the lock was not granted in time; on MariaDB also: it cannot be granted at once (NOWAIT)."""
_SYSTEMIC = frozenset(
    # The disk is full; a table, column, function or privilege is missing; the server or the session is
    # read-only; an operator has killed the statement (1317).
    {3, 1005, 1016, 1021, 1030, 1034, 1044, 1045, 1046, 1052, 1054, 1060, 1064, 1099, 1100}
    | {1109, 1114, 1142, 1143, 1146, 1149, 1193, 1210, 1227, 1235, 1290, 1305, 1317, 1318, 1356, 1370}
    | {NO_SUCH_KEY}
    | {1243, 1295, 1449, 1582, 1598, 1630, 1665, 1792, 1836, 1906, 1907, 3105}
)
_SIZE = frozenset(
    # The packet (2020 is the client's code), a string, the number of placeholders, memory, the lock table.
    {TOO_LARGE, 2020, 1162, 1390, 5, 1037, 1038, 1041, 1206, 1436}
    # The caches of the binary log, the write set of a replication group, the statement timeout.
    | {1197, 1705, 3100, 1969, 3024}
)
_AT_COMMIT = 1180
"""Error code of "Got error NUMBER during COMMIT"; NUMBER is an error of the operating system, or of the
storage engine."""
_COMMIT_CAUSES = {90: Blame.SIZE, 139: Blame.SIZE, 149: Blame.REPEAT, 146: Blame.REPEAT}
"""NUMBER -> cause: 90 is EMSGSIZE for a write set above Galera's limit, 139 a row that is too long, 149 a
deadlock, 146 a lock timeout."""


class MySQLErrors(Errors):
    """Reads the number of an error; MariaDB differs in the code of its statement timeout."""

    lock_timeout_codes: ClassVar[frozenset[object]] = frozenset({LOCK_WAIT_TIMEOUT, 3572})
    statement_timeout_codes: ClassVar[frozenset[object]] = frozenset({3024, 1317})
    # A definition or a row changed since the transaction began; the replication group certified a
    # conflicting transaction (3101).
    conflict_codes: ClassVar[frozenset[object]] = frozenset({1213, BEING_CHANGED, 1020, 1412, 1615, 3101})
    existing_codes: ClassVar[frozenset[object]] = frozenset({1050, 1060, 1061, 1062})
    connection_codes: ClassVar[frozenset[object]] = frozenset(
        {1053, 2002, 2003, 2006, 2013, 2055, 4031, 1040, 1927}
        # The node is not in the cluster; too many sessions; network errors; the packet is too large.
        | {1047, 1203, 1226, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 2014, 2027, TOO_LARGE, 2020}
    )
    missing_codes: ClassVar[frozenset[object]] = frozenset({1049, 1054, 1109, 1146, 1305, 1356})
    size_codes: ClassVar[frozenset[object]] = _SIZE
    migration_codes: ClassVar[frozenset[object]] = _SYSTEMIC
    refused_algorithm_codes: ClassVar[frozenset[object]] = frozenset({1845, 1846, 1221, 4092})
    """The server cannot do the change with the requested ALGORITHM."""

    def code_of(self, error: BaseException) -> object:
        return _number(error)

    def blame(self, error: BaseException) -> Blame:
        if self._code(error) != _AT_COMMIT:
            return super().blame(error)
        # The message contains the number in every language of the server.
        found = re.search(r"\b\d+\b", error_message(error))
        return _COMMIT_CAUSES.get(int(found.group()) if found else 0, Blame.MIGRATION)

    def is_transient(self, error: BaseException) -> bool:
        return super().is_transient(error) or (
            self._code(error) == _AT_COMMIT and self.blame(error) is Blame.REPEAT
        )

    def is_refused_algorithm(self, error: BaseException) -> bool:
        return self._code(error) in self.refused_algorithm_codes


def error_code(error: BaseException) -> int | None:
    """Returns the server's number of an error of the driver or of SQLAlchemy; None: it has none."""
    driver_error = driver_error_of(error)
    return None if driver_error is None else _number(driver_error)


def _number(error: BaseException) -> int | None:
    return error.args[0] if error.args and isinstance(error.args[0], int) else None
