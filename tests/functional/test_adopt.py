"""An existing Alembic project: it works as before after adoption, and can then expand and contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.project import Project

LENGTH = 300
TIP = f"r{LENGTH:03}"

ENV = """\
import os

import sqlalchemy as sa
from alembic import context
{guard}
config = context.config
url = config.get_main_option("sqlalchemy.url") or os.environ["ONLINE_MIGRATE_URL"]


def offline():
    context.configure(url=url, literal_binds=True{options})
    with context.begin_transaction():
        context.run_migrations()


def online():
    connectable = config.attributes.get("connection")
    if connectable is not None:
        context.configure(connection=connectable{options})
        with context.begin_transaction():
            context.run_migrations()
        return
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection{options})
        with context.begin_transaction():
            context.run_migrations()


offline() if context.is_offline_mode() else online()
"""
GUARD = "import online_migrate\nonline_migrate.guard()\n"

INI = """\
# A comment of the user's own.
[alembic]
# path to migration scripts
script_location = %(here)s/db
prepend_sys_path = .
{extra}
; another comment
sqlalchemy.url =

[post_write_hooks]

[loggers]
keys = root

[handlers]
keys =

[formatters]
keys =

[logger_root]
level = WARNING
handlers =
"""

MAKO = '''\
"""${message}"""
from alembic import op
import sqlalchemy as sa

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


def existing(
    folder: Path, url: str, *, length: int = LENGTH, extra: str = "", options: str = "", guard: bool = False
) -> Project:
    """An ordinary Alembic project: linear, with its scripts in ``db/versions``."""
    versions = folder / "db" / "versions"
    versions.mkdir(parents=True)
    section = extra if extra.startswith("[") else ""
    (folder / "alembic.ini").write_text(INI.format(extra="" if section else extra) + section)
    (folder / "db" / "env.py").write_text(ENV.format(guard=GUARD if guard else "", options=options))
    (folder / "db" / "script.py.mako").write_text(MAKO)
    for number in range(1, length + 1):
        body = "pass"
        if number == 1:
            body = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))'
        elif number % 30 == 0:
            body = f'op.add_column("t", sa.Column("c{number}", sa.Integer))'
        text = schema.script(f"r{number:03}", body, down=f"r{number - 1:03}" if number > 1 else None)
        (versions / f"r{number:03}_.py").write_text(text)
    return Existing(folder, url)


class Existing(Project):
    """A project whose scripts are in ``db``."""

    @property
    def scripts(self) -> Path:
        return self.folder / "db"


def protect(project: Project, options: str = "") -> None:
    """Adds the two lines to env.py."""
    (project.scripts / "env.py").write_text(ENV.format(guard=GUARD, options=options))


def create_change(project: Project) -> tuple[str, str]:
    """Creates a pair with ``revision -m`` and fills it in. Returns the two revisions."""
    made = schema.run(project, "revision", "-m", "a change")
    assert made.code == 0, made.output
    expand, contract = (project.folder / line for line in made.out.split())
    assert expand.parent.name == "expand"
    assert contract.parent.name == "contract"
    text = expand.read_text()
    expand.write_text(text.replace("    pass", '    op.add_column("t", sa.Column("n", sa.Integer))', 1))
    text = contract.read_text().replace("requires = None", 'requires = ("fill",)')
    contract.write_text(text.replace("    pass", '    op.drop_column("t", "c300")', 1))
    names = [path.name.partition("_")[0] for path in (expand, contract)]
    source = 'fill = Backfill(table="t", values={"n": 1}, pending=lambda t: t.c.n.is_(None), revision='
    project.data("fill", f"{source}{names[0]!r})")
    return names[0], names[1]


def test_adopted_project_of_300_revisions_works_as_before(database: Database, tmp_path: Path) -> None:
    """adopt, then plain Alembic as before, then expand refuses behind the tip, then a full change."""
    project = existing(tmp_path / "project", database.url)
    before = project.config_file.read_text()
    adopted = schema.run(project, "init", "--adopt")
    assert adopted.code == 0, adopted.output
    assert "online_migrate.guard()" in adopted.out
    assert TIP in adopted.out
    after = project.config_file.read_text()
    for line in before.splitlines():
        assert line in after, f"{line!r} was lost"
    assert (project.scripts / "env.py").read_text() == ENV.format(guard="", options="")

    # Alembic works as before, with and without the two lines.
    assert schema.alembic(project, "upgrade", "r100").code == 0
    refused = schema.run(project, "expand")
    assert refused.code == 3
    assert "online_migrate.guard()" in refused.err
    protect(project)
    assert schema.alembic(project, "upgrade", "r200").code == 0
    assert schema.version_rows(database) == ["r200"]
    assert schema.alembic(project, "downgrade", "-1").code == 0
    assert schema.version_rows(database) == ["r199"]

    names = create_change(project)
    behind = schema.run(project, "expand")
    assert behind.code == 3
    assert f"alembic upgrade {TIP}" in behind.err
    assert schema.version_rows(database) == ["r199"]
    ran = schema.alembic(project, "upgrade", TIP)
    assert ran.code == 0, ran.output
    for verb in ("expand", "migrate", "contract"):
        ran = schema.run(project, verb)
        assert ran.code == 0, ran.output
    assert schema.version_rows(database) == [names[1]]
    columns = set(schema.shape(database)["t"]["columns"])
    assert columns == {"id", "n", *(f"c{number}" for number in range(30, 300, 30))}
    assert schema.run(project, "current", "--check-heads").code == 0


def test_upgrade_of_adopted_project(database: Database, tmp_path: Path) -> None:
    """A fresh database passes through the base, the expand branch, the data and the contract branch."""
    project = existing(tmp_path / "project", database.url, length=301)
    assert schema.run(project, "init", "--adopt").code == 0
    protect(project)
    _, contract = create_change(project)
    done = schema.run(project, "upgrade")
    assert done.code == 0, done.output
    assert schema.version_rows(database) == [contract]
    assert "n" in schema.shape(database)["t"]["columns"]
    assert "c300" not in schema.shape(database)["t"]["columns"]


# --- variants of alembic.ini, independent of the server --------------------------------------------


_INI = {
    "plain": "",
    "path_separator os": "path_separator = os",
    "path_separator space": "path_separator = space",
    "path_separator newline": "path_separator = newline",
    "version_path_separator": "version_path_separator = os",
    "version_locations": "version_locations = %(here)s/db/versions",
    "version_locations with spaces": "path_separator = space\nversion_locations = %(here)s/db/versions",
    "several lines": "path_separator = newline\n"
    "version_locations =\n    %(here)s/db/versions\n    %(here)s/db/more",
    "colons": "path_separator = :\nversion_locations = %(here)s/db/versions:%(here)s/db/more",
    "file_template": "file_template = %%(year)d_%%(rev)s_%%(slug)s",
    "timezone and more": "timezone = UTC\ntruncate_slug_length = 40\noutput_encoding = utf-8",
    "section online_migrate": "[online_migrate]\nlock_timeout = 3",
    "defaults": "[DEFAULT]\nsome_default = value",
}


@pytest.mark.parametrize("extra", list(_INI.values()), ids=list(_INI))
def test_adopt_keeps_alembic_ini_settings(tmp_path: Path, extra: str) -> None:
    """Every setting and comment is kept, and both Alembic and the engine's commands then find all scripts."""
    with schema.embedded().fresh_database(tmp_path) as database:
        project = existing(tmp_path / "project", database.url, length=3, extra=extra, guard=True)
        (project.scripts / "more").mkdir()
        assert schema.alembic(project, "upgrade", "r002").code == 0
        adopted = schema.run(project, "init", "--adopt")
        assert adopted.code == 0, adopted.output
        text = project.config_file.read_text()
        for comment in ("# A comment of the user's own.", "# path to migration scripts", "; another comment"):
            assert comment in text
        history = schema.alembic(project, "history")
        assert history.code == 0, history.output
        assert "r003" in history.out
        assert schema.alembic(project, "upgrade", "head").code == 0
        made = schema.run(project, "revision", "-m", "a change")
        assert made.code == 0, made.output
        expanded = schema.run(project, "expand")
        assert expanded.code == 0, expanded.output
        again = schema.run(project, "init", "--adopt")
        assert again.code in (0, 127)
        assert "Traceback" not in again.err


