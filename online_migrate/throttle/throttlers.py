"""The interface of throttlers, and those that the operator can configure. No chunk starts while one waits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

from online_migrate.dialects import dialect_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class Throttler(Protocol):
    """One reason to wait."""

    @property
    def name(self) -> str:
        """Shown in front of the reason."""

    def sample(self, connection: Connection) -> str | None:
        """Returns why no chunk may start now; None: one may. An exception counts as a reason to wait."""


class Throttle(Protocol):
    """Is asked for a reason to wait before every chunk."""

    def reason(self) -> str | None:
        """Returns why no chunk may start, with the throttler's name in front; None: one may."""


class NoThrottle:
    """Never has a reason to wait."""

    def reason(self) -> str | None:
        return None


class AnyThrottle:
    """Waits while any of several throttles has a reason. *gates*: the throttles, in the order of checks."""

    def __init__(self, throttles: Sequence[Throttle]) -> None:
        self._throttles = tuple(throttles)

    def reason(self) -> str | None:
        return next((reason for gate in self._throttles if (reason := gate.reason()) is not None), None)


# --- throttlers that the operator configures -----------------------------------------------------


@dataclasses.dataclass(frozen=True)
class File:
    """Waits while a file exists; ``touch`` and ``rm`` are the quickest way to pause and to resume."""

    path: Path
    name: str = "file"

    def sample(self, connection: Connection) -> str | None:
        return f"{self.path} exists" if self.path.exists() else None


@dataclasses.dataclass(frozen=True)
class Query:
    """Waits while the first value that a query returns is true: a number other than 0, a non-empty text."""

    sql: str
    name: str = "query"

    def sample(self, connection: Connection) -> str | None:
        value = connection.scalar(sa.text(self.sql.replace(":", r"\:")))
        return f"returned {value}" if value else None


@dataclasses.dataclass(frozen=True)
class Load:
    """Waits while a counter of the server is above its limit.

    *limits*: ``Threads_running`` and any other name of SHOW GLOBAL STATUS; on PostgreSQL
    ``active_backends``, ``waiting_backends``, ``idle_in_transaction`` or ``dead_tuples``; on MySQL and
    MariaDB ``history_list_length`` as well.
    """

    limits: Mapping[str, float]
    name: str = "load"

    def sample(self, connection: Connection) -> str | None:
        found = dialect_of(connection).load(connection, sorted(self.limits))
        for counter, limit in self.limits.items():
            if counter not in found:
                raise LookupError(f"this server has no counter {counter!r}")
            if found[counter] > limit:
                return f"{counter}={found[counter]:g} (limit: {limit:g})"
        return None


@dataclasses.dataclass(frozen=True)
class Callback:
    """Waits while a function returns True, or a text with the reason."""

    function: Callable[[], object]
    name: str = "callable"

    def sample(self, connection: Connection) -> str | None:
        answer = self.function()
        if not answer:
            return None
        return answer if isinstance(answer, str) else "returned True"
