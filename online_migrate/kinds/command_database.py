"""The database of a command, for functions that connect by themselves."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from online_migrate.engine_options import EngineOptions

if TYPE_CHECKING:
    from oslo_config import cfg
    from sqlalchemy import URL
    from sqlalchemy.engine import Engine


class CommandDatabase:
    """The database of a command: its URL, an engine for it, a configuration that names it.

    The engine is one of oslo.db, as the application would create it. It is closed at the end of the run.
    """

    def __init__(self, url: URL, options: EngineOptions | None = None) -> None:
        self._url = url
        self._options = options or EngineOptions()
        self._stack = contextlib.ExitStack()
        self.others_allowed = False
        """True: the function may connect to other databases as well."""

    @property
    def url(self) -> str:
        """The URL with the password."""
        return self._url.render_as_string(hide_password=False)

    @functools.cached_property
    def engine(self) -> Engine:
        """An engine with the session settings of the application, not with those of online-migrate."""
        from oslo_db.sqlalchemy import engines

        engine: Engine = engines.create_engine(
            self._url, max_retries=0, connection_debug=-1, **self._arguments()
        )
        self.at_end(engine.dispose)
        return engine

    def configuration(self, group: str = "database") -> cfg.ConfigOpts:
        """Returns a configuration of oslo.config in which *group* names the database."""
        from oslo_config import cfg
        from oslo_db import options

        conf = cfg.ConfigOpts()
        conf(args=[], default_config_files=[])
        conf.register_opts(options.database_opts, group)
        for name, value in {"connection": self.url, **self._arguments()}.items():
            conf.set_override(name, value, group)
        return conf

    def patch(self, manager: Any = None) -> None:
        """Makes *manager*, a transaction context of enginefacade, use the database until the end.

        By default the global one, which a project uses that has no transaction context of its own.
        """
        from oslo_db.sqlalchemy import enginefacade

        manager = manager or enginefacade._context_manager  # oslo.db has no public name for it
        own = enginefacade.transaction_context()
        own.configure(connection=self.url, max_retries=0, connection_debug=-1, **self._arguments())
        self.at_end(own.dispose_pool)
        self.at_end(manager.patch_factory(own))

    def at_end(self, function: Callable[[], Any]) -> None:
        """Calls *function* at the end of the run."""
        self._stack.callback(function)

    def close(self) -> None:
        """Calls the functions of :meth:`at_end`, the last one first."""
        self._stack.close()

    def _arguments(self) -> dict[str, Any]:
        """Returns the options of the sessions and of the pool, under the names that oslo.db has for them."""
        given = {
            **self._options.pool,
            "sqlite_synchronous": self._options.sqlite_synchronous,
            "mysql_sql_mode": self._options.mysql_sql_mode,
            "mysql_wsrep_sync_wait": self._options.mysql_wsrep_sync_wait,
        }
        return {name: value for name, value in given.items() if value is not None}