def test_adopt_keeps_prepend_sys_path(tmp_path: Path) -> None:
    """Several directories in prepend_sys_path, split as Alembic splits them: by spaces, commas or colons."""
    with schema.embedded().fresh_database(tmp_path) as database:
        project = existing(tmp_path / "project", database.url, length=2, guard=True)
        text = project.config_file.read_text()
        project.config_file.write_text(text.replace("prepend_sys_path = .", "prepend_sys_path = . lib"))
        (project.folder / "lib").mkdir()
        (project.folder / "lib" / "models_of_the_user.py").write_text("answer = 42\n")
        env = project.scripts / "env.py"
        env.write_text("import models_of_the_user\n" + env.read_text())
        assert schema.alembic(project, "upgrade", "head").code == 0
        assert schema.run(project, "init", "--adopt").code == 0
        ran = schema.alembic(project, "current")
        assert ran.code == 0, ran.output
        engine_run = schema.run(project, "current")
        assert engine_run.code == 0, engine_run.output


def test_adopt_with_connection_in_config_attributes(database: Database, tmp_path: Path) -> None:
    """An env.py that takes ``config.attributes["connection"]`` works for the engine and for its owner."""
    import sqlalchemy as sa
    from alembic import command
    from alembic.config import Config

    project = existing(tmp_path / "project", database.url, length=3, guard=True)
    config = Config(str(project.config_file))
    config.set_main_option("sqlalchemy.url", database.url.replace("%", "%%"))
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "r002")
    assert schema.version_rows(database) == ["r002"]
    assert schema.run(project, "init", "--adopt").code == 0
    assert schema.run(project, "upgrade").code == 0
    assert schema.version_rows(database) == ["r003"]


