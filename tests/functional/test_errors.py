"""Invalid input: one to four lines on stderr, the right exit code, no traceback, and no password."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support import schema
from tests.support.project import ROOT, Project
from tests.support.schema import Run

PASSWORD = "p@ss:w/rd%"
ENCODED = urllib.parse.quote_plus(PASSWORD)
COMMANDS = (
    ["expand"],
    ["migrate"],
    ["online_data_migrations"],
    ["gate"],
    ["contract"],
    ["upgrade"],
    ["status"],
    ["plan"],
    ["current"],
    ["stamp", "heads"],
)
"""Every command that connects to a database."""


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Database]:
    """An SQLite file: these tests cover the command line, not a server."""
    with schema.embedded().fresh_database(tmp_path) as database:
        yield database


@pytest.fixture
def project(embedded: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project on a database file."""
    with schema.volumes(tmp_path / "project", embedded) as project:
        yield project


def assert_error_output(ran: Run, code: int, *words: str) -> None:
    """Asserts the exit code, one to four lines on stderr, nothing on stdout, no traceback, no password."""
    assert ran.code == code, ran.output
    lines = ran.complaint
    assert 1 <= len(lines) <= 4, ran.err
    assert ran.out == ""
    for word in words:
        assert word in ran.err
    assert_no_password(ran)


def assert_no_password(ran: Run) -> None:
    """Asserts that the output contains the password neither in plain nor in URL-encoded form."""
    for spelling in (PASSWORD, ENCODED, urllib.parse.quote(PASSWORD)):
        assert spelling not in ran.output, ran.output


# --- the database URL ------------------------------------------------------------------------------


_URLS = {
    "not a url": ("certainly not a url", 127),
    "only a scheme": ("postgresql", 127),
    "unknown database": (f"oracle://me:{ENCODED}@127.0.0.1/x", 127),
    "unknown driver": (f"postgresql+nodriver://me:{ENCODED}@127.0.0.1/x", 127),
    "a port that is not a number": (f"postgresql://me:{ENCODED}@127.0.0.1:port/x", 127),
    "an unquoted password": (f"postgresql://me:{PASSWORD}@127.0.0.1:1/x", None),
    "postgresql is down": (f"postgresql://me:{ENCODED}@127.0.0.1:1/x", 2),
    "mysql is down": (f"mysql://me:{ENCODED}@127.0.0.1:1/x", 2),
    "mariadb is down": (f"mariadb+pymysql://me:{ENCODED}@127.0.0.1:1/x", 2),
    "psycopg is down": (f"postgresql+psycopg://me:{ENCODED}@127.0.0.1:1/x", 2),
    "no such host": (f"postgresql://me:{ENCODED}@no-such-host.invalid/x", 2),
    "no such folder": ("sqlite:////no/such/folder/x.db", 2),
    "a folder": ("sqlite:////tmp", 2),
    "a password in the query": (f"postgresql://127.0.0.1:1/x?user=me&password={ENCODED}", 2),
    "an unknown option": (f"postgresql://me:{ENCODED}@127.0.0.1:1/x?nonsense=1", None),
}


@pytest.mark.parametrize("name", list(_URLS))
def test_invalid_or_unreachable_url(project: Project, name: str) -> None:
    """127 for a malformed URL, 2 for an unreachable server: with --url, the variable, and alembic.ini."""
    url, code = _URLS[name]
    for ran in (
        schema.run(project, "status", "--url", url),
        schema.run(project, "--url", url, "expand"),
        schema.run(project, "migrate", environment={"ONLINE_MIGRATE_URL": url}),
    ):
        assert_error_output(ran, code if code is not None else ran.code)
        assert ran.code in (2, 127)
    text = project.config_file.read_text()
    quoted = url.replace("%", "%%")
    project.config_file.write_text(text.replace("sqlalchemy.url =", f"sqlalchemy.url = {quoted}"))
    ran = schema.run(project, "contract", environment={"ONLINE_MIGRATE_URL": ""})
    assert_error_output(ran, code if code is not None else ran.code)


