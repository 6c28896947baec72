"""What a command imports: its start takes as long as its imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support.project import ROOT, Project, create, insert

pytestmark = pytest.mark.each_product

FILL = """
fill = Backfill(
    table="items", values=lambda t: {"size": t.c.gb * 10}, pending=lambda t: t.c.size.is_(None)
)
"""
RUN = """
import json, sys
from online_migrate.cli.main import run
code = run(["migrate", "--json"])
print(json.dumps([code, sorted(sys.modules)]))
"""
NOT_NEEDED = (
    "online_migrate.contract",
    "online_migrate.status",
    "online_migrate.demo",
    "online_migrate.runtime.apply",
    "online_migrate.script.create",
    "online_migrate.script.init",
    "sqlglot",
    "sqlalchemy.orm",
    "pygments",
    "rich",
)


def test_migrate_does_not_import_what_it_does_not_need(database: Database, tmp_path: Path) -> None:
    columns = (
        sa.Column("id", sa.Integer, primary_key=True),
        *(sa.Column(c, sa.Integer) for c in ("gb", "size")),
    )
    table = create(database.engine, sa.Table("items", sa.MetaData(), *columns))
    insert(database.engine, table, [{"id": 1, "gb": 2}])
    project = Project.create(tmp_path / "project", database.url)
    project.data("fill", FILL)
    ran = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ONLINE_MIGRATE_URL": database.url},
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(ran.stdout.splitlines()[-1])
    assert (code, [name for name in NOT_NEEDED if name in modules]) == (0, [])
