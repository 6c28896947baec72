"""Debian's PgBouncer in front of a PostgreSQL server of the tests.

with pooled(database.url, tmp_path, mode="transaction") as url:
    ...  # the same database, through the pooler
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, make_url

from tests.servers import launch
from tests.servers.debian import ensure_packages
from tests.servers.recipe import PASSWORD, USER, Recipe
from tests.servers.system import ServerError, find_program, give, server_account

Mode = Literal["session", "transaction"]


class PgBouncer(Recipe):
    """One pooler; its folder holds its settings instead of data."""

    driver = "postgresql+psycopg2"
    database = "postgres"
    hasty = ()
    durable = ()

    def __init__(self, host: str, port: int, mode: Mode, folder: Path) -> None:
        """*host*, *port*: the PostgreSQL server; *folder*: the folder of the pooler."""
        self._server = f"host={host} port={port}"
        self._mode = mode
        self._folder = folder

    def obtain(self) -> str:
        if find_program("pgbouncer") is None:
            ensure_packages("pgbouncer")
        return f"PgBouncer as {_program()}"

    def account(self) -> str | None:
        return server_account("postgres")

    def preparation(self, folder: Path) -> list[str]:
        users = folder / "users"
        users.touch(mode=0o600)
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        give(users, self.account())
        return ["mkdir", str(folder / "data")]

    def command(self, folder: Path, port: int) -> list[str]:
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            "\n".join(
                [
                    "[databases]",
                    f"* = {self._server}",
                    "[pgbouncer]",
                    "listen_addr = 127.0.0.1",
                    f"listen_port = {port}",
                    "unix_socket_dir =",
                    "auth_type = scram-sha-256",
                    f"auth_file = {folder / 'users'}",
                    f"pool_mode = {self._mode}",
                    "default_pool_size = 20",
                    "logfile =",
                    "pidfile =",
                    "",
                ]
            )
        )
        give(settings, self.account())
        return [str(_program()), str(settings)]

    def data_directory(self, connection: Connection) -> str:
        # The answer on its port is PostgreSQL's own data directory; the port was free a moment ago.
        return str(self._folder / "data")


@contextlib.contextmanager
def pooled(url: str, logs: Path, mode: Mode) -> Iterator[str]:
    """Yields the URL of the database of *url* through a new pooler in front of its server."""
    direct = make_url(url)
    with launch.guarded(logs) as base:
        folder = base / "pgbouncer"
        recipe = PgBouncer(str(direct.host), int(direct.port or 5432), mode, folder)
        recipe.obtain()
        launch.new_folder(recipe, folder)
        launch.prepare(recipe, folder, recipe.preparation(folder))
        port = make_url(launch.serve(recipe, folder, ())).port
        yield direct.set(port=port).render_as_string(hide_password=False)


def _program() -> Path:
    found = find_program("pgbouncer")
    if found is None:
        raise ServerError("no pgbouncer found, although its package is installed")
    return found
