"""Oracle's MySQL, run with its own C library and other libraries."""

from __future__ import annotations

from pathlib import Path

from tests.servers import sid
from tests.servers.mariadb import (
    COMMON_OPTIONS,
    MySQLFamily,
    ensure_toolkit,
    place_options,
    write_accounts,
)
from tests.servers.system import ServerError


class MySQL(MySQLFamily):
    """The newest MySQL in Debian sid."""

    durable = (*MySQLFamily.durable, "--innodb-redo-log-capacity=1G")

    def obtain(self) -> str:
        ensure_toolkit()
        return f"MySQL unpacked in {sid.obtain()}"

    def preparation(self, folder: Path) -> list[str]:
        write_accounts(folder, self.account())
        options = [f"--datadir={folder / 'data'}", f"--tmpdir={folder}", "--innodb-flush-method=nosync"]
        return [*_mysqld(), *options, "--initialize-insecure"]

    def command(self, folder: Path, port: int) -> list[str]:
        return [*_mysqld(), *COMMON_OPTIONS, *place_options(folder, port), "--mysqlx=OFF"]


def _mysqld() -> list[str]:
    """Returns the start of each command: mysqld under its own loader, with all its paths."""
    root = sid.obtain()
    loader = next((root / "usr").glob("lib*/**/ld-linux*.so.*"), None)
    mysqld = root / "usr/sbin/mysqld"
    if loader is None or not mysqld.exists():
        raise ServerError(
            f"{root} has no loader or no {mysqld}; remove that folder, so that it is unpacked anew"
        )
    libraries = sorted({str(path.parent) for path in (root / "usr/lib").glob("*-linux-gnu/libc.so.6")})
    return [
        str(loader),
        "--library-path",
        ":".join(libraries),
        str(mysqld),
        "--no-defaults",
        f"--basedir={root / 'usr'}",
        f"--plugin-dir={root / 'usr/lib/mysql/plugin'}",
        f"--lc-messages-dir={root / 'usr/share/mysql'}",
        f"--character-sets-dir={root / 'usr/share/mysql/charsets'}",
        "--secure-file-priv=NULL",
    ]
