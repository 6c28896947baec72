"""MariaDB from Debian's packages: a single server, and a node of a Galera cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, text

from tests.servers.debian import ensure_packages
from tests.servers.recipe import PASSWORD, USER, Recipe
from tests.servers.system import ServerError, find_program, free_port, give, server_account

COMMON_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--max-connections=200",
    "--character-set-server=utf8mb4",
    "--default-time-zone=SYSTEM",
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-expire-logs-seconds=3600",
    "--max-binlog-size=64M",
    "--log-bin-trust-function-creators=1",
    "--innodb-buffer-pool-size=256M",
)
"""Options shared by MariaDB and MySQL: a realistic binary log."""

_COPY = 'cp -R "$1" "$2" && rm -f "$2/auto.cnf"'
"""Without the file with the UUID of a MySQL server: the copy generates another one."""


def write_accounts(folder: Path, account: str | None) -> Path:
    """Writes statements for the start of the server: the tests' user, and a password for root."""
    statements = (
        "SET SESSION sql_log_bin = 0;",  # a replica has its own
        f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';",
        f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION;",
        f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{PASSWORD}';",
    )
    script = folder / "accounts.sql"
    script.touch(mode=0o600)
    script.write_text("\n".join(statements) + "\n")
    give(script, account)
    return script


def place_options(folder: Path, port: int) -> list[str]:
    """Returns the options for the files and the port of the server."""
    return [
        f"--datadir={folder / 'data'}",
        f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'mysqld.pid'}",
        f"--tmpdir={folder}",
        f"--init-file={folder / 'accounts.sql'}",
        f"--port={port}",
    ]


def ensure_toolkit() -> None:
    """Installs Percona Toolkit, whose pt-online-schema-change the tests of ``--ddl-tool`` run."""
    if find_program("pt-online-schema-change") is None:
        ensure_packages("percona-toolkit")


class MySQLFamily(Recipe):
    """The common part of MariaDB and MySQL."""

    driver = "mysql+pymysql"
    database = "mysql"
    hasty = ("--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync")
    durable: tuple[str, ...] = (
        "--sync-binlog=1",
        "--innodb-flush-log-at-trx-commit=1",
        "--innodb-buffer-pool-size=1G",
    )
    durability = """
        SELECT @@innodb_flush_log_at_trx_commit = 1 AND @@innodb_flush_method <> 'nosync'
            AND (@@sync_binlog = 1 OR NOT @@log_bin)
    """

    def account(self) -> str | None:
        return server_account("mysql")

    def replica_preparation(self, folder: Path, primary: Path) -> list[str]:
        """Returns the command that copies the data of `primary`, which has never run, to `folder`."""
        write_accounts(folder, self.account())
        return ["/bin/sh", "-c", _COPY, "sh", str(primary / "data"), str(folder / "data")]

    def data_directory(self, connection: Connection) -> str:
        return str(connection.execute(text("SELECT @@datadir")).scalar_one())


class MariaDB(MySQLFamily):
    """Debian's MariaDB; only the programs are installed, so no service can start."""

    packages: tuple[str, ...] = ("mariadb-server-core", "mariadb-client-core")
    durable = (*MySQLFamily.durable, "--innodb-log-file-size=1G")

    def obtain(self) -> str:
        if not self._is_here():
            ensure_packages(*self.packages)
        ensure_toolkit()
        return f"MariaDB as {_program('mariadbd')}"

    def preparation(self, folder: Path) -> list[str]:
        write_accounts(folder, self.account())
        command = [str(_program("mariadb-install-db")), "--no-defaults", f"--datadir={folder / 'data'}"]
        command += ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        # Each server empties its folder for temporary tables at its start, even if other servers use it.
        return [*command, f"--tmpdir={folder}", "--innodb-flush-method=nosync"]

    def command(self, folder: Path, port: int) -> list[str]:
        options = (*COMMON_OPTIONS, *place_options(folder, port))
        return [str(_program("mariadbd")), "--no-defaults", *options]

    def _is_here(self) -> bool:
        return all(find_program(name) for name in ("mariadbd", "mariadb-install-db", "my_print_defaults"))


