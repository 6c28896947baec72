"""A user that may open few connections: a command says so before it begins, and how to use fewer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import Database
from tests.support import schema
from tests.support.accounts import limited_user
from tests.support.schema import tables

pytestmark = [pytest.mark.needs("many_writers"), pytest.mark.each_product]


def test_a_run_says_how_many_connections_it_needs(database: Database, tmp_path: Path) -> None:
    """Exit code 3 before the first chunk; with what it says to use instead, the run succeeds."""
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


GRANTS = ("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC",)
"""Tables belong to the user that made them."""


@pytest.mark.parametrize("command", ["expand", "contract"])
def test_a_schema_change_says_how_many_connections_it_needs(
    command: str, database: Database, tmp_path: Path
) -> None:
    """One is too few everywhere: nothing is changed."""
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
