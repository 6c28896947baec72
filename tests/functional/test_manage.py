"""``DbCommands`` in a ``*-manage`` program: its forms, its exit codes, its database, the program itself."""

from __future__ import annotations

import copy
import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oslo_log.log
import pytest
import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import options as oslo_db

from online_migrate.command import CommandContext
from online_migrate.openstack.manage import DbCommands
from tests.servers import Database
from tests.support.manage_programs import PROGRAMS
from tests.support.project import Project, execute, scalar

pytestmark = pytest.mark.each_product

FILL = """
fill = Backfill(table="volumes", values=lambda t: {"size": t.c.gb}, pending=lambda t: t.c.size.is_(None),
                revision="e1")
"""
FILE_CONFIG = """
import logging.config
from logging.config import fileConfig
fileConfig({path!r})
logging.config.fileConfig({path!r})
"""


class Host:
    """A program that mounts the commands, and what it wrote."""

    def __init__(self, project: Project, database: Any, form: str = "argparse", **more: Any) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self._form = form
        exits = {"at_exit": sys.exit} if form == "cinder" else {}
        self.commands = DbCommands(project.config_file, database, out=self.out, err=self.err, **exits, **more)

    def run(self, *arguments: str) -> int:
        """Returns the exit code of the program, with the output of this command only."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        try:
            code = PROGRAMS[self._form](self.commands, ["db", *arguments])
        except SystemExit as error:
            code = error.code
        assert isinstance(code, int)
        return code


@pytest.fixture
def project(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Ten volumes, and an expand, a data migration and a contract of them."""
    monkeypatch.delenv("ONLINE_MIGRATE_URL", raising=False)
    execute(
        database.engine,
        "CREATE TABLE volumes (id INTEGER PRIMARY KEY, gb INTEGER)",
        *[f"INSERT INTO volumes (id, gb) VALUES ({i}, {i})" for i in range(1, 11)],
    )
    with Project.create(tmp_path / "project", database.url) as written:
        written.expand('op.add_column("volumes", sa.Column("size", sa.Integer))')
        written.data("fill", FILL)
        written.contract('op.drop_column("volumes", "gb")', requires=("fill",))
        yield written


@pytest.fixture
def arguments_kept() -> Iterator[None]:
    """Restores the attributes that nova's loop changes: two programs are never in one process."""
    methods = [method for method in vars(DbCommands).values() if hasattr(method, "args")]
    before = [copy.deepcopy(method.args) for method in methods]
    yield
    for method, args in zip(methods, before, strict=True):
        method.args = args


@pytest.mark.usefixtures("arguments_kept")
@pytest.mark.parametrize("form", PROGRAMS)
def test_exit_codes_in_each_form(form: str, database: Database, project: Project, capfd: Any) -> None:
    """1 while rows are pending, 0 when none is, 3 for a refusal, 127 for a wrong argument."""
    host = Host(project, database.url, form)
    assert host.run("migrate", "--name", "fill") == 3
    assert host.run("expand") == 0
    assert host.run("online_data_migrations", "--max-count=-1") == 127
    assert "max_count must be a positive number, not '-1'" in host.err.getvalue()
    assert host.run("online_data_migrations", "--max_count", "4") == 1
    assert host.run("online_data_migrations") == 0
    assert scalar(database.engine, "SELECT count(*) FROM volumes WHERE size = gb") == 10
    assert capfd.readouterr() == ("", "")


def test_online_data_migrations_is_that_of_cinder_manage(database: Database, project: Project) -> None:
    """Its table, no exit code 3, and an exit code for every wrong number."""
    host = Host(project, database.url)
    assert host.run("online_data_migrations") == 2
    assert "requires expand revision e1" in host.err.getvalue()
    assert host.run("expand") == 0
    for wrong in ("0", "abc", "1.5", "nan"):
        assert host.run("online_data_migrations", f"--max_count={wrong}") == 127
        assert host.out.getvalue() == ""
    assert host.run("online_data_migrations", "--max_count", "4") == 1
    lines = host.out.getvalue().splitlines()
    assert [re.sub(" +", " ", line) for line in lines if line.startswith("|")] == [
        "| Migration | Total Needed | Completed |",
        "| fill | 4 | 4 |",
    ]
    assert host.run("gate") == 3
    assert "-> db migrate --name fill" in host.out.getvalue()
    assert host.run("contract") == 3
    assert "-> db migrate --name fill" in host.err.getvalue()
    assert host.run("migrate", "--max-count", "6", "--name", "fill") == 0
    assert host.run("gate") == 0
    assert host.run("contract", "--available") == 0