def test_file_that_is_not_a_database(project: Project, tmp_path: Path) -> None:
    """SQLite reports it only at the first query: exit 2 without a traceback for every command."""
    path = tmp_path / "notes.txt"
    path.write_text("certainly not a database, but long enough to have a header " * 20)
    for arguments in COMMANDS:
        ran = schema.run(project, "--url", f"sqlite:///{path}", *arguments)
        assert ran.code == 2, (arguments, ran.output)
        assert "Traceback" not in ran.output
    assert path.read_text().startswith("certainly")


def test_missing_url(project: Project) -> None:
    """127, and every way to give a URL is listed."""
    ran = schema.run(project, "status", environment={"ONLINE_MIGRATE_URL": ""})
    assert_error_output(ran, 127, "--url", "ONLINE_MIGRATE_URL", "--config-file", "sqlalchemy.url")


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [
        ("psycopg2", "postgresql://me@127.0.0.1/x", "postgresql"),
        ("psycopg", "postgresql+psycopg://me@127.0.0.1/x", "psycopg"),
        ("pymysql", "mysql://me@127.0.0.1/x", "mysql"),
        ("pymysql", "mariadb://me@127.0.0.1/x", "mysql"),
        ("MySQLdb", "mysql+mysqldb://me@127.0.0.1/x", "mysqlclient"),
    ],
)
def test_driver_not_installed(project: Project, module: str, url: str, extra: str) -> None:
    """127, and the extra to install is named."""
    blocked = f"import sys; sys.modules[{module!r}] = None; "
    source = blocked + "from online_migrate.cli.main import main; main(['status'])"
    ran = subprocess.run(
        [sys.executable, "-c", source],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ONLINE_MIGRATE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 127, ran.stderr
    assert f"online-migrate[{extra}]" in ran.stderr
    assert module in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.strip().splitlines()) <= 3
    assert ran.stdout == ""


@pytest.mark.needs("many_writers")
def test_output_never_contains_password(database: Database, tmp_path: Path) -> None:
    """All commands, with the right URL and with a wrong name, password, port or database."""
    assert sa.make_url(database.url).password == PASSWORD
    with schema.volumes(tmp_path / "project", database) as project:
        for arguments in COMMANDS:
            assert_no_password(schema.run(project, *arguments))
        for arguments in (["status", "--json"], ["plan", "--json"], ["gate", "--json"]):
            assert_no_password(schema.run(project, *arguments))
        assert_no_password(schema.alembic(project, "current", "--verbose"))
        assert_no_password(schema.alembic(project, "upgrade", "heads"))
        url = sa.make_url(database.url)
        for wrong in (
            url.set(database="no_such_database"),
            url.set(username="unknown"),
            url.set(password=f"wrong{PASSWORD}"),
            url.set(port=1),
        ):
            address = wrong.render_as_string(hide_password=False)
            for arguments in COMMANDS:
                ran = schema.run(project, "--url", address, *arguments)
                assert_error_output(ran, 2)
                assert f"wrong{PASSWORD}" not in ran.output


@pytest.mark.needs("kill_session")
def test_statement_rejected_by_server(database: Database, tmp_path: Path) -> None:
    """A script whose statement fails: 2, the server's message, no traceback."""
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand('op.add_column("nowhere", sa.Column("n", sa.Integer))', "e1")
        ran = schema.run(project, "expand")
        assert_error_output(ran, 2, "e1")
        assert schema.version_rows(database) == []


# --- the project -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [*COMMANDS, ["history"], ["heads"], ["revision", "-m", "x"]])
def test_missing_alembic_ini(project: Project, arguments: list[str], tmp_path: Path) -> None:
    """127, the path, and how to create a project."""
    ran = schema.run(project, "-c", str(tmp_path / "nowhere.ini"), *arguments)
    assert_error_output(ran, 127, "nowhere.ini", "online-migrate init")


