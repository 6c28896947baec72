"""What env.py does to its connection, compared with a connection of ours.

Our commands use connections of their own: of workers, of the gate, of the journal. What env.py sets on the
connection that it gives to ``context.configure`` (a search path, a role, another database, a translation of
schemas) does not hold on them. Any such difference is refused, with the way to set it for every connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import create_engine, dialect_of

if TYPE_CHECKING:
    from alembic.runtime.environment import EnvironmentContext

_TRANSLATED = "schema_translate_map"
_DEFAULT_SCHEMA = "default_schema_name"
_EVERY_CONNECTION = "set it for every connection: in the URL, or as a setting of the role or of the database"


class ConnectionWatch:
    """Compares the connection of a probed env.py with one of ours, each time env.py hands it over."""

    def __init__(self, path: str, url: str | None) -> None:
        """*path*: of env.py. *url*: the database that was asked for; None: env.py says which one it is."""
        self._path = path
        self._url = url
        self._connection: Any = None
        self._configured = 0

    def attach(self, environment: EnvironmentContext) -> None:
        """Takes the place of the functions by which env.py reaches a database after ``configure``."""
        environment.run_migrations = self._run_migrations  # type: ignore[method-assign]
        environment.execute = self._execute  # type: ignore[method-assign]
        environment.get_bind = self._bind  # type: ignore[method-assign]

    def configured(self, connection: Any) -> None:
        """env.py called ``context.configure`` with *connection*, or with None."""
        self._configured += 1
        if self._configured > 1:
            raise exceptions.SeveralDatabases(
                path=self._path, reason="calls context.configure(...) more than once, for several databases"
            )
        self._connection = connection
        self._compare()

    def _run_migrations(self, **keywords: Any) -> None:
        if keywords:
            names = ", ".join(f"{name}=..." for name in keywords)
            raise exceptions.SeveralDatabases(
                path=self._path,
                reason=f"calls context.run_migrations({names}), and upgrade() gets no argument from us",
                hint=f"{exceptions.SeveralDatabases.default_hint} and no argument of run_migrations()",
            )
        # Between the two calls env.py may have set something in its transaction.
        self._compare()

    def _execute(self, sql: Any, execution_options: Any = None) -> None:
        raise self._changed(f"context.execute({' '.join(str(sql).split())!r})", _EVERY_CONNECTION)

    def _bind(self) -> Any:
        return self._connection

    def _compare(self) -> None:
        if self._connection is None:
            return
        if not isinstance(self._connection, sa.Connection):
            kind = type(self._connection).__name__
            raise self._changed(f"its connection is a {kind}", "give a sqlalchemy.Connection")
        theirs, ours = settings_of(self._connection), self._ours(self._connection)
        changed = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
        if changed:
            said = [f"{name} is {theirs.get(name)!r}, and not {ours.get(name)!r}" for name in changed]
            raise self._changed("; ".join(said), _way_out(self._connection, changed))

    def _ours(self, theirs: sa.Connection) -> Mapping[str, object]:
        engine = create_engine(self._url or theirs.engine.url.render_as_string(hide_password=False))
        try:
            with private_connection(engine) as connection:
                return settings_of(connection)
        finally:
            engine.dispose()

    def _changed(self, difference: str, hint: str) -> exceptions.ConnectionChanged:
        return exceptions.ConnectionChanged(path=self._path, difference=difference, hint=hint)


def settings_of(connection: sa.Connection) -> Mapping[str, object]:
    """What decides which tables a statement of *connection* means, and which rows it sees."""
    translated = connection.get_execution_options().get(_TRANSLATED) or {}
    in_transaction = connection.in_transaction()
    location = dialect_of(connection).location(connection)
    if not in_transaction:
        connection.rollback()  # env.py may begin one of its own
    return {
        **location,
        _TRANSLATED: {str(key): str(value) for key, value in translated.items()},
        _DEFAULT_SCHEMA: connection.dialect.default_schema_name,
    }


def _way_out(connection: sa.Connection, changed: Sequence[str]) -> str:
    hint = dialect_of(connection).location_hint
    if _TRANSLATED in changed:
        return f"take schema_translate_map out of env.py; {hint}"
    return hint
