"""Plain Alembic on a project: additive steps work as before, contract steps are refused by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.project import ROOT, Project
from tests.support.schema import GIB, Snapshot

pytestmark = pytest.mark.each_product

CONTRACT = "online-migrate contract"


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project, expanded but not migrated: every row is pending."""
    with schema.volumes(tmp_path / "project", database) as project:
        schema.as_before(project, database)
        project.apply_expand()
        yield project


_REFUSED = {
    "upgrade heads": CONTRACT,
    "upgrade head": "",  # Alembic itself refuses: there are two heads
    "upgrade contract@head": CONTRACT,
    "upgrade contract@+1": CONTRACT,
    "upgrade c2": CONTRACT,
    "upgrade +1": "",
    "upgrade heads --sql": "",
    "upgrade contract@head --sql": "",
    "upgrade e2:c2 --sql": "",
    "stamp heads": "online-migrate stamp",
    "stamp c2": "online-migrate stamp",
    "stamp contract@head": "online-migrate stamp",
}


def assert_refused(ran: schema.Run, hint: str) -> None:
    """Asserts an error without a traceback, no SQL on stdout, and the command to use instead."""
    assert ran.code not in (0, -9), ran.output
    complaint = "\n".join(ran.complaint)
    assert "DROP" not in ran.out, ran.out
    assert hint in complaint + ran.out


def test_veto_refuses_contract_steps_of_plain_alembic(project: Project, database: Database) -> None:
    """In every spelling: refused by name, and schema, version rows and rows do not change."""
    before = Snapshot.of(database)
    for arguments, hint in _REFUSED.items():
        assert_refused(schema.alembic(project, *arguments.split()), hint)
        assert Snapshot.of(database) == before, arguments


def test_veto_holds_with_an_open_gate(project: Project, database: Database) -> None:
    """No row is pending: plain Alembic is still refused, as it does not count under a lock."""
    project.migrate()
    before = Snapshot.of(database)
    refused = schema.alembic(project, "upgrade", "heads")
    assert_refused(refused, CONTRACT)
    assert "c2" in refused.output
    assert Snapshot.of(database) == before


def test_veto_refuses_the_downgrade_of_a_contract(project: Project, database: Database) -> None:
    """A downgrade cannot restore dropped data: refused, and nothing is changed."""
    project.migrate()
    assert schema.run(project, "contract").code == 0
    before = Snapshot.of(database)
    for target in ("-1", "contract@-1", "base", "e2"):
        ran = schema.alembic(project, "downgrade", target)
        assert "Traceback" not in ran.err
        if target != "e2":  # where the expand branch is; Alembic does nothing or refuses
            assert ran.code != 0, ran.output
        assert Snapshot.of(database) == before, target


def test_veto_applies_nothing_of_upgrade_heads_on_an_empty_database(
    database: Database, tmp_path: Path
) -> None:
    """The expands before the contract are not applied either, and the command to use is named."""
    with schema.volumes(tmp_path / "project", database) as project:
        refused = schema.alembic(project, "upgrade", "heads")
        assert_refused(refused, "online-migrate upgrade")
        assert schema.version_rows(database) == []
        assert "volumes" not in schema.tables(database)


def test_veto_in_a_separate_alembic_process(project: Project, database: Database) -> None:
    """``python -m alembic upgrade heads``: one line, exit code 255."""
    before = Snapshot.of(database)
    ran = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "heads"],
        cwd=project.folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "ONLINE_MIGRATE_URL": project.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 255
    assert CONTRACT in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert Snapshot.of(database) == before


_PERMITTED = {
    "history": "c2",
    "history --verbose": "c2",
    "heads": "c2",
    "branches": "",
    "show c2": "c2",
    "current": "e2",
    "upgrade expand@head": "",
    "upgrade e2": "",
    "stamp e2": "",
}


def test_veto_permits_commands_that_do_not_contract(project: Project, database: Database) -> None:
    """Alembic's reading commands, and its upgrades along the expand branch."""
    before = Snapshot.of(database)
    for arguments, answer in _PERMITTED.items():
        ran = schema.alembic(project, *arguments.split())
        assert ran.code == 0, (arguments, ran.output)
        assert answer in ran.out
        assert Snapshot.of(database) == before, arguments