_INI = {
    "no section": ("", "script_location"),
    "no location": ("[alembic]\n", "script_location"),
    "a folder that is not there": ("[alembic]\nscript_location = %(here)s/nowhere\n", "nowhere"),
    "no header": ("just words\n", "alembic.ini"),
    "a bad percent sign": ("[alembic]\nscript_location = %(nothing)s/migrations\n", "alembic.ini"),
    "a duplicate option": ("[alembic]\nscript_location = a\nscript_location = b\n", "script_location"),
    "an unknown setting": ("{good}\nlock_time = 3\n", "lock_time"),
    "a word for a number": ("{good}\nlock_timeout = soon\n", "lock_timeout"),
    "a lock timeout of zero": ("{good}\nlock_timeout = 0\n", "lock_timeout"),
    "not a number": ("{good}\nlock_timeout = nan\n", "lock_timeout"),
    "an infinite timeout": ("{good}\nlook_timeout = inf\n", "look_timeout"),
    "no attempts": ("{good}\nlock_attempts = 0\n", "lock_attempts"),
    "a bad separator": (
        "[alembic]\nscript_location = %(here)s/migrations\npath_separator = comma\nversion_locations = a,b\n",
        "",
    ),
}


@pytest.mark.parametrize("name", list(_INI))
def test_invalid_alembic_ini(project: Project, name: str) -> None:
    """127, and the file or the setting is named."""
    text, word = _INI[name]
    project.config_file.write_text(text.replace("{good}", project.config_file.read_text()))
    for arguments in (["status"], ["expand"], ["history"]):
        assert_error_output(schema.run(project, *arguments), 127, word)


def test_alembic_ini_that_is_not_text(project: Project) -> None:
    """Bytes that are not UTF-8, and a directory in place of the file."""
    project.config_file.write_bytes(b"\xff\xfe[alembic]\n")
    assert_error_output(schema.run(project, "status"), 127, "alembic.ini")
    project.config_file.unlink()
    project.config_file.mkdir()
    assert_error_output(schema.run(project, "status"), 127, "alembic.ini")


_SCRIPTS = {
    "a syntax error": ("def upgrade(:\n    pass\n", 127),
    "an import that fails": ("import no_such_module\nrevision = 'x'\ndown_revision = 'e2'\n", 127),
    "no revision": ("def upgrade():\n    pass\n", 127),
    "an unknown parent": ("revision = 'x'\ndown_revision = 'unknown'\n", 127),
    "an unknown dependency": ("revision = 'x'\ndown_revision = 'e2'\ndepends_on = 'unknown'\n", 127),
    "a circle": ("revision = 'x'\ndown_revision = 'y'\n", 127),
    "an exit": ("raise SystemExit('of the script')\n", 127),
    "an exit with status 0": ("raise SystemExit(0)\n", 127),
    "requires a number": ("revision = 'x'\ndown_revision = 'c2'\nrequires = 5\n", 127),
}


@pytest.mark.parametrize("name", list(_SCRIPTS))
def test_invalid_script(project: Project, embedded: Database, name: str) -> None:
    """127 and no change, for every command that reads scripts."""
    text, code = _SCRIPTS[name]
    folder = "contract" if "requires" in text else "expand"
    (project.scripts / folder / "broken.py").write_text(text)
    if name == "a circle":
        other = "revision = 'y'\ndown_revision = 'x'\n"
        (project.scripts / folder / "other.py").write_text(other)
    for arguments in (["status"], ["expand"], ["contract"], ["history"], ["upgrade"]):
        assert_error_output(schema.run(project, *arguments), code)
    assert schema.tables(embedded) == []


@pytest.mark.parametrize(
    "source",
    ["import no_such_module", "def f(:", "raise RuntimeError('of env.py')", "raise SystemExit(3)", "exit()"],
)
def test_invalid_env_py(project: Project, embedded: Database, source: str) -> None:
    """127, env.py is named, and nothing is changed."""
    (project.scripts / "env.py").write_text(source + "\n")
    assert_error_output(schema.run(project, "expand"), 127, "env.py")
    assert schema.tables(embedded) == []


def test_missing_env_py(project: Project) -> None:
    """127 with its path."""
    (project.scripts / "env.py").unlink()
    assert_error_output(schema.run(project, "expand"), 127, "env.py")


_GRAPHS = {
    "two heads": ("expand", "revision = 'x'\ndown_revision = 'e1'\n", ("x", "e2")),
    "a merge of both branches": ("expand", "revision = 'x'\ndown_revision = ('e2', 'c2')\n", ("x",)),
    "both labels": (
        "expand",
        "revision = 'x'\ndown_revision = 'c2'\nbranch_labels = ('expand',)\n",
        ("x",),
    ),
    "the same name twice": ("expand", "revision = 'e2'\ndown_revision = 'e1'\n", ("e2",)),
}