def test_reports_name_the_next_command(database: Database, project: Project) -> None:
    """``check`` exits with 1 until nothing is left; ``version``, ``status`` and ``contract`` in between."""
    host = Host(project, database.url)
    steps = [
        (("expand",), "next: db expand   (to apply: e1)"),
        (("migrate",), "next: db migrate   (not complete: fill)"),
        (("contract",), "next: db contract   (to apply: c1)"),
    ]
    for command, said in steps:
        assert host.run("check") == 1
        assert host.out.getvalue().strip() == said
        assert host.run("contract") == (3 if command != ("contract",) else 0)
        if command != ("contract",):
            assert host.run(*command) == 0
        if command == ("migrate",):
            assert_complete_record_is_no_proof(host, database)
    assert host.run("check") == 0
    assert host.run("version") == 0
    assert host.out.getvalue().splitlines() == ["expand   e1 (head)", "contract c1 (head)"]
    assert host.run("status", "--json") == 0
    assert json.loads(host.out.getvalue())["complete"]
    assert host.run("expand", "--revision", "c1") == 127
    assert host.run("expand", "--release", "2030") == 127
    assert host.run("expand", "--statement-done") == 3
    assert host.run("expand", "--statement-done", "--statement-not-done") == 127


def assert_complete_record_is_no_proof(host: Host, database: Database) -> None:
    """Rows that cannot be read, and rows that are pending again, are left to do whatever the record says."""
    database.engine.dispose()  # SQLite renames a column by the schema that the connection has read
    execute(database.engine, "ALTER TABLE volumes RENAME COLUMN size TO other")
    assert host.run("check") == 1
    assert host.out.getvalue().startswith("next: db status   (the rows of fill cannot be read: ")
    execute(
        database.engine,
        "ALTER TABLE volumes RENAME COLUMN other TO size",
        "INSERT INTO volumes (id, gb) VALUES (11, 11)",
    )
    assert host.run("check") == 1
    assert host.out.getvalue().strip() == "next: db migrate   (not complete: fill)"
    execute(database.engine, "DELETE FROM volumes WHERE id = 11")


def test_sync_and_errors_of_functions_and_drivers(database: Database, project: Project) -> None:
    """``sync`` applies everything; an exception of a function is 2, and so is an unreachable server."""
    project.data("odd", "odd = counted(lambda context, max_count: 1 / 0, name='odd')")
    host = Host(project, database.url)
    assert host.run("expand") == 0
    assert host.run("online_data_migrations") == 2
    assert "ZeroDivisionError" in host.err.getvalue()
    assert (host.run("migrate", "--name", "nothing"), host.run("migrate", "--max_time", "0")) == (127, 127)
    (project.scripts / "data" / "odd.py").unlink()
    assert host.run("sync") == 0
    assert host.run("check") == 0
    assert Host(project, "postgresql+psycopg2://u:secret@127.0.0.1:1/nothing").run("version") == 2
    lost = Host(project, "mysql+pymysql://u:secret@127.0.0.1:1/nothing")
    assert lost.run("online_data_migrations") == 2
    assert "Cannot connect" in lost.err.getvalue()
    assert "secret" not in lost.err.getvalue()


