"""The connections of a command have what a database group of oslo.config says about them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from oslo_db.sqlalchemy import enginefacade

from online_migrate import exceptions
from online_migrate.kinds.command_database import CommandDatabase
from online_migrate.named_database import DatabaseSource, NamedDatabase
from online_migrate.waiting import Clock, Stop
from tests.servers import Database
from tests.support.project import Project

pytestmark = pytest.mark.each_product
UNREACHABLE = "mysql+pymysql://u:secret@127.0.0.1:1/nothing"


class RecordingClock(Clock):
    """Does not wait; the last pause is ended by a stop."""

    def __init__(self, stops_after: int | None = None) -> None:
        self.pauses: list[float] = []
        self._stops_after = stops_after

    def wait(self, seconds: float, stop: Stop) -> bool:
        self.pauses.append(seconds)
        return len(self.pauses) == self._stops_after


def _named(folder: Path, url: str, *lines: str) -> NamedDatabase:
    file = folder / "volume.conf"
    file.write_text("\n".join(["[api_database]", f"connection = {url}", *lines, ""]))
    named = DatabaseSource(files=(str(file),), group="api_database").database
    assert named is not None
    return named


def _open(named: NamedDatabase, clock: Clock | None = None, echoed: list[str] | None = None) -> sa.Engine:
    echo = (echoed if echoed is not None else []).append
    return named.open(pooler=None, clock=clock or Clock(), stop=Stop(), echo=echo)


def test_pool_has_the_configured_size(database: Database, tmp_path: Path) -> None:
    """SQLite has no pool, as in oslo.db."""
    named = _named(tmp_path, database.url, "max_pool_size = 3", "max_overflow = 0", "pool_timeout = 1")
    engine = _open(named)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
        if isinstance(engine.pool, sa.QueuePool):
            with engine.connect(), engine.connect(), pytest.raises(sa.exc.TimeoutError):
                engine.connect()
    engine.dispose()


def test_functions_get_the_options_of_the_group(database: Database, tmp_path: Path) -> None:
    """By each of the three ways in which ``bind=`` gives them the database."""
    lines = (
        "max_pool_size = 3",
        "max_overflow = 2",
        "connection_recycle_time = 77",
        "sqlite_synchronous = false",
    )
    named = _named(tmp_path, database.url, *lines)
    manager = enginefacade.transaction_context()
    given = CommandDatabase(sa.make_url(named.url), named.options)
    given.patch(manager)
    configured = given.configuration("api").api
    found = enginefacade.transaction_context()
    found.configure(**{name: configured[name] for name in (line.split()[0] for line in lines)})
    found.configure(connection=configured.connection)
    for engine in (given.engine, manager.writer.get_engine(), found.writer.get_engine()):
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 0
        if isinstance(engine.pool, sa.QueuePool) and engine.dialect.name != "sqlite":
            assert (engine.pool.size(), engine.pool._max_overflow) == (3, 2)
        assert engine.pool._recycle == 77
    given.close()
    found.dispose_pool()


@pytest.mark.needs("lock_tables")
def test_sessions_have_the_configured_variables(database: Database, tmp_path: Path) -> None:
    """The first session and the next ones; the engine adds what keeps values exact."""
    with database.engine.connect() as connection:
        galera = connection.execute(sa.text("SHOW VARIABLES LIKE 'wsrep_sync_wait'")).all()
    lines, variables = ([], []) if not galera else (["mysql_wsrep_sync_wait = 3"], ["wsrep_sync_wait"])
    names = ["sql_mode", "time_zone", *variables]
    query = sa.text("SELECT " + ", ".join(f"@@SESSION.{name}" for name in names))
    for configured, expected in (("", []), ("ANSI_QUOTES", ["ANSI_QUOTES"])):
        engine = _open(_named(tmp_path, database.url, f"mysql_sql_mode = {configured}", *lines))
        with engine.connect() as first, engine.connect() as second:
            for connection in (first, second):
                mode, *others = connection.execute(query).one()
                assert set(mode.split(",")) == {"STRICT_ALL_TABLES", *expected}
                assert others == ["+00:00", 3][: len(others)]
        engine.dispose()
    engine = _open(_named(tmp_path, database.url))
    with engine.connect() as connection:
        assert "TRADITIONAL" in str(connection.scalar(sa.text("SELECT @@SESSION.sql_mode")))
    engine.dispose()


def test_command_line_shows_statements(database: Database, tmp_path: Path) -> None:
    """``connection_debug`` of the named group, on stderr, also after env.py has called fileConfig."""
    file = tmp_path / "volume.conf"
    lines = f"connection = {database.url}\nconnection_debug = 50\n"
    file.write_text(f"[database]\n[api_database]\n{lines}")
    (tmp_path / "log.ini").write_text(
        "[loggers]\nkeys = root\n[handlers]\nkeys =\n[formatters]\nkeys =\n[logger_root]\nhandlers =\n"
    )
    with Project.create(tmp_path / "project", database.url) as project:
        env_py = project.scripts / "env.py"
        call = f"import logging.config\nlogging.config.fileConfig({str(tmp_path / 'log.ini')!r})\n"
        env_py.write_text(call + env_py.read_text())
        project.expand('op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))')
        named = ("--config-file", str(file), "--database-group", "api_database")
        ran = project.run("expand", *named, environment={"ONLINE_MIGRATE_URL": ""})
        assert ran.code == 0, ran
        assert any("INFO sqlalchemy.engine" in line for line in ran.err.splitlines())
        assert "CREATE TABLE t" in ran.err
        assert ran.out == "expand: applied e1\n"
        without = project.run("expand", *named[:2], environment={"ONLINE_MIGRATE_URL": ""})
        assert without.code == 127
        assert "section [database] has no connection" in without.err


def test_first_connection_is_repeated_as_configured(tmp_path: Path) -> None:
    """As often as ``max_retries`` says if it is set; a stop ends the attempts."""
    said: list[str] = []
    clock = RecordingClock()
    with pytest.raises(exceptions.ServerDown):
        _open(_named(tmp_path, UNREACHABLE, "max_retries = 2", "retry_interval = 3"), clock, said)
    assert clock.pauses == [3, 3]
    assert len(said) == 2
    assert said[0].endswith("next attempt in 3 s")
    assert "secret" not in said[0]
    clock = RecordingClock(stops_after=4)
    with pytest.raises(exceptions.ServerDown):
        _open(_named(tmp_path, UNREACHABLE, "max_retries = -1"), clock)
    assert clock.pauses == [10] * 4
    clock = RecordingClock()
    with pytest.raises(exceptions.ServerDown):
        _open(_named(tmp_path, UNREACHABLE), clock)
    assert clock.pauses == []