@pytest.mark.parametrize("name", list(_GRAPHS))
def test_invalid_revision_graph(project: Project, embedded: Database, name: str) -> None:
    """127, the revisions are named, and nothing is changed."""
    folder, text, names = _GRAPHS[name]
    (project.scripts / folder / "broken.py").write_text(text + "def upgrade():\n    pass\n")
    for arguments in (["expand"], ["status"], ["contract"]):
        assert_error_output(schema.run(project, *arguments), 127, *names)
    assert schema.tables(embedded) == []


# --- arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["expand", "unknown"],
        ["contract", "unknown"],
        ["gate", "unknown"],
        ["stamp", "unknown"],
        ["expand", "c2"],
        ["contract", "e2"],
        ["gate", "e2"],
        ["migrate", "unknown"],
        ["expand", ""],
    ],
)
def test_unknown_name(project: Project, embedded: Database, arguments: list[str]) -> None:
    """127 with the name, and nothing is changed."""
    assert_error_output(schema.run(project, *arguments), 127, arguments[1])
    assert "volumes" not in schema.tables(embedded)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["db", "nonsense"],
        ["expand", "--nonsense"],
        ["migrate", "--max-count", "abc"],
        ["migrate", "--max-count", "0"],
        ["migrate", "--max-count", "-1"],
        ["migrate", "--batch-size", "1.5"],
        ["online_data_migrations", "--max_count", "abc"],
        ["expand", "e1", "e2"],
        ["stamp"],
        ["revision"],
        ["--nonsense", "status"],
    ],
)
def test_invalid_arguments(project: Project, arguments: list[str]) -> None:
    """127, where click exits with 2."""
    ran = schema.run(project, *arguments)
    assert ran.code == 127, ran.output
    assert "Error" in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_ambiguous_revision_is_refused(project: Project) -> None:
    """127 with the revisions that match."""
    assert_error_output(schema.run(project, "expand", "e"), 127, "e1", "e2")


def test_every_command_works_under_db(project: Project) -> None:
    """``online-migrate db COMMAND``, the form that operators know from cinder-manage."""
    assert schema.run(project, "db", "expand").code == 0
    assert schema.run(project, "db", "migrate").code == 0
    assert schema.run(project, "db", "online_data_migrations").code == 0
    assert schema.run(project, "db", "gate").code == 0
    assert schema.run(project, "db", "contract").code == 0
    for verb in ("status", "plan", "history", "heads", "current", "upgrade"):
        assert schema.run(project, "db", verb).code == 0
    assert "expand" in schema.run(project, "db", "--help").out


