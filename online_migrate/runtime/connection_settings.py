"""Compares the settings of env.py's connection with those of a connection of the engine.

The commands open their own connections: for the workers, the gate and the journal. Settings that env.py makes
on the connection that it passes to ``context.configure`` (a search path, a role, another database, a
``schema_translate_map``) do not apply to those. Any such difference is refused, with a hint how to set it for
every connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from online_migrate import exceptions
from online_migrate.ddl.session import private_connection
from online_migrate.dialects import create_engine, dialect_of, full_url

if TYPE_CHECKING:
    from alembic.runtime.environment import EnvironmentContext

_TRANSLATED = "schema_translate_map"
_DEFAULT_SCHEMA = "default_schema_name"
_EVERY_CONNECTION = "set it for every connection: in the URL, or as a setting of the role or of the database"


class ConnectionWatch:
    """Compares the connection of a probed env.py with a new one, each time env.py passes it to Alembic."""

    def __init__(self, path: str, url: str | None, *, pooler: str | None) -> None:
        """*path*: the path of env.py. *url*: the requested database; None: env.py decides which one it is.

        *pooler*: see :func:`~online_migrate.dialects.create_engine`.
        """
        self._path = path
        self._url = url
        self._pooler = pooler
        self._connection: Any = None
        self._configured = 0

    def attach(self, environment: EnvironmentContext) -> None:
        """Replaces the functions by which env.py uses a database after ``configure``."""
        environment.run_migrations = self._run_migrations  # type: ignore[method-assign]
        environment.execute = self._execute  # type: ignore[method-assign]
        environment.get_bind = self._bind  # type: ignore[method-assign]

    def configured(self, connection: Any) -> None:
        """Is called when env.py calls ``context.configure`` with *connection*, or with None.

        Raises :class:`~online_migrate.exceptions.SeveralDatabases` for the second call, and
        :class:`~online_migrate.exceptions.ConnectionChanged` for a connection with other settings.
        """
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
                reason=f"calls context.run_migrations({names}), "
                "but online-migrate passes no argument to upgrade()",
                hint=f"{exceptions.SeveralDatabases.default_hint} and passes no argument to run_migrations()",
            )
        # env.py may have changed a setting in its transaction since configure().
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
            raise self._changed(f"its connection is a {kind}", "pass a sqlalchemy.Connection")
        theirs, ours = settings_of(self._connection), self._ours(self._connection)
        changed = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
        if changed:
            said = [f"{name} is {theirs.get(name)!r}, not {ours.get(name)!r}" for name in changed]
            raise self._changed("; ".join(said), _way_out(self._connection, changed))

    def _ours(self, theirs: sa.Connection) -> Mapping[str, object]:
        url = self._url or full_url(theirs.engine.url)
        engine = create_engine(url, pooler=self._pooler)
        try:
            with private_connection(engine) as connection:
                return settings_of(connection)
        finally:
            engine.dispose()

    def _changed(self, difference: str, hint: str) -> exceptions.ConnectionChanged:
        return exceptions.ConnectionChanged(path=self._path, difference=difference, hint=hint)


def settings_of(connection: sa.Connection) -> Mapping[str, object]:
    """Returns the settings that decide which tables a statement refers to, and which rows are visible."""
    translated = connection.get_execution_options().get(_TRANSLATED) or {}
    in_transaction = connection.in_transaction()
    location = dialect_of(connection).location(connection)
    if not in_transaction:
        connection.rollback()  # env.py may begin its own transaction
    return {
        **location,
        _TRANSLATED: {str(key): str(value) for key, value in translated.items()},
        _DEFAULT_SCHEMA: connection.dialect.default_schema_name,
    }


def _way_out(connection: sa.Connection, changed: Sequence[str]) -> str:
    hint = dialect_of(connection).location_hint
    if _TRANSLATED in changed:
        return f"remove schema_translate_map from env.py; {hint}"
    return hint
