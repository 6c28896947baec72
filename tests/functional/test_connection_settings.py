"""What env.py does to its connection holds for every connection of ours, or is refused by name."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.command import init
from alembic.config import Config

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project, execute, rows
from tests.support.schema import Snapshot

COMMANDS = (["expand"], ["migrate"], ["gate"], ["contract"], ["upgrade"], ["status"], ["stamp", "heads"])

ENV = """
import sqlalchemy as sa
from alembic import context
import online_migrate

online_migrate.guard()
engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=sa.NullPool)
{engine}
with engine.connect() as connection:
{before}
    context.configure(connection=connection)
    with context.begin_transaction():
{inside}
        context.run_migrations()
"""


@dataclass(frozen=True)
class Change:
    """What an env.py does: to its engine, to its connection, inside of its transaction."""

    words: str
    """Of the refusal."""
    engine: str = ""
    before: str = ""
    inside: str = ""


TRANSLATED = {
    "of the connection": Change(
        "schema_translate_map",
        before="connection = connection.execution_options(schema_translate_map={None: 'tenant'})",
    ),
    "of the engine": Change(
        "schema_translate_map",
        engine="engine = engine.execution_options(schema_translate_map={None: 'tenant'})",
    ),
}
CHANGES = {
    "the cookbook's search path": Change(
        "search_path is 'tenant'",
        before="""
        tenant = context.get_x_argument(as_dictionary=True).get("tenant", "tenant")
        connection.execute(sa.text(f'SET search_path TO "{tenant}"'))
        connection.commit()
        connection.dialect.default_schema_name = tenant
        """,
    ),
    "a search path in its transaction": Change(
        "search_path is 'tenant'", before="connection.execute(sa.text('SET LOCAL search_path TO tenant'))"
    ),
    "a search path for every connection of its engine": Change(
        "search_path is 'tenant'",
        engine="""
        @sa.event.listens_for(engine, "connect")
        def _tenant(connection, _record):
            with connection.cursor() as cursor:
                cursor.execute("SET search_path TO tenant")
            connection.commit()
        """,
    ),
    "a search path after configure": Change(
        "search_path is 'tenant'", inside="connection.execute(sa.text('SET search_path TO tenant'))"
    ),
    "a search path by Alembic's bind": Change(
        "search_path is 'tenant'", inside="context.get_bind().execute(sa.text('SET search_path TO tenant'))"
    ),
    "a search path by Alembic's execute": Change(
        "context.execute('SET search_path TO tenant')",
        inside="context.execute('SET search_path TO tenant')",
    ),
    "a default schema": Change(
        "default_schema_name is 'tenant'", before="connection.dialect.default_schema_name = 'tenant'"
    ),
    "a role": Change("role is 'pg_monitor'", before="connection.execute(sa.text('SET ROLE pg_monitor'))"),
    "another database": Change(
        "database is 'postgres'",
        engine="engine = sa.create_engine(engine.url.set(database='postgres'), poolclass=sa.NullPool)",
    ),
}


def with_env(project: Project, change: Change) -> None:
    """Writes an env.py that does this."""
    source = ENV.format(
        engine=textwrap.dedent(change.engine),
        before=textwrap.indent(textwrap.dedent(change.before), "    "),
        inside=textwrap.indent(textwrap.dedent(change.inside), "        "),
    )
    (project.scripts / "env.py").write_text(source)


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project that moves column a to b, on a table of three rows."""
    execute(
        database.engine,
        "CREATE TABLE t (id int PRIMARY KEY, a int)",
        "INSERT INTO t VALUES (1, 10), (2, 20), (3, 30)",
    )
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand('op.add_column("t", sa.Column("b", sa.Integer))')
        project.contract('op.drop_column("t", "a")', requires=("fill",))
        project.data(
            "fill",
            'fill = Backfill(table="t", values=lambda t: {"b": t.c.a}, pending=lambda t: t.c.b.is_(None))',
        )
        yield project


def assert_refused(project: Project, database: Database, words: str) -> None:
    """Every command says what env.py does and how to do it instead, and changes nothing."""
    before = Snapshot.of(database, "t")
    for arguments in COMMANDS:
        ran = project.run(*arguments)
        assert ran.code == 3, (arguments, ran.out, ran.err)
        text = " ".join(ran.complaint)
        assert words in text
        assert "env.py" in text
        assert "->" in text
    assert Snapshot.of(database, "t") == before


@pytest.mark.needs("row_security")
@pytest.mark.each_product
@pytest.mark.parametrize("name", list(CHANGES))
def test_an_env_py_that_changes_its_session_is_refused(
    project: Project, database: Database, name: str
) -> None:
    """Our connections would act on the schema public, as another role, or on another database."""
    execute(database.engine, "CREATE SCHEMA tenant", "CREATE TABLE tenant.t (id int PRIMARY KEY, a int)")
    with_env(project, CHANGES[name])
    assert_refused(project, database, CHANGES[name].words)


