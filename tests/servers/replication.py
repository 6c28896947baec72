"""A private primary and its replica.

    with replicated("mariadb", tmp_path) as pair, pair.primary.fresh_database(tmp_path) as database:
        pair.pause_replay()
        ...  # writes to the database are not applied at pair.replica_url_of(database.name)
        pair.resume_replay()

A pair takes seconds to start, so the tests of a module share one.
"""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from tests.servers import launch
from tests.servers.access import Server, administration, examine
from tests.servers.mariadb import MariaDB, MySQLFamily
from tests.servers.mysql import MySQL
from tests.servers.postgresql import PostgreSQL
from tests.servers.recipe import PASSWORD, USER, Recipe
from tests.servers.system import ServerError

REPLICA_NAME = "om_test_replica"
"""The `application_name` of the replica in PostgreSQL."""

_PATIENCE = 60.0
_PAUSE = 0.02
_SMALL = 32  # MB of memory for the data: there may be many pairs


class Pair(ABC):
    """A primary, and a replica that applies its changes."""

    recipe: ClassVar[Recipe]

    def __init__(self, primary: Server, replica_url: str) -> None:
        self.primary = primary
        self.replica_url = replica_url

    def replica_url_of(self, database_name: str) -> str:
        """Returns the URL on the replica of a database of the primary, password included."""
        url = make_url(self.replica_url).set(database=database_name)
        return url.render_as_string(hide_password=False)

    def shows(self, database_name: str, query: str) -> bool:
        """Returns whether a query finds a row on the replica now.

        False if the table is not replicated yet.
        """
        engine = create_engine(self.replica_url_of(database_name), poolclass=NullPool)
        try:
            with engine.connect() as connection:
                return connection.execute(text(query)).first() is not None
        except DBAPIError:
            return False

    @classmethod
    @abstractmethod
    def serve(cls, primary: Path, replica: Path) -> tuple[str, str]:
        """Starts a primary with the data of its folder, and a replica in a folder; returns their URLs."""

    @abstractmethod
    def pause_replay(self) -> None:
        """Pauses replay: the replica receives further changes, and does not apply them."""

    @abstractmethod
    def resume_replay(self) -> None:
        """Resumes replay: the replica applies the received changes, and continues."""

    @abstractmethod
    def delay(self, seconds: float) -> None:
        """Makes the replica apply changes only when they are *seconds* old; 0 removes the delay.

        A server that counts in whole seconds uses the next number that guarantees the delay.
        """

    def _execute_on_replica(self, *statements: str) -> None:
        with administration(self.replica_url) as connection:
            for statement in statements:
                connection.execute(text(statement))


class PostgreSQLPair(Pair):
    """Streaming replication to a hot standby."""

    recipe: ClassVar[PostgreSQL] = PostgreSQL()

    @classmethod
    def serve(cls, primary: Path, replica: Path) -> tuple[str, str]:
        options = (*cls.recipe.hasty, f"--shared_buffers={_SMALL}MB")
        primary_url = launch.serve(cls.recipe, primary, options)
        copy = cls.recipe.replica_preparation(replica, make_url(primary_url).port or 0, REPLICA_NAME)
        launch.prepare(cls.recipe, replica, copy)
        return primary_url, launch.serve(cls.recipe, replica, options)

    def pause_replay(self) -> None:
        # The state may remain "pause requested" for a while; it is checked before each record is applied.
        self._execute_on_replica("SELECT pg_wal_replay_pause()")

    def resume_replay(self) -> None:
        self._execute_on_replica("SELECT pg_wal_replay_resume()")

    def delay(self, seconds: float) -> None:
        wanted = math.ceil(seconds * 1000)
        change = f"ALTER SYSTEM SET recovery_min_apply_delay = {wanted}"
        self._execute_on_replica(change, "SELECT pg_reload_conf()")
        # A new session has its settings from the postmaster, which signals the old processes first.
        query = f"SELECT 1 FROM pg_settings WHERE name = 'recovery_min_apply_delay' AND setting = '{wanted}'"
        _wait(lambda: self.shows(self.recipe.database, query), lambda: "the replica does not know its delay")


