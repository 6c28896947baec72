"""A function of the project that reports the services."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from online_migrate import exceptions
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import dialect_of
from online_migrate.service_sources.time_limit import answers_within, no_answer
from online_migrate.services.reported import Reported, ReportedService, UnreadableReport

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

Function = Callable[["Connection"], Iterable[ReportedService]]


class FunctionServices:
    """Calls ``function(connection)``, with a read-only connection of its own to the command's database.

    With the connection that holds a table lock, a COMMIT of the function would release the lock. On any other
    one it would wait for the lock, if it reads such a table; so it is called before the tables are locked.
    """

    version_names: tuple[str, ...] = ()
    tables: frozenset[str] = frozenset()
    before_lock = True

    def __init__(self, name: str, function: Function, timeout: float) -> None:
        """*timeout*: the seconds within which the function has to return."""
        self.name = name
        self.note = f"read by {name}, beside what reports by heartbeat"
        self._function = function
        self._timeout = timeout

    def read(self, connection: Connection) -> Reported:
        """Returns what the function returns. Any error of it is in the result."""
        engine = connection.engine
        found = answers_within(self._timeout, {self.name: lambda: self._call(engine)})
        return found.get(self.name) or self._unreadable(no_answer(self._timeout))

    def _call(self, engine: Engine) -> Reported:
        try:
            with private_connection(engine) as own:
                dialect_of(own).read_only(own)
                with dialect_of(own).statement_timeout(own, self._timeout):
                    return Reported(tuple(self._checked(self._function(own))))
        except exceptions.OnlineMigrateError as error:
            return self._unreadable(str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a function of a user may raise anything
            return self._unreadable(f"{type(error).__name__}: {error}")

    def _checked(self, answer: object) -> list[ReportedService]:
        if not isinstance(answer, Iterable):
            raise TypeError(f"it returned {type(answer).__name__}, not an iterable of ReportedService")
        found = list(answer)
        for one in found:
            if not isinstance(one, ReportedService):
                raise TypeError(f"it returned an item of {type(one).__name__}, not a ReportedService")
        return found

    def _unreadable(self, text: str) -> Reported:
        reason = f"it is unknown which services run, because {self.name} failed: {' '.join(text.split())}"
        hint = "correct the function, then: online-migrate gate"
        return Reported(unreadable=(UnreadableReport("services", reason, hint),))
