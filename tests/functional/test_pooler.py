"""A connection pooler in front of PostgreSQL: a real PgBouncer, and the sessions of the application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate import exceptions, services
from online_migrate.dialects import create_engine
from tests.servers import Database
from tests.servers.pgbouncer import pooled
from tests.support import schema
from tests.support.project import Project

pytestmark = pytest.mark.needs("advisory_locks")

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
    ["pause", "volume_bytes"],
)
DEFAULTS = ("lock_timeout", "idle_in_transaction_session_timeout", "default_transaction_read_only")


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Iterator[Project]:
    """The sample project, connected directly to the server."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


def _application_settings(url: str) -> list[tuple[str, ...]]:
    """Returns the settings in the application's next transactions through the pooler; each inserts a row."""
    engine = sa.create_engine(url)
    found = []
    for _ in range(5):
        with engine.begin() as connection:
            settings = (connection.scalar(sa.text(f"SELECT current_setting('{name}')")) for name in DEFAULTS)
            found.append(tuple(settings))
            connection.execute(sa.text("INSERT INTO traffic VALUES (1)"))
    engine.dispose()
    return found


@pytest.mark.parametrize("declared", [False, True], ids=["undeclared", "declared as session"])
def test_transaction_pooler_is_refused_and_its_sessions_are_unchanged(
    declared: bool, database: Database, project: Project, tmp_path: Path
) -> None:
    """Exit code 3 for every command; the sessions of the pooler have none of the engine's settings."""
    database.engine.dispose()
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE traffic (n int)"))
    if declared:
        with project.config_file.open("a") as ini:
            ini.write("\npooler = session\n")
    with pooled(database.url, tmp_path, "transaction") as url:
        before = _application_settings(url)
        for command in COMMANDS:
            ran = project.run(*command, "--url", url)
            expected = 2 if command == ["online_data_migrations"] else 3
            assert (ran.code, ran.out) == (expected, ""), (command, ran.err)
            assert "connection pooler" in ran.err
            assert "--url" in ran.err
        assert _application_settings(url) == before == [("0", "0", "off")] * 5


def test_declared_session_pooler_is_used(database: Database, project: Project, tmp_path: Path) -> None:
    """All phases run through the pooler; afterwards its sessions have none of the engine's settings."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE traffic (n int)"))
    with project.config_file.open("a") as ini:
        ini.write("\npooler = session\n")
    with pooled(database.url, tmp_path, "session") as url:
        for command in ("expand", "migrate", "gate", "contract", "status"):
            ran = project.run(command, "--url", url)
            assert ran.code == 0, (command, ran.err)
        assert _application_settings(url) == [("0", "0", "off")] * 5


ENV_PY = """
from alembic import context
import online_migrate
online_migrate.guard()
context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
"""


def test_session_pooler_is_declared_for_heartbeats_and_pins(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """Undeclared it is refused; declared it is used; one that shares sessions is refused all the same."""
    project.apply_expand()
    with pooled(database.url, tmp_path, "session") as url:
        pins = services.Pins(url, pooler="session")
        with services.heartbeat(url, "worker", survives=[], versions={"rpc": "1.2"}, pooler="session"):
            assert pins.pin("rpc") == "1.2"
        for refused in (
            lambda: services.heartbeat(url, "worker", survives=[]),
            lambda: services.Pins(url).pin("rpc"),
        ):
            with pytest.raises(exceptions.SharedSessions):
                refused()
        with pytest.raises(exceptions.UsageError, match="pooler is session, not 'transaction'"):
            services.Pins(url, pooler="transaction")
    with pooled(database.url, tmp_path, "transaction") as url, pytest.raises(exceptions.SharedSessions):
        services.Pins(url, pooler="session").pin("rpc")


def test_declared_session_pooler_is_used_for_env_py(database: Database, tmp_path: Path) -> None:
    """For the connection of env_attributes, and for the one with which its settings are compared."""
    settings = {"pooler": "session", "env_attributes": "connection"}
    with (
        pooled(database.url, tmp_path, "session") as url,
        Project.create(tmp_path / "project", url, **settings) as sample,
    ):
        (sample.site().project.migrations_dir / "env.py").write_text(ENV_PY)
        sample.expand('op.create_table("t", sa.Column("id", sa.Integer))', "e1")
        assert sample.apply_expand() == ["e1"]


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_undeclared_session_pooler_is_refused(driver: str, database: Database, tmp_path: Path) -> None:
    """A client cannot prove that the pooler keeps one session per client; both drivers detect the pooler."""
    with pooled(database.url, tmp_path, "session") as url:
        through = sa.make_url(url).set(drivername=f"postgresql+{driver}")
        text = through.render_as_string(hide_password=False)
        with pytest.raises(exceptions.SharedSessions, match="a client cannot determine"):
            create_engine(text).connect()
        create_engine(text, pooler="session").connect().close()


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_direct_connection_is_not_taken_for_a_pooler(driver: str, database: Database) -> None:
    """Both drivers report the process id of the server that answers."""
    direct = sa.make_url(database.url).set(drivername=f"postgresql+{driver}")
    engine = create_engine(direct.render_as_string(hide_password=False))
    with engine.connect() as connection:
        driver_connection = connection.connection.driver_connection
        assert driver_connection is not None
        assert driver_connection.info.backend_pid == connection.scalar(sa.text("SELECT pg_backend_pid()"))
    engine.dispose()