def test_plain_alembic_expands_a_fresh_database(database: Database, tmp_path: Path) -> None:
    """``alembic upgrade expand@head`` equals expand: the trigger works, and online-migrate continues."""
    with schema.volumes(tmp_path / "project", database) as project:
        sql = schema.alembic(project, "upgrade", "expand@head", "--sql")
        assert sql.code == 0, sql.output
        assert "CREATE TABLE volumes" in sql.out
        assert schema.tables(database) == []
        ran = schema.alembic(project, "upgrade", "expand@head")
        assert ran.code == 0, ran.output
        assert schema.version_rows(database) == ["e2"]
        schema.fill(database, 1, 3)
        assert schema.query_all(database, "SELECT size_bytes FROM volumes WHERE id = 3") == [(4 * GIB,)]
        project.migrate()
        assert schema.run(project, "contract").code == 0
        assert schema.version_rows(database) == ["c2"]


MODEL = """
import sqlalchemy as sa
from online_migrate import run_environment
target_metadata = sa.MetaData()
sa.Table("volumes", target_metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("note", sa.String(40)),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    {extra})
run_environment(target_metadata)
"""


def test_autogenerate_ignores_the_state_tables(project: Project, database: Database) -> None:
    """check finds no difference on a contracted database, revision --autogenerate only those of the model."""
    project.migrate()
    assert schema.run(project, "contract").code == 0
    (project.scripts / "env.py").write_text(MODEL.format(extra=""))
    checked = schema.alembic(project, "check")
    assert checked.code == 0, checked.output
    (project.scripts / "env.py").write_text(MODEL.format(extra='sa.Column("third", sa.Integer)'))
    assert schema.alembic(project, "check").code != 0
    arguments = ["revision", "--autogenerate", "-m", "third", "--head", "expand@head"]
    ran = schema.alembic(project, *arguments, "--version-path", str(project.scripts / "expand"), "--splice")
    assert ran.code == 0, ran.output
    [script] = (project.scripts / "expand").glob("*_third.py")
    text = script.read_text()
    assert "add_column('volumes'" in text
    assert "online_migrate_" not in text
    assert "drop_table" not in text


def test_veto_works_with_guard_in_an_own_env_py(project: Project, database: Database) -> None:
    """guard() and the user's own context.configure: the same steps are refused and permitted."""
    (project.scripts / "env.py").write_text(OWN_ENV)
    before = Snapshot.of(database)
    assert_refused(schema.alembic(project, "upgrade", "heads"), CONTRACT)
    assert Snapshot.of(database) == before
    assert schema.alembic(project, "upgrade", "expand@head").code == 0
    assert schema.alembic(project, "current").code == 0
    project.migrate()
    assert schema.run(project, "contract").code == 0


OWN_ENV = """
import os
import sqlalchemy as sa
from alembic import context
import online_migrate
online_migrate.guard()

url = context.config.get_main_option("sqlalchemy.url") or os.environ["ONLINE_MIGRATE_URL"]
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""


def test_commands_refuse_an_env_py_without_guard(project: Project, database: Database) -> None:
    """With such an env.py plain Alembic could bypass the gate: exit code 3, and the two lines are printed."""
    (project.scripts / "env.py").write_text(
        OWN_ENV.replace("import online_migrate\n", "").replace("online_migrate.guard()\n", "")
    )
    before = Snapshot.of(database)
    for verb in ("expand", "migrate", "contract", "upgrade"):
        refused = schema.run(project, verb)
        assert refused.code == 3, (verb, refused.output)
        assert "import online_migrate" in refused.err
        assert "online_migrate.guard()" in refused.err
        assert "Traceback" not in refused.err
    assert Snapshot.of(database) == before


def test_permit_is_limited_to_its_revision(project: Project, database: Database) -> None:
    """c2 was permitted; c3 after it is refused as before."""
    project.contract('op.drop_column("volumes", "note")', "c3", requires=("volume_bytes",))
    project.migrate()
    assert schema.run(project, "contract", "c2").code == 0
    assert_refused(schema.alembic(project, "upgrade", "heads"), CONTRACT)
    assert "note" in schema.shape(database)["volumes"]["columns"]


def test_expand_that_depends_on_a_contract_is_refused(project: Project, database: Database) -> None:
    """Expand names both revisions; commands that read say what they say of every tree.

    Plain Alembic is refused without a traceback.
    """
    project.expand('op.add_column("volumes", sa.Column("third", sa.Integer))', "e3", depends_on="c2")
    before = Snapshot.of(database)
    refused = schema.run(project, "expand")
    assert refused.code == 3, refused.output
    text = "\n".join(refused.complaint)
    assert "e3" in text
    assert "c2" in text
    for verb in ("status", "plan", "history", "current", "gate"):
        read = schema.run(project, verb)
        assert read.code == (3 if verb == "gate" else 0), (verb, read.output)
        assert "Traceback" not in read.output
    plain = schema.alembic(project, "upgrade", "expand@head")
    assert plain.code != 0
    assert "Traceback" not in plain.output, plain.output
    assert Snapshot.of(database) == before
