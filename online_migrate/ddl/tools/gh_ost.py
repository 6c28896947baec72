"""gh-ost. Its command line follows its documentation (1.1.7); no test has run the program.

It copies the rows with INSERT IGNORE, and reads the changes of other sessions from the binary log. A row that
a NOT NULL or a CHECK refuses is changed or left out, so such changes are not given to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from online_migrate.ddl.tools.server_access import ServerAccess, option_file
from online_migrate.ddl.tools.tool import Leftovers, Limits
from online_migrate.sql.forms.form import OnlineCopy
from online_migrate.sql.operations.operation import AddConstraint, Operation, RedefineColumn
from online_migrate.sql.operations.parts import ConstraintKind

_FILES = ("ssl-ca", "ssl-cert", "ssl-key")


class GhOst:
    """Connects to the server of the URL, as its primary; for MySQL."""

    name = "gh-ost"
    install = "https://github.com/github/gh-ost/releases"

    def refused_options(self, access: ServerAccess) -> Sequence[str]:
        refused = [name.replace("-", "_") for name in access.tls if name not in _FILES]
        if access.socket is not None:
            refused.append("unix_socket")
        return sorted([*access.unknown, *refused])

    def options_file(self, access: ServerAccess) -> str:
        return option_file({"user": access.user, "password": access.password})

    def command(
        self, program: str, copy: OnlineCopy, access: ServerAccess, limits: Limits, options_file: Path
    ) -> list[str]:
        words = [program, f"--conf={options_file}", f"--host={access.host}", f"--port={access.port}"]
        words += ["--allow-on-master", "--charset=utf8mb4", "--ok-to-drop-table"]
        words += [f"--cut-over-lock-timeout-seconds={limits.lock_seconds}"]
        words += [f"--default-retries={limits.lock_attempts}", *_tls(access), *_throttles(limits)]
        words += [f"--database={copy.schema}", f"--table={copy.table}", f"--alter={copy.alter}"]
        return [*words, "--execute"]

    def leftovers(self, table: str) -> Leftovers:
        return Leftovers((f"_{table}_gho", f"_{table}_ghc", f"_{table}_del"), "", "/* gh-ost */")

    def objections(self, operations: Sequence[Operation]) -> Iterator[str]:
        for operation in operations:
            match operation:
                case AddConstraint(constraint=constraint) if constraint.kind is ConstraintKind.FOREIGN_KEY:
                    yield "gh-ost adds no foreign key"
                case AddConstraint(constraint=constraint) if constraint.kind is ConstraintKind.CHECK:
                    yield "gh-ost would leave out the rows that a new CHECK refuses"
                case RedefineColumn(column=column) if not column.nullable:
                    yield f"gh-ost would replace the NULL values of {column.name} in a column with NOT NULL"


def _tls(access: ServerAccess) -> Iterator[str]:
    if not access.tls:
        return
    yield "--ssl"
    for name, value in access.tls.items():
        yield f"--{name}={value}"
    if not access.verify:
        yield "--ssl-allow-insecure"


def _throttles(limits: Limits) -> Iterator[str]:
    if limits.max_load is not None:
        yield f"--max-load={limits.max_load}"
    if limits.critical_load is not None:
        yield f"--critical-load={limits.critical_load}"
    if limits.max_lag:
        yield f"--max-lag-millis={round(limits.max_lag * 1000)}"
