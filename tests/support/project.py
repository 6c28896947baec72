"""A user's project in its own folder, and the commands of a user in it.

with Project.create(tmp_path / "project", database.url) as project:
    project.expand('op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))')
    project.data("fill", 'fill = Backfill(table="t", values={"n": 1}, pending=lambda t: t.c.n.is_(None))')
    project.contract('op.drop_column("t", "old")', requires=("fill",))
    assert project.run("expand").code == 0  # the command line in a separate process
    results = project.migrate(batch_size=10)  # the same in this process: faster
    report = project.status("fill")
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from online_migrate import command
from online_migrate.command import CommandContext
from online_migrate.migrate.progress import Listener
from online_migrate.migrate.status import Result
from online_migrate.script.init import init
from online_migrate.status.migration_state import MigrationState
from online_migrate.status.report import Report
from tests.servers import Database
from tests.support import forks

ROOT = Path(__file__).parents[2]
"""The checkout: the directory of ``python -m online_migrate`` and ``import tests``."""
PATIENCE = 120.0
"""Seconds after which a command that does not end is an error."""

_DATA_HEADER = """\
import datetime, decimal, json, os, pathlib, signal, time, uuid
import sqlalchemy as sa
from online_migrate import Backfill, Chunk, batch_migration, counted, row_migration
FOLDER = pathlib.Path(__file__).parents[2]
"""


@dataclasses.dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON document on stdout."""
        return json.loads(self.out)

    @property
    def complaint(self) -> list[str]:
        """The lines on stderr; asserts that no traceback is among them."""
        assert "Traceback" not in self.err, self.err
        return self.err.strip().splitlines()


