"""Projects of other forms: the source of the database URL, the code of env.py, the place of the settings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support import schema
from tests.support.foreign import GUARD, Foreign, async_url
from tests.support.project import ROOT, Process, Ran

pytestmark = pytest.mark.each_product

TABLE = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), sa.Column("old", sa.Integer))'
ROWS = ("INSERT INTO t (id, old) VALUES (1, 10)", "INSERT INTO t (id, old) VALUES (2, 20)")
_PLACEHOLDER = "sqlalchemy.url = driver://user:pass@localhost/dbname"


def from_template(database: Database, folder: Path, template: str = "generic") -> Foreign:
    """Creates a guarded project from one of Alembic's templates, without a URL."""
    folder.mkdir()
    project = Foreign(folder, database.url)
    project.does_alembic("init", "-t", template, "db")
    project.guard()
    return project


def add_base(project: Foreign, database: Database) -> None:
    """Creates the first revision, applies it by Alembic, inserts two rows and runs ``init --adopt``."""
    project.base(TABLE)
    project.does_alembic("upgrade", "head")
    schema.run_all(database, *ROWS)
    project.does("init", "--adopt")


def add_change(project: Foreign) -> None:
    """Adds a pair of scripts and the data migration between them."""
    project.pair(
        'op.add_column("t", sa.Column("new", sa.Integer))', 'op.drop_column("t", "old")', requires=["fill"]
    )
    project.data(
        "fill",
        'fill = Backfill(table="t", values=lambda t: {"new": t.c.old}, '
        'pending=lambda t: t.c.new.is_(None), revision="e1")',
    )


def assert_all_commands_work(project: Foreign, database: Database, *where: str) -> None:
    """Asserts that expand, migrate, gate, contract and status work."""
    for verb in ("expand", "migrate", "gate", "contract", "status"):
        project.does(*where, verb)
    assert schema.version_rows(database) == ["c1"]
    assert schema.query_all(database, "SELECT id, new FROM t ORDER BY id") == [(1, 10), (2, 20)]


def set_url(project: Foreign, url: str) -> None:
    """Replaces the URL of the template in alembic.ini."""
    project.replace(project.config_file, _PLACEHOLDER, f"sqlalchemy.url = {url}")


# --- asynchronous drivers ------------------------------------------------------------------------

DRIVERS = {
    "sqlite": ["aiosqlite"],
    "postgresql": ["asyncpg", "psycopg_async", "psycopg"],
    "mysql": ["asyncmy", "aiomysql"],
}


def test_asynchronous_project_accepts_the_url_of_the_command(database: Database, tmp_path: Path) -> None:
    """--url with a synchronous or an asynchronous driver, whichever of them env.py uses."""
    project = from_template(database, tmp_path / "project", "async")
    set_url(project, async_url(database).replace("%", "%%"))
    add_base(project, database)
    add_change(project)
    before = schema.Snapshot.of(database, "t")
    backend = sa.make_url(database.url).get_backend_name()
    for url in (database.url, *(async_url(database, driver) for driver in DRIVERS[backend])):
        project.does("status", "--url", url)
        project.does("plan", environment={"ONLINE_MIGRATE_URL": url})
        assert schema.Snapshot.of(database, "t") == before
    assert_all_commands_work(project, database)


def test_asynchronous_url_in_a_synchronous_project(database: Database, tmp_path: Path) -> None:
    """The application's URL works in a project whose env.py is synchronous, also with plain Alembic."""
    project = from_template(database, tmp_path / "project")
    set_url(project, database.url.replace("%", "%%"))
    add_base(project, database)
    add_change(project)
    assert_all_commands_work(project, database, "--url", async_url(database))


def test_run_environment_accepts_an_asynchronous_url(database: Database, tmp_path: Path) -> None:
    """run_environment() connects with the synchronous driver, for plain Alembic too."""
    project = from_template(database, tmp_path / "project")
    set_url(project, async_url(database).replace("%", "%%"))
    project.env_py.write_text("from online_migrate import run_environment\nrun_environment()\n")
    add_base(project, database)
    add_change(project)
    assert_all_commands_work(project, database)


# --- pyproject.toml ------------------------------------------------------------------------------