class MySQLFamilyPair(Pair):
    """Replication of the binary log by GTID, from the beginning of the log."""

    recipe: ClassVar[MySQLFamily]
    options: ClassVar[tuple[str, ...]] = ()
    follow: ClassVar[tuple[str, ...]]
    """The statements that make a server a replica."""
    words: ClassVar[tuple[str, str]]
    """The statements that stop and start a replica."""

    def __init__(self, primary: Server, replica_url: str) -> None:
        super().__init__(primary, replica_url)
        self._paused = False

    @classmethod
    def serve(cls, primary: Path, replica: Path) -> tuple[str, str]:
        launch.prepare(cls.recipe, replica, cls.recipe.replica_preparation(replica, primary))
        common = (*cls.recipe.hasty, f"--innodb-buffer-pool-size={_SMALL}M", *cls.options)
        special = ("--server-id=2", "--relay-log=relay", "--report-host=127.0.0.1", "--read-only=ON")
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(launch.serve, cls.recipe, primary, common)
            second = pool.submit(launch.serve, cls.recipe, replica, (*common, *special))
        primary_url, replica_url = first.result(), second.result()
        source = {"port": make_url(primary_url).port, "user": USER, "password": PASSWORD}
        with administration(replica_url) as connection:
            for statement in cls.follow:
                connection.execute(text(statement), source)
        return primary_url, replica_url

    def pause_replay(self) -> None:
        self._paused = True
        self._execute_on_replica(f"{self.words[0]} SQL_THREAD")

    def resume_replay(self) -> None:
        self._paused = False
        self._execute_on_replica(f"{self.words[1]} SQL_THREAD")


class MariaDBPair(MySQLFamilyPair):
    """A replica of MariaDB."""

    recipe: ClassVar[MariaDB] = MariaDB()
    follow = (
        "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = :port, MASTER_USER = :user,"
        " MASTER_PASSWORD = :password, MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
        "START SLAVE",
    )
    words = ("STOP SLAVE", "START SLAVE")

    def delay(self, seconds: float) -> None:
        # The delay counts from the beginning of the second in which the statement started.
        wanted = math.ceil(seconds) + 1 if seconds else 0
        again = "START SLAVE IO_THREAD" if self._paused else "START SLAVE"
        self._execute_on_replica("STOP SLAVE", f"CHANGE MASTER TO MASTER_DELAY = {wanted}", again)


class MySQLPair(MySQLFamilyPair):
    """A replica of MySQL."""

    recipe: ClassVar[MySQL] = MySQL()
    options = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")
    follow = (
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = :port, SOURCE_USER = :user,"
        " SOURCE_PASSWORD = :password, SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1,"
        " SOURCE_CONNECT_RETRY = 1",
        "START REPLICA",
        "SET GLOBAL super_read_only = ON",  # the tests' user is exempt from read_only
    )
    words = ("STOP REPLICA", "START REPLICA")

    def delay(self, seconds: float) -> None:
        change = f"CHANGE REPLICATION SOURCE TO SOURCE_DELAY = {math.ceil(seconds)}"
        again = () if self._paused else ("START REPLICA SQL_THREAD",)
        self._execute_on_replica("STOP REPLICA SQL_THREAD", change, *again)


_KINDS: dict[str, type[Pair]] = {"postgresql": PostgreSQLPair, "mariadb": MariaDBPair, "mysql": MySQLPair}

REPLICATED = tuple(_KINDS)
"""The servers of the catalog for which a pair is available."""


@contextlib.contextmanager
def replicated(name: str, folder: Path) -> Iterator[Pair]:
    """Yields a pair of the servers `name`, stopped at the end; their logs are then in `folder`."""
    _KINDS[name].recipe.obtain()
    with launch.guarded(folder) as base:
        yield _start(name, base, folder)


def _start(name: str, base: Path, folder: Path) -> Pair:
    """Starts a pair, and returns it once the replica has applied a change."""
    kind = _KINDS[name]
    before = time.monotonic()
    primary, replica = (
        launch.new_folder(kind.recipe, base / f"{name}-{part}") for part in ("primary", "replica")
    )
    launch.prepare(kind.recipe, primary, kind.recipe.preparation(primary))
    primary_url, replica_url = kind.serve(primary, replica)
    origin = f"a primary of our own, started in {time.monotonic() - before:.1f} s"
    pair = kind(examine(name, primary_url, origin), replica_url)
    with pair.primary.fresh_database(folder, "first") as database:
        with database.engine.begin() as connection:
            connection.execute(text("CREATE TABLE arrived (id INTEGER PRIMARY KEY)"))
            connection.execute(text("INSERT INTO arrived VALUES (1)"))
        complaint = f"nothing arrives on {replica.name}; the end of its log:\n"
        query = "SELECT id FROM arrived"
        _wait(lambda: pair.shows(database.name, query), lambda: complaint + launch.log_tail(replica))
    return pair


def _wait(condition: Callable[[], bool], complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(complaint())
        time.sleep(_PAUSE)