def test_adopt_with_version_table_option(database: Database, tmp_path: Path) -> None:
    """The arguments of context.configure in env.py apply to the engine's commands too."""
    options = ', version_table="our_versions"'
    project = existing(tmp_path / "project", database.url, length=300, options=options)
    assert schema.run(project, "init", "--adopt").code == 0
    protect(project, options)
    names = create_change(project)
    assert schema.alembic(project, "upgrade", TIP).code == 0
    for verb in ("expand", "migrate", "contract"):
        ran = schema.run(project, verb)
        assert ran.code == 0, ran.output
    assert schema.version_rows(database, "our_versions") == [names[1]]
    assert schema.version_rows(database) == []
    assert schema.run(project, "stamp", "heads").code == 0
    assert schema.version_rows(database) == []


@pytest.mark.needs("transactional_ddl", "many_writers")
def test_adopt_with_version_table_schema_option(database: Database, tmp_path: Path) -> None:
    """version_table_schema, on a server that has schemas."""
    schema.run_all(database, "CREATE SCHEMA bookkeeping")
    options = ', version_table_schema="bookkeeping"'
    project = existing(tmp_path / "project", database.url, length=300, options=options)
    assert schema.run(project, "init", "--adopt").code == 0
    protect(project, options)
    names = create_change(project)
    done = schema.run(project, "upgrade")
    assert done.code == 0, done.output
    assert schema.query_all(database, "SELECT version_num FROM bookkeeping.alembic_version") == [(names[1],)]
    assert schema.version_rows(database) == []


def test_adopt_refuses_branched_history(tmp_path: Path) -> None:
    """Two heads in the history: 127, both are named, and alembic.ini is unchanged."""
    with schema.embedded().fresh_database(tmp_path) as database:
        project = existing(tmp_path / "project", database.url, length=3)
        fork = project.scripts / "versions" / "fork.py"
        fork.write_text(schema.script("fork", "pass", down="r001"))
        before = project.config_file.read_text()
        refused = schema.run(project, "init", "--adopt")
        assert refused.code == 127
        assert "fork" in refused.err
        assert "r003" in refused.err
        assert "Traceback" not in refused.err
        assert project.config_file.read_text() == before


def test_adopt_without_alembic_ini_is_refused(tmp_path: Path) -> None:
    """No alembic.ini: 127, one to three lines."""
    with schema.embedded().fresh_database(tmp_path) as database:
        project = Project(tmp_path / "nothing", database.url)
        project.folder.mkdir()
        refused = schema.run(project, "init", "--adopt")
        assert refused.code == 127
        assert 1 <= len(refused.complaint) <= 3
