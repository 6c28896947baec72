"""Every template of Alembic supports all phases of a change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from alembic.config import Config

from tests.servers import Database
from tests.support import schema
from tests.support.foreign import Foreign, async_url

pytestmark = pytest.mark.each_product

SEVERAL_DATABASES = {"multidb"}
"""Templates for more than one database, which are out of scope."""
TEMPLATES = sorted(set(os.listdir(Config().get_template_directory())) - SEVERAL_DATABASES)
_PLACEHOLDER = "driver://user:pass@localhost/dbname"


def create_by_alembic(database: Database, folder: Path, template: str) -> Foreign:
    """Creates a project by ``alembic init -t TEMPLATE``, sets the URL and applies one revision."""
    folder.mkdir()
    url = async_url(database) if "async" in template else database.url
    project = Foreign(folder, url)
    project.does_alembic("init", "-t", template, "db")
    project.replace(project.config_file, _PLACEHOLDER, url.replace("%", "%%"))
    project.base(
        'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), sa.Column("old", sa.Integer))'
    )
    project.does_alembic("upgrade", "head")
    schema.run_all(
        database, "INSERT INTO t (id, old) VALUES (1, 10)", "INSERT INTO t (id, old) VALUES (2, 20)"
    )
    return project


@pytest.mark.parametrize("template", TEMPLATES)
def test_template_supports_all_phases(database: Database, tmp_path: Path, template: str) -> None:
    """init by Alembic, adopt, revision, expand, migrate, gate, contract, status; plain Alembic is refused.

    Without guard() in env.py a command that writes is refused; one that reads is not.
    """
    project = create_by_alembic(database, tmp_path / "project", template)
    project.does("init", "--adopt")
    project.does("status")
    assert "online_migrate.guard()" in project.does("expand", code=3).err
    project.guard()
    names = project.pair(
        'op.add_column("t", sa.Column("new", sa.Integer))', 'op.drop_column("t", "old")', requires=["fill"]
    )
    project.data(
        "fill",
        'fill = Backfill(table="t", values=lambda t: {"new": t.c.old}, '
        f"pending=lambda t: t.c.new.is_(None), revision={names[0]!r})",
    )
    project.does("expand")
    project.does("gate", code=3)
    refused = project.alembic("upgrade", "heads")
    assert refused.code == 255, refused
    assert "c1" in refused.out + refused.err
    project.does("plan")
    project.does("migrate")
    project.does("gate")
    assert project.alembic("upgrade", "heads").code == 255
    project.does("contract")
    project.does("status")
    assert schema.version_rows(database) == ["c1"]
    assert schema.query_all(database, "SELECT id, new FROM t ORDER BY id") == [(1, 10), (2, 20)]
    assert "old" not in schema.shape(database)["t"]["columns"]
    project.does_alembic("current")
    project.does("current", "--check-heads")


def test_templates_of_alembic_are_found() -> None:
    """The expected templates of this version of Alembic, except those for several databases, are tested."""
    assert {"generic", "async", "pyproject", "pyproject_async"} <= set(TEMPLATES)
