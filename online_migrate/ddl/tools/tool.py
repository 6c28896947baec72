"""What a tool must answer. A tool is a file of this package; :data:`~.registry.TOOLS` lists them. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from online_migrate.ddl.tools.server_access import ServerAccess
from online_migrate.sql.forms.form import OnlineCopy
from online_migrate.sql.operations.operation import Operation


@dataclasses.dataclass(frozen=True)
class Limits:
    """How a tool treats other sessions.

    *lock_timeout*, *lock_attempts*, *max_load*, *critical_load*, *max_lag*: see
    :class:`~online_migrate.config.Settings`; None: the tool has its own limit. *sql_mode*: that of the
    session of the revision. *shows_replicas*: the server has the commands by which a tool finds replicas.
    """

    lock_timeout: float
    lock_attempts: int
    sql_mode: str = ""
    shows_replicas: bool = False
    max_load: str | None = None
    critical_load: str | None = None
    max_lag: float | None = None

    @property
    def lock_seconds(self) -> int:
        """The lock timeout in whole seconds, at least one: the servers have no smaller unit."""
        return max(1, math.ceil(self.lock_timeout))


@dataclasses.dataclass(frozen=True)
class Leftovers:
    """What a tool leaves behind when it is killed.

    *tables*: the names of its tables. *triggers*: the beginning of the names of its triggers; empty: it
    creates none. *mark*: a text in its statements.
    """

    tables: tuple[str, ...]
    triggers: str
    mark: str


class Tool(Protocol):
    """A tool for online changes of a table."""

    name: str
    """The name of its program."""
    install: str
    """How to install it."""

    def refused_options(self, access: ServerAccess) -> Sequence[str]:
        """Returns the options of the URL that the tool cannot follow."""

    def command(
        self, program: str, copy: OnlineCopy, access: ServerAccess, limits: Limits, options_file: Path
    ) -> list[str]:
        """Returns the command line. The credentials are in *options_file*."""

    def options_file(self, access: ServerAccess) -> str:
        """Returns the content of the file with the credentials."""

    def leftovers(self, table: str) -> Leftovers:
        """Returns what the tool leaves behind for *table* when it is killed."""

    def objections(self, operations: Sequence[Operation]) -> Iterator[str]:
        """Yields why the tool does not execute these changes, beyond what no tool does."""