class Project:
    """A project created by ``online-migrate init``, to which scripts are added one after the other."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self._sites: list[CommandContext] = []
        self._processes: list[Process] = []
        self._last: dict[str, str] = {}

    @classmethod
    def create(cls, folder: Path, url: str, *, pace: str | None = "full", **settings: Any) -> Self:
        """Creates the project; *settings* are written to ``[online_migrate]`` of its alembic.ini.

        *pace*: most tests run at full pace, because a run with a latency probe waits for a second to measure
        its baseline. None: the product's own default.
        """
        if pace is not None:
            settings["pace"] = pace
        folder.mkdir(parents=True, exist_ok=True)
        project = cls(folder, url)
        init(project.config_file)
        with project.config_file.open("a", encoding="utf-8") as ini:
            ini.writelines(f"{name} = {value}\n" for name, value in settings.items())
        return project

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for site in self._sites:
            if "engine" in vars(site):
                site.engine.dispose()
        # Hypothesis keeps what its state machines refer to: 12 MB of compiled statements for each of them.
        self._sites.clear()

    # --- the user's files ------------------------------------------------------------------------

    @property
    def config_file(self) -> Path:
        """The path of alembic.ini."""
        return self.folder / "alembic.ini"

    @property
    def scripts(self) -> Path:
        """The folder of env.py, expand, contract and data."""
        return self.folder / "migrations"

    def expand(
        self, upgrade: str, revision: str | None = None, *, downgrade: str = "", **heading: Any
    ) -> str:
        """Adds an expand script after the last one, and returns its revision: e1, e2, ...

        *upgrade*, *downgrade*: the bodies of its functions, with ``op`` and ``sa``. *heading*: further
        assignments.
        """
        return self._script("expand", upgrade, revision, heading, downgrade)

    def expand_declared(self, upgrade: str, revision: str | None = None, **heading: Any) -> str:
        """Adds an expand script that declares each of its operations that is not additive.

        ``plan`` tells which these are: the test is about something else.
        """
        added = self.expand(upgrade, revision, **heading)
        [step] = [step for step in command.plan(self.site()).steps if step.name == added]
        _, _, refused = (step.note or "").partition("expand refuses ")
        if refused:
            path = next(self.scripts.glob(f"expand/*_{added}.py"))
            declared = dict.fromkeys(refused.split(", "), "a test")
            text = path.read_text(encoding="utf-8")
            path.write_text(f"{text}\nadditive = {declared!r}\n", encoding="utf-8")
        return added

    def contract(
        self,
        upgrade: str,
        revision: str | None = None,
        *,
        requires: Sequence[str] | None = (),
        depends_on: str | None = None,
        **heading: Any,
    ) -> str:
        """Adds a contract script after the last one, and returns its revision: c1, c2, ...

        It depends on the last expand script unless *depends_on* is given. *requires* None: the script has no
        ``requires``.
        """
        heading["depends_on"] = depends_on or self._last.get("expand")
        if requires is not None:
            heading["requires"] = tuple(requires)
        return self._script("contract", upgrade, revision, heading)

    def _script(
        self,
        phase: str,
        upgrade: str,
        revision: str | None,
        heading: Mapping[str, Any],
        downgrade: str = "",
    ) -> str:
        folder = self.scripts / phase
        count = len(list(folder.glob("*.py")))
        revision = revision or f"{phase[0]}{count + 1}"
        last = self._last.get(phase)
        assigned = {
            "revision": revision,
            "down_revision": last,
            "branch_labels": None if last else (phase,),
            "depends_on": None,
            **heading,
        }
        lines = [f"{name} = {value!r}" for name, value in assigned.items()]
        body = textwrap.indent(textwrap.dedent(upgrade).strip() or "pass", "    ")
        text = "\n".join(["import sqlalchemy as sa", "from alembic import op", *lines, "", "def upgrade():"])
        path = folder / f"{count + 1:03}_{revision}.py"
        undo = textwrap.indent(textwrap.dedent(downgrade).strip() or "pass", "    ")
        path.write_text(f"{text}\n{body}\n\ndef downgrade():\n{undo}\n", encoding="utf-8")
        self._last[phase] = revision
        return revision

    def data(self, module: str, source: str) -> Path:
        """Writes a module of data migrations; replaces a module of the same name.

        The module has ``sa``, the four kinds, some of the standard library, and FOLDER: the project's folder.
        """
        path = self.scripts / "data" / f"{module}.py"
        path.write_text(_DATA_HEADER + textwrap.dedent(source), encoding="utf-8")
        return path

    # --- commands in this process ----------------------------------------------------------------

    def site(self, **more: Any) -> CommandContext:
        """Returns a context for :mod:`online_migrate.command`, with the scripts read again."""
        site = CommandContext(config_file=self.config_file, given_url=self.url, **more)
        self._sites.append(site)
        return site

    def apply_expand(self, target: str | None = None) -> list[str]:
        """Runs ``expand`` in this process, and returns the applied revisions."""
        return command.expand(self.site(), target)

    def migrate(self, *names: str, listener: Listener | None = None, **limits: Any) -> dict[str, Result]:
        """Runs ``migrate`` in this process, and returns the results by name.

        *limits*: arguments of :class:`online_migrate.command.MigrateOptions`.
        """
        site = self.site() if listener is None else self.site(listener=listener)
        results = command.migrate(site, names, command.MigrateOptions(**limits))
        return {result.name: result for result in results}

    def report(self) -> Report:
        """Runs ``status`` in this process."""
        return command.status(self.site())

    def status(self, name: str) -> MigrationState:
        """Returns the ``status`` of one data migration; asserts that its counts add up."""
        [found] = [migration for migration in self.report().migrations if migration.name == name]
        if found.total is not None:
            counts = (found.done, found.pending, found.failed)
            assert all(count is not None and count >= 0 for count in counts), found
            assert sum(count or 0 for count in counts) == found.total, found
        return found

    def counts(self, name: str) -> tuple[int | None, int | None, int | None]:
        """Returns (done, pending, failed) as counted by ``status``."""
        found = self.status(name)
        return found.done, found.pending, found.failed

    # --- commands in separate processes ----------------------------------------------------------

    def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None, fresh: bool = False
    ) -> Process:
        """Starts ``online-migrate ARGUMENTS`` in the project's folder.

        *fresh*: in a new Python, which takes longer.
        """
        scratch = self.folder / "runs"
        scratch.mkdir(exist_ok=True)
        process = Process(
            forks.fresh if fresh else forks.command,
            arguments,
            folder=self.folder,
            environment=self._environment(environment),
            output=scratch / f"process-{len(self._processes) + 1}",
        )
        self._processes.append(process)
        return process

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None, fresh: bool = False) -> Ran:
        """Runs ``online-migrate ARGUMENTS`` and returns its result."""
        return self.start(*arguments, environment=environment, fresh=fresh).wait()

    def _environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part)
        return {**os.environ, "PYTHONPATH": path, "ONLINE_MIGRATE_URL": self.url, **(more or {})}


class Process:
    """A running command."""

    def __init__(
        self,
        main: Callable[[Sequence[str]], object],
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        output: Path,
    ) -> None:
        """*output*: the name, without a suffix, of the files for its output."""
        self._out, self._err = output.with_suffix(".out"), output.with_suffix(".err")
        self._process = forks.start(
            main, arguments, folder=folder, environment=environment, out=self._out, err=self._err
        )
        self._heard = 0

    def wait(self) -> Ran:
        """Waits for the end, and returns the result; a command that hangs is killed, and is an error."""
        self._process.join(PATIENCE)
        if self._process.exitcode is None:
            self.kill()
            raise AssertionError(f"it did not end: {self._err.read_text()}")
        return Ran(self._process.exitcode, self._out.read_text(), self._err.read_text())

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Sends kill -9, and waits until the process has ended; no error if it had ended before."""
        self._process.kill()
        self._process.join()

    def line(self) -> str:
        """Returns the next line on stderr; empty at the end."""
        while True:
            running = self.running
            written = self._err.read_text()[self._heard :] if self._err.exists() else ""
            line, end, _rest = written.partition("\n")
            if end or not running:
                self._heard += len(line + end)
                return line + end
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """False once the process has ended in any way."""
        return self._process.exitcode is None