def test_error_of_the_driver_is_an_error_of_the_engine(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error of the server is one line, without a traceback."""

    def fail(context: CommandContext) -> None:
        with context.engine.connect() as connection:
            connection.execute(sa.text("SELECT nothing FROM nowhere"))

    monkeypatch.setattr("online_migrate.command.status", fail)
    host = Host(project, database.url)
    assert host.run("status") == 2
    [line] = host.err.getvalue().splitlines()
    assert line.startswith("Error: The server returned an error:")


def _configuration(project: Project, text: str) -> cfg.ConfigOpts:
    file = project.folder / "volume.conf"
    file.write_text(text)
    conf = cfg.ConfigOpts()
    oslo_log.log.register_options(conf)
    conf(args=[], default_config_files=[str(file)])
    return conf


def test_database_is_what_the_program_hands_over(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration with any group, an engine, a connection, a URL, or a function that returns one."""
    monkeypatch.setenv("ONLINE_MIGRATE_URL", "sqlite:////nowhere/at/all.db")
    url = database.engine.url
    conf = _configuration(
        project, f"[api_database]\nconnection = {database.url}\n[online_migrate]\nbatch_size = 3\n"
    )
    assert Host(project, conf, group="api_database").run("expand") == 0
    missing = Host(project, conf)
    assert missing.run("version") == 127
    assert "volume.conf cannot be used: section [database] has no connection" in missing.err.getvalue()
    with database.engine.connect() as connection:
        for given in (database.engine, connection, url, database.url, lambda: database.engine):
            host = Host(project, given)
            assert host.run("version") == 0, host.err.getvalue()
            assert host.out.getvalue().startswith("expand   e1 (head)")
        assert not connection.in_transaction()
    wrong = Host(project, 7)
    assert wrong.run("version") == 127
    assert "it must be a URL, an engine or a connection" in wrong.err.getvalue()


def test_engine_of_another_database_is_refused(database: Database, project: Project, tmp_path: Path) -> None:
    """The engine's own connections are opened by the URL, so the URL has to say everything."""
    (tmp_path / "other").mkdir()
    with database.server.fresh_database(tmp_path / "other", "elsewhere") as other:
        engine = sa.create_engine(
            other.engine.url, creator=lambda: database.engine.raw_connection().driver_connection
        )
        host = Host(project, engine)
        assert host.run("expand") == 3
        assert "has another database, or other settings, than its URL" in host.err.getvalue()
        assert "online_migrate_migration" not in sa.inspect(other.engine).get_table_names()
        engine.dispose()
    memory = Host(project, sa.create_engine("sqlite://"))
    assert memory.run("version") == 3
    assert "a database in memory" in memory.err.getvalue()


@pytest.fixture
def own_loggers() -> Iterator[None]:
    """The loggers as a program has them; the command line of online-migrate may have configured them."""
    loggers = [logging.getLogger(name) for name in ("online_migrate", "sqlalchemy.engine")]
    before = [(one.level, one.handlers[:], one.propagate) for one in loggers]
    for one in loggers:
        one.setLevel(logging.NOTSET)
        one.handlers[:], one.propagate = [], True
    yield
    for one, (level, handlers, propagate) in zip(loggers, before, strict=True):
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


@pytest.mark.usefixtures("own_loggers")
def test_state_of_the_program_is_not_changed(database: Database, project: Project, tmp_path: Path) -> None:
    """Its handlers and levels stay, although env.py calls fileConfig; messages go to its log."""
    (tmp_path / "log.ini").write_text(
        "[loggers]\nkeys = root\n[handlers]\nkeys =\n[formatters]\nkeys =\n"
        "[logger_root]\nlevel = CRITICAL\nhandlers =\n"
    )
    env_py = project.scripts / "env.py"
    env_py.write_text(FILE_CONFIG.format(path=str(tmp_path / "log.ini")) + env_py.read_text())
    conf = _configuration(
        project,
        f"[DEFAULT]\nlog_file = {tmp_path / 'volume.log'}\n"
        f"[database]\nconnection = {database.url}\nconnection_debug = 50\nslave_connection = x://y\n",
    )
    root, other = logging.getLogger(), logging.getLogger("volume")
    before = root.handlers[:], root.level
    try:
        conf.register_opts(oslo_db.database_opts, "database")
        oslo_log.log.setup(conf, "volume")
        handlers, level = root.handlers[:], root.level
        statements = logging.getLogger("sqlalchemy.engine").level
        options = set(conf)
        host = Host(project, conf)
        assert host.run("expand") == 0
        assert (root.handlers, root.level, other.disabled) == (handlers, level, False)
        assert logging.getLogger("sqlalchemy.engine").level == statements
        assert set(conf) == options
    finally:
        root.handlers[:], root.level = before
    written = (tmp_path / "volume.log").read_text()
    assert "expand e1: no message" in written
    assert "[database] slave_connection has no effect" in written
    assert "ALTER TABLE volumes ADD" in written  # connection_debug
    assert host.out.getvalue() == "expand: applied e1\n"
    assert host.err.getvalue() == ""