def test_project_with_pyproject_toml_only(database: Database, tmp_path: Path) -> None:
    """No alembic.ini: the settings of Alembic and of online-migrate are in pyproject.toml."""
    project = from_template(database, tmp_path / "project", "pyproject")
    project.config_file.unlink()
    project.env_py.write_text(
        f"import os\n{GUARD}from alembic import context\nfrom sqlalchemy import create_engine\n"
        "with create_engine(os.environ['DATABASE_URL']).connect() as connection:\n"
        "    context.configure(connection=connection)\n"
        "    with context.begin_transaction():\n"
        "        context.run_migrations()\n"
    )
    pyproject = project.folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + '\n[tool.online_migrate]\npace = "full"\nbatch-size = 1\n')
    before = pyproject.read_text()
    environment = {"DATABASE_URL": database.url}
    (project.scripts / "versions").mkdir(exist_ok=True)
    project.does_alembic("revision", "-m", "the tables", environment=environment)
    [path] = (project.scripts / "versions").glob("*.py")
    project.fill_in(path, TABLE)
    project.does_alembic("upgrade", "head", environment=environment)
    schema.run_all(database, *ROWS)
    adopted = project.does("init", "--adopt", environment=environment)
    assert "pyproject.toml" in adopted.out + adopted.err
    after = pyproject.read_text()
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []
    add_change(project)
    for verb in ("expand", "migrate", "gate", "contract", "status"):
        project.does(verb, environment=environment)
    project.does("-c", "pyproject.toml", "current", "--check-heads", environment=environment)
    assert schema.version_rows(database) == ["c1"]
    assert project.run("init").code == 127
    assert not project.config_file.exists()
    pyproject.write_text(after.replace("batch-size", "batch-sise"))
    assert "batch_sise" in project.does("status", code=127, environment=environment).err


# --- the source of the database URL --------------------------------------------------------------


def test_url_with_a_part_set_by_env_py(database: Database, tmp_path: Path) -> None:
    """``%(DB_NAME)s`` in alembic.ini, set_section_option() in env.py."""
    project = from_template(database, tmp_path / "project")
    url = database.url.replace("%", "%%").replace(database.name, "%(DB_NAME)s")
    set_url(project, url)
    fill_in = (
        "config = context.config\n"
        "import os\n"
        "if 'DB_NAME' in os.environ:\n"
        "    config.set_section_option(config.config_ini_section, 'DB_NAME', os.environ['DB_NAME'])\n"
    )
    project.replace(project.env_py, "config = context.config\n", fill_in)
    environment = {"DB_NAME": database.name}
    project.does_alembic("revision", "-m", "the tables")
    [path] = (project.scripts / "versions").glob("*.py")
    project.fill_in(path, TABLE)
    project.does_alembic("upgrade", "head", environment=environment)
    schema.run_all(database, *ROWS)
    project.does("init", "--adopt")
    add_change(project)
    for verb in ("expand", "migrate", "gate", "contract", "status"):
        project.does(verb, environment=environment)
    assert schema.version_rows(database) == ["c1"]
    without_url = project.does("status", code=127)
    assert "--url" in without_url.err
    assert "DB_NAME" in without_url.err
    project.does("status", "--url", database.url)


def test_url_set_by_env_py_is_used(database: Database, tmp_path: Path) -> None:
    """alembic.ini names another database: Alembic and online-migrate both use the URL of env.py."""
    project = from_template(database, tmp_path / "project")
    set_url(project, "sqlite:///another.db")
    project.replace(
        project.env_py,
        "config = context.config\n",
        "config = context.config\nimport os\n"
        "config.set_main_option('sqlalchemy.url', os.environ['DATABASE_URL'].replace('%', '%%'))\n",
    )
    environment = {"DATABASE_URL": database.url}
    project.does_alembic("revision", "-m", "the tables", environment=environment)
    [path] = (project.scripts / "versions").glob("*.py")
    project.fill_in(path, TABLE)
    project.does_alembic("upgrade", "head", environment=environment)
    schema.run_all(database, *ROWS)
    project.does("init", "--adopt", environment=environment)
    add_change(project)
    for verb in ("expand", "migrate", "gate", "contract", "status"):
        project.does(verb, environment=environment)
    assert schema.version_rows(database) == ["c1"]
    assert not (project.folder / "another.db").exists()
    without_url = project.does("status", code=127)
    assert "DATABASE_URL" in without_url.err


def test_missing_url_error_names_the_places_for_one(tmp_path: Path) -> None:
    """The project has only the placeholder of the template."""
    with schema.embedded().fresh_database(tmp_path) as database:
        project = from_template(database, tmp_path / "project")
        without_url = project.does("status", code=127)
        assert "No database URL" in without_url.err
        for option in ("--url", "ONLINE_MIGRATE_URL", "alembic.ini"):
            assert option in without_url.err


# --- env.py with statements ----------------------------------------------------------------------