@pytest.mark.each_product
@pytest.mark.parametrize("name", list(TRANSLATED))
def test_an_env_py_that_translates_schemas_is_refused(
    project: Project, database: Database, name: str
) -> None:
    """On every server: it is an option of SQLAlchemy."""
    with_env(project, TRANSLATED[name])
    assert_refused(project, database, TRANSLATED[name].words)


@pytest.mark.needs("lock_tables")
@pytest.mark.parametrize("statement", ["USE mysql", "USE information_schema"])
def test_an_env_py_that_uses_another_database_is_refused(
    project: Project, database: Database, statement: str
) -> None:
    """Our connections would act on the database of the URL."""
    with_env(project, Change("", before=f"connection.execute(sa.text({statement!r}))"))
    assert_refused(project, database, f"database is {statement.split()[1]!r}")


@pytest.mark.needs("virtual_tables")
def test_an_env_py_of_another_file_is_refused(project: Project, database: Database, tmp_path: Path) -> None:
    """On SQLite a database is a file."""
    other = tmp_path / "other.sqlite"
    with_env(project, Change("", engine=f"engine = sa.create_engine('sqlite:///{other}')"))
    assert_refused(project, database, f"main is '{other}'")


@pytest.mark.needs("row_security")
def test_a_search_path_in_the_url_holds_on_every_connection(project: Project, database: Database) -> None:
    """The way out: the same env.py, and everything happens in the tenant's schema, our tables included."""
    execute(
        database.engine,
        "CREATE SCHEMA tenant",
        "CREATE TABLE tenant.t (id int PRIMARY KEY, a int)",
        "INSERT INTO tenant.t VALUES (7, 70)",
    )
    with_env(project, CHANGES["the cookbook's search path"])
    url = sa.make_url(database.url).update_query_dict({"options": "-csearch_path=tenant"})
    project.url = url.render_as_string(hide_password=False)
    before = schema.query_all(database, "SELECT * FROM public.t")
    for command in ("expand", "migrate", "contract"):
        ran = project.run("-x", "tenant=tenant", command)
        assert ran.code == 0, ran.err
    assert rows(database.engine, "SELECT * FROM tenant.t") == [(7, 70)]
    columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'tenant' "
    assert schema.query_all(database, f"{columns} AND table_name = 't' ORDER BY 1") == [("b",), ("id",)]
    assert schema.query_all(database, "SELECT * FROM public.t") == before
    ours = "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_name LIKE 'online%'"
    assert schema.query_all(database, ours) == [("tenant",)]


@pytest.mark.each_product
def test_an_env_py_that_leaves_its_connection_alone_is_accepted(project: Project, database: Database) -> None:
    """It may begin its transaction itself, and set what has no part in which rows are meant."""
    execute(database.engine, "UPDATE t SET a = a + 1")
    with_env(
        project,
        Change("", inside="connection.execute(sa.text('SELECT 1')); connection.commit(); connection.begin()"),
    )
    for command in ("expand", "migrate", "contract"):
        ran = project.run(command)
        assert ran.code == 0, ran.err


# --- several databases ---------------------------------------------------------------------------


@pytest.mark.each_product
@pytest.mark.parametrize("names", ["one, two", "one"])
def test_alembics_template_for_several_databases_is_refused(
    project: Project, database: Database, names: str
) -> None:
    """``alembic init -t multidb``: nothing is applied to one of them and left out on the other."""
    folder = project.folder / "several"
    init(Config(str(project.folder / "unused.ini")), str(folder), template="multidb")
    source = (folder / "env.py").read_text().replace("fileConfig(config.config_file_name)", "pass")
    (project.scripts / "env.py").write_text("import online_migrate\nonline_migrate.guard()\n" + source)
    quoted = database.url.replace("%", "%%")
    with project.config_file.open("a") as ini:
        ini.write("".join(f"\n[{name}]\nsqlalchemy.url = {quoted}\n" for name in names.split(", ")))
    text = project.config_file.read_text()
    project.config_file.write_text(text.replace("[alembic]", f"[alembic]\ndatabases = {names}", 1))
    assert_refused(project, database, "run_migrations(engine_name=...)")


@pytest.mark.each_product
def test_an_env_py_that_configures_twice_is_refused(project: Project, database: Database) -> None:
    """Each tenant in turn, as many projects do: today's commands would serve one of them."""
    with_env(project, Change("", inside="context.run_migrations(); context.configure(connection=connection)"))
    assert_refused(project, database, "more than once, for several databases")
