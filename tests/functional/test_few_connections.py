"""A user with few connections: a command refuses before it starts, and names how to use fewer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.accounts import limited_user
from tests.support.schema import tables

pytestmark = [pytest.mark.needs("many_writers"), pytest.mark.each_product]


def test_migrate_reports_required_connections(database: Database, tmp_path: Path) -> None:
    """Exit code 3 before the first chunk; with the option that the hint names, the run succeeds."""
    with schema.volumes(tmp_path / "project", database, pace=None) as project:
        schema.as_before(project, database)
        project.apply_expand()
        with limited_user(database, 3) as url:
            if database.server.has("transactional_ddl"):
                schema.run_all(database, *GRANTS)
            ran = schema.run(project, "--url", url, "migrate")
            assert ran.code == 3, ran.output
            assert "migrate needs 4 connections" in ran.err
            assert "--pace full" in ran.err
            assert "Traceback" not in ran.err
            ran = schema.run(project, "--url", url, "migrate", "--pace", "full")
            assert ran.code == 0, ran.output


@pytest.mark.parametrize(("pace", "most"), [("default", 4), ("full", 3)])
def test_worker_runs_without_its_second_connection(
    pace: str, most: int, database: Database, tmp_path: Path
) -> None:
    """With as many connections as the refusal names, every chunk is written on the first one."""
    with schema.volumes(tmp_path / "project", database, pace=pace, batch_size=2) as project:
        schema.as_before(project, database)
        project.apply_expand()
        with limited_user(database, most) as url:
            if database.server.has("transactional_ddl"):
                schema.run_all(database, *GRANTS)
            ran = schema.run(project, "--url", url, "migrate")
            assert ran.code == 0, ran.output
            assert "reconnect" not in ran.err.lower()
            assert project.counts("volume_bytes")[1:] == (0, 0)


GRANTS = ("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC",)
"""Tables belong to the user that created them."""


@pytest.mark.parametrize("command", ["expand", "contract"])
def test_schema_change_reports_required_connections(command: str, database: Database, tmp_path: Path) -> None:
    """One connection is too few on every server: nothing is changed."""
    with schema.volumes(tmp_path / "project", database) as project:
        if command == "contract":
            schema.ready(project, database)
        with limited_user(database, 1) as url:
            if database.server.has("transactional_ddl"):
                schema.run_all(database, *GRANTS)
            before = tables(database)
            ran = schema.run(project, "--url", url, command)
            assert ran.code == 3, ran.output
            assert f"{command} needs " in ran.err
            assert "Traceback" not in ran.err
            assert tables(database) == before