def declared(*keys: str) -> dict[str, str]:
    """Returns ``additive`` for a script of which the test does not care whether it is additive."""
    return dict.fromkeys(keys, "a test of what happens to the statement")


def wait_for(path: Path, process: Process | None = None) -> None:
    """Waits until a file exists that a user's function writes to report its progress."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if process is not None and not process.running and not path.exists():
            raise AssertionError(f"the command ended without writing {path.name}: {process.wait()}")
        assert time.monotonic() < end, f"{path.name} was never written"
        time.sleep(0.01)


def rows(engine: sa.Engine, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Returns all rows of a query."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query), parameters)]


def scalar(engine: sa.Engine, query: str, **parameters: Any) -> Any:
    """Returns the first value of the first row of a query."""
    return rows(engine, query, **parameters)[0][0]


def execute(engine: sa.Engine, *statements: str) -> None:
    """Executes statements in one transaction."""
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def insert(engine: sa.Engine, table: sa.Table, values: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows in one transaction."""
    with engine.begin() as connection:
        if values:
            connection.execute(sa.insert(table), list(values))


def create(engine: sa.Engine, table: sa.Table) -> sa.Table:
    """Creates a table of the application, and returns it."""
    with contextlib.closing(engine.connect()) as connection, connection.begin():
        table.create(connection)
    return table


def end_other_sessions(database: Database) -> None:
    """Ends every session on the database except the one that executes this."""
    with database.engine.connect() as connection:
        if database.server.product == "postgresql":
            query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            own, end = "SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"
        else:
            query = "SELECT id FROM information_schema.processlist WHERE db = DATABASE()"
            own, end = "SELECT CONNECTION_ID()", "KILL {}"
        others = set(connection.scalars(sa.text(query))) - {connection.scalar(sa.text(own))}
        for session in others:
            # The session may have ended by itself.
            with contextlib.suppress(sa.exc.DBAPIError):
                connection.execute(sa.text(end.format(session)))