class Galera(MariaDB):
    """A cluster of one node: only its capabilities and status matter, not replication."""

    packages = (*MariaDB.packages, "galera-4")

    def command(self, folder: Path, port: int) -> list[str]:
        single_node = self._membership(free_port(), free_port(), "")
        return [*super().command(folder, port), *single_node, "--wsrep-new-cluster"]

    def _membership(self, listens: int, receives: int, others: str, *more: str) -> list[str]:
        """Returns the options of a node.

        *others*: the addresses that it contacts to join; *more*: options of the provider.
        """
        provider = (
            f"gmcast.listen_addr=tcp://127.0.0.1:{listens}",
            f"ist.recv_addr=127.0.0.1:{receives}",
            "gcache.size=32M",
            "gcache.page_size=32M",
            *more,
        )
        return [
            "--wsrep-on=ON",
            f"--wsrep-provider={_provider()}",
            f"--wsrep-cluster-address=gcomm://{others}",
            "--wsrep-node-address=127.0.0.1",
            f"--wsrep-provider-options={';'.join(provider)}",
            "--innodb-autoinc-lock-mode=2",
        ]

    def is_ready(self, connection: Connection) -> bool:
        row = connection.execute(text("SHOW GLOBAL STATUS LIKE 'wsrep_ready'")).one_or_none()
        return row is not None and row[1] == "ON"

    def _is_here(self) -> bool:
        return super()._is_here() and _find_provider() is not None


class GaleraMember(Galera):
    """A node of a cluster that, according to its saved state, existed before and went down as a whole.

    The nodes therefore form the cluster again as soon as all of them run (`pc.recovery` in Galera). As all of
    them have the same data, no state transfer is needed, which would take seconds and programs that Debian
    has in the package of the service.
    """

    def __init__(self, listens: int, receives: int, other: int) -> None:
        """*listens*, *receives*: its own ports for the cluster; *other*: the port of the other node."""
        self._listens = listens
        self._receives = receives
        self._other = other

    def command(self, folder: Path, port: int) -> list[str]:
        # A slow node on a busy machine must not be evicted.
        patience = ("evs.suspect_timeout=PT30S", "evs.inactive_timeout=PT60S")
        others = f"127.0.0.1:{self._other}"
        membership = self._membership(self._listens, self._receives, others, *patience)
        return [*MariaDB.command(self, folder, port), *membership]

    def write_memory(self, folder: Path, cluster: str, own: str, members: Sequence[str]) -> None:
        """Writes the saved state of a cluster into a node's data; the first of *members* was its leader.

        *cluster*, *own*, *members*: the UUIDs of the data's history, of the node, and of all nodes.
        """
        view = [f"view_id: 3 {members[0]} 1", "bootstrap: 0", *(f"member: {one} 0" for one in members)]
        state = ["# GALERA saved state", "version: 2.1", f"uuid:    {cluster}", "seqno:   0"]
        for name, lines in {
            "grastate.dat": [*state, "safe_to_bootstrap: 0"],
            "gvwstate.dat": [f"my_uuid: {own}", "#vwbeg", *view, "#vwend"],
        }.items():
            path = folder / "data" / name
            path.write_text("\n".join(lines) + "\n")
            give(path, self.account())


def _program(name: str) -> Path:
    found = find_program(name)
    if found is None:
        raise ServerError(f"no {name} found, although its package is installed")
    return found


def _provider() -> Path:
    found = _find_provider()
    if found is None:
        raise ServerError("no libgalera_smm.so found, although its package is installed")
    return found


def _find_provider() -> Path | None:
    return next(Path("/usr/lib").glob("**/libgalera_smm.so"), None)