_WRITING = """\
import os
import sqlalchemy as sa
from alembic import context
import online_migrate
online_migrate.guard()

engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=sa.NullPool)
with engine.connect() as connection:
    {writes}
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
_CREATES = (
    'connection.execute(sa.text("CREATE TABLE IF NOT EXISTS made_by_env (id INTEGER)"))\n'
    "    connection.commit()"
)
_DROPS = 'connection.execute(sa.text("DROP TABLE IF EXISTS t"))\n    connection.commit()'
_RAW = (
    "cursor = connection.connection.cursor()\n"
    '    cursor.execute("CREATE TABLE made_by_env (id INTEGER)")\n    connection.commit()'
)


def project_with_statements(database: Database, folder: Path, writes: str) -> Foreign:
    """Creates a project with a change, and then writes an env.py that executes statements."""
    project = from_template(database, folder)
    set_url(project, database.url.replace("%", "%%"))
    add_base(project, database)
    add_change(project)
    project.env_py.write_text(_WRITING.format(writes=writes))
    return project


def test_env_py_create_is_executed_only_by_commands_that_write(database: Database, tmp_path: Path) -> None:
    """status, plan and gate leave no trace of the statements of env.py; expand executes them."""
    project = project_with_statements(database, tmp_path / "project", _CREATES)
    before = schema.catalog(database)
    for verb, code in (("status", 0), ("plan", 0), ("gate", 3), ("current", 0), ("contract", 3)):
        project.does(verb, code=code)
        assert schema.catalog(database) == before, verb
    assert_all_commands_work(project, database)
    assert "made_by_env" in schema.tables(database)


def test_env_py_drop_is_refused(database: Database, tmp_path: Path) -> None:
    """No command sends a DROP in env.py; the commands that write name the statement."""
    project = project_with_statements(database, tmp_path / "project", _DROPS)
    before = schema.catalog(database)
    project.does("status")
    for verb in ("expand", "stamp", "upgrade"):
        refused = project.does(verb, *(["e1"] if verb == "stamp" else []), code=3)
        assert "DROP TABLE IF EXISTS t" in refused.err, verb
        assert schema.catalog(database) == before, verb


def test_env_py_statement_of_the_driver_cursor_is_refused_by_the_server(
    database: Database, tmp_path: Path
) -> None:
    """Statements on the driver's own cursor bypass SQLAlchemy: the session is read-only."""
    project = project_with_statements(database, tmp_path / "project", _RAW)
    before = schema.catalog(database)
    refused = project.run("status")
    assert refused.code in (2, 127), refused
    assert "env.py" in refused.err
    assert "Traceback" not in refused.err
    assert schema.catalog(database) == before


# --- Flask-Migrate -------------------------------------------------------------------------------

_APPLICATION = """\
import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
db = SQLAlchemy(app)
migrate = Migrate(app, db)


class T(db.Model):
    __tablename__ = "t"
    id = db.Column(db.Integer, primary_key=True)
    old = db.Column(db.Integer)
"""


def flask_command(arguments: object) -> None:
    """Runs Flask's own command line."""
    from flask.cli import main

    assert isinstance(arguments, tuple)
    sys.argv = ["flask", *arguments]
    main()


class Flask(Foreign):
    """A project that ``flask db init`` created."""

    @property
    def scripts(self) -> Path:
        return self.folder / "migrations"

    def flask(self, *arguments: str, code: int = 0) -> Ran:
        """Runs ``flask ARGUMENTS``."""
        scratch = self.folder / "runs"
        scratch.mkdir(parents=True, exist_ok=True)
        environment = self._environment({"FLASK_APP": "application", "DATABASE_URL": self.url})
        environment["PYTHONPATH"] = f"{self.folder}:{ROOT}"
        process = Process(
            flask_command,
            arguments,
            folder=self.folder,
            environment=environment,
            output=scratch / f"flask-{len(self._processes) + 1}",
        )
        self._processes.append(process)
        ran = process.wait()
        assert ran.code == code, (arguments, ran)
        assert "Traceback" not in ran.err, ran.err
        return ran


def test_project_of_flask_migrate(database: Database, tmp_path: Path) -> None:
    """``flask db`` works as before, ``flask online-migrate`` runs the other commands.

    env.py is Flask-Migrate's.
    """
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "application.py").write_text(_APPLICATION)
    project = Flask(folder, database.url)
    project.flask("db", "init")
    project.flask("db", "migrate", "-m", "the tables")
    project.flask("db", "upgrade")
    schema.run_all(database, *ROWS)
    project.flask("online-migrate", "init", "--adopt")
    project.flask("online-migrate", "status")
    assert "online_migrate.guard()" in project.flask("online-migrate", "expand", code=3).err
    project.guard()
    made = project.flask("online-migrate", "revision", "-m", "a change", "--rev-id", "e1", "c1").out.split()
    expand, contract = (folder / line for line in made)
    project.fill_in(expand, 'op.add_column("t", sa.Column("new", sa.Integer))')
    project.replace(contract, "requires = None", 'requires = ("fill",)')
    project.fill_in(contract, 'op.drop_column("t", "old")')
    project.data(
        "fill",
        'fill = Backfill(table="t", values=lambda t: {"new": t.c.old}, '
        'pending=lambda t: t.c.new.is_(None), revision="e1")',
    )
    project.flask("online-migrate", "expand")
    refused = project.flask("db", "upgrade", "heads", code=1)
    assert "online-migrate contract" in refused.out + refused.err
    for verb in ("migrate", "gate", "contract", "status"):
        project.flask("online-migrate", verb)
    assert schema.version_rows(database) == ["c1"]
    assert schema.query_all(database, "SELECT id, new FROM t ORDER BY id") == [(1, 10), (2, 20)]
