"""pt-online-schema-change of Percona Toolkit; seen with 3.2.1 on MariaDB 10.11 and MySQL 9.7.

It copies the rows with INSERT IGNORE, and keeps the copy in step by triggers. A row that a NOT NULL, a CHECK
or a foreign key refuses ends it with an error, before the tables are exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from online_migrate.ddl.tools.server_access import ServerAccess, option_file
from online_migrate.ddl.tools.tool import Leftovers, Limits
from online_migrate.sql.forms.form import OnlineCopy
from online_migrate.sql.operations.operation import Operation

_LOCKING = ("create_triggers", "swap_tables", "drop_triggers")
"""The operations that wait for a lock on the table."""
_PAUSE = 2
"""Seconds between two attempts: twice as long as an attempt waits in the lock queue by default."""


class PtOnlineSchemaChange:
    """Runs without its configuration files, which may switch off its checks."""

    name = "pt-online-schema-change"
    install = "apt-get install percona-toolkit   (or https://docs.percona.com/percona-toolkit)"

    def refused_options(self, access: ServerAccess) -> Sequence[str]:
        return access.unknown

    def options_file(self, access: ServerAccess) -> str:
        options = {"user": access.user, "password": access.password}
        if access.socket is not None:
            options["socket"] = access.socket
        else:
            # For the client library "localhost" is the socket; for the driver it is a host.
            options |= {"protocol": "tcp", "host": access.host, "port": str(access.port)}
        options |= access.tls
        if access.verify:
            options["ssl-verify-server-cert"] = "1"
        return option_file(options)

    def command(
        self, program: str, copy: OnlineCopy, access: ServerAccess, limits: Limits, options_file: Path
    ) -> list[str]:
        seconds = limits.lock_seconds
        variables = {
            # A TIMESTAMP of the hour that a zone repeats would be two rows of one key.
            "time_zone": "'+00:00'",
            "sql_mode": "'{}'".format(limits.sql_mode.replace(",", "\\,")),
            "lock_wait_timeout": str(seconds),
            "innodb_lock_wait_timeout": str(seconds),
        }
        pause = max(_PAUSE, 2 * seconds)
        tries = ",".join(f"{operation}:{limits.lock_attempts}:{pause}" for operation in _LOCKING)
        words = [program, "--config", "/dev/null", "--defaults-file", str(options_file), "--charset=utf8mb4"]
        words += ["--no-version-check", "--progress=time,10", f"--tries={tries}"]
        words += ["--set-vars", ",".join(f"{name}={value}" for name, value in variables.items())]
        words += _throttles(limits)
        return [*words, "--alter", copy.alter, "--execute", f"D={_part(copy.schema)},t={_part(copy.table)}"]

    def leftovers(self, table: str) -> Leftovers:
        tables = (f"_{table}_new", f"__{table}_new", f"_{table}_old", f"__{table}_old")
        return Leftovers(tables, "pt_osc_", "/*pt-online-schema-change")

    def objections(self, operations: Sequence[Operation]) -> Iterator[str]:
        return iter(())


def _part(name: str) -> str:
    """Returns a name as a part of a DSN."""
    return name.replace(",", "\\,")


def _throttles(limits: Limits) -> Iterator[str]:
    if limits.max_load is not None:
        yield f"--max-load={limits.max_load}"
    if limits.critical_load is not None:
        yield f"--critical-load={limits.critical_load}"
    if not limits.shows_replicas:
        # It asks SHOW SLAVE HOSTS, which MySQL has no more since 8.4.
        yield "--recursion-method=none"
    elif limits.max_lag:
        yield f"--max-lag={max(1, round(limits.max_lag))}"