def test_help_does_not_import_sqlalchemy(tmp_path: Path) -> None:
    """--help, -h and --version, also of each command: 0, on stdout, without Alembic or
    SQLAlchemy imported."""
    source = (
        "import sys\nfrom online_migrate.cli.main import run\n"
        "codes = [run(a.split()) for a in sys.argv[1:]]\n"
        "loaded = [m for m in ('sqlalchemy', 'alembic', 'oslo_db', 'rich', 'sqlglot') if m in sys.modules]\n"
        "import json\nprint(json.dumps([codes, loaded]))"
    )
    arguments = ["--help", "-h", "--version", "db --help", "expand --help", "contract -h", "init --help"]
    ran = subprocess.run(
        [sys.executable, "-c", source, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout.splitlines()[-1]) == [[0] * len(arguments), []]
    assert ran.stderr == ""


def test_no_arguments_prints_help(project: Project) -> None:
    """Exit 0."""
    ran = schema.run(project)
    assert ran.code == 0
    assert "expand" in ran.out


def test_python_m_online_migrate(project: Project) -> None:
    """Runs the same program, with the same output."""
    ran = project.run("expand")
    assert (ran.code, ran.out) == (0, "expand: applied e1, e2\n")
    assert project.run("contract").code == 3
    assert project.run("nonsense").code == 127


# --- sources of settings -----------------------------------------------------------------------------


def test_url_from_oslo_config(project: Project, embedded: Database, tmp_path: Path) -> None:
    """--config-file with [database] connection; an error in the file is 127."""
    good = tmp_path / "service.conf"
    good.write_text(f"[DEFAULT]\ndebug = true\n[database]\nconnection = {embedded.url}\n")
    without = {"ONLINE_MIGRATE_URL": ""}
    ran = schema.run(project, "expand", "--config-file", str(good), environment=without)
    assert ran.code == 0, ran.output
    assert schema.version_rows(embedded) == ["e2"]
    bad = {"empty.conf": "", "broken.conf": "[database\nconnection", "none.conf": "[database]\n"}
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
        ran = schema.run(project, "--config-file", str(tmp_path / name), "status", environment=without)
        assert_error_output(ran, 127, name)
    missing = str(tmp_path / "nowhere.conf")
    assert_error_output(
        schema.run(project, "status", "--config-file", missing, environment=without), 127, "nowhere"
    )


def test_url_option_precedence(project: Project, embedded: Database) -> None:
    """--url overrides the variable, and --url after the command overrides --url before it."""
    wrong = "sqlite:////no/such/folder/x.db"
    assert schema.run(project, "status", environment={"ONLINE_MIGRATE_URL": wrong}).code == 2
    right = ["--url", embedded.url]
    assert schema.run(project, *right, "status", environment={"ONLINE_MIGRATE_URL": wrong}).code == 0
    assert schema.run(project, "--url", wrong, "status", *right).code == 0
    assert schema.run(project, *right, "db", "status").code == 0


def test_x_arguments_are_passed_to_env_py(project: Project) -> None:
    """context.get_x_argument() returns ``-x name=value``, given before or after the command."""
    env = project.scripts / "env.py"
    env.write_text(
        "import pathlib\nfrom alembic import context\n"
        "pathlib.Path(__file__).with_name('x').write_text(repr(context.get_x_argument(as_dictionary=True)))\n"
        + env.read_text()
    )
    assert schema.run(project, "-x", "one=1", "expand", "-x", "two=2").code == 0
    assert env.with_name("x").read_text() == "{'one': '1', 'two': '2'}"


def test_settings_in_pyproject_and_alembic_ini(project: Project) -> None:
    """[tool.online_migrate] is read beside alembic.ini; an invalid setting is reported with its file."""
    pyproject = project.folder / "pyproject.toml"
    ini = project.config_file.read_text()
    lines = [line for line in ini.splitlines() if "lock_attempts" not in line]
    project.config_file.write_text("\n".join(lines))
    pyproject.write_text("[tool.online_migrate]\nlock-attempts = 7\nlook_timeout = 3\n")
    settings = project.site().project.settings
    assert (settings.lock_attempts, settings.look_timeout) == (7, 20)
    pyproject.write_text("[tool.online_migrate]\nlock_attempts = 'many'\n")
    assert_error_output(schema.run(project, "status"), 127, "lock_attempts")
    pyproject.write_text("[tool.online_migrate\n")
    assert_error_output(schema.run(project, "status"), 127, "pyproject.toml")


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["plan"],
        ["gate"],
        ["history"],
        ["heads"],
        ["current"],
        ["expand"],
        ["migrate"],
        ["contract"],
    ],
)
def test_json_is_one_document_on_stdout(project: Project, arguments: list[str]) -> None:
    """stdout contains nothing else, whether the command succeeds or is refused."""
    ran = schema.run(project, *arguments, "--json")
    assert ran.code in (0, 3), ran.output
    assert (json.loads(ran.out) is not None) if ran.out else ran.code == 3


def test_closed_stdout_gives_no_traceback(project: Project) -> None:
    """``| head``: no traceback when the reader closes the pipe."""
    for verb in ("history", "plan", "status"):
        process = subprocess.Popen(
            [sys.executable, "-m", "online_migrate", verb],
            cwd=project.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ONLINE_MIGRATE_URL": project.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        complaint = process.stderr.read().decode()
        process.stderr.close()
        process.wait(60)
        assert "Traceback" not in complaint
        assert "BrokenPipe" not in complaint
