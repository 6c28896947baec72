"""The functions of ``online_migrate.command`` raise errors of online-migrate only."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from oslo_db.exception import DBError

from online_migrate import command, exceptions
from tests.servers import Database
from tests.support import schema
from tests.support.project import Project


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """The sample project on the server."""
    with schema.volumes(tmp_path / "project", database) as project:
        yield project


def test_error_of_the_server_is_translated(project: Project, database: Database) -> None:
    """A column of a bookkeeping table is missing: the error names it, and its cause is the driver's error."""
    schema.ready(project, database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE online_migrate_data_migration RENAME COLUMN status TO s"))
    for called in (command.migrate, functools.partial(command.pause, name="volume_bytes")):
        with pytest.raises(exceptions.ServerError) as caught:
            called(project.site())
        assert "status" in str(caught.value)
        assert isinstance(caught.value.__cause__, sa.exc.SQLAlchemyError | DBError)
        assert pickle.loads(pickle.dumps(caught.value)).exit_code == 2


def test_command_is_the_documented_function() -> None:
    assert command.migrate is command.migrate
    assert command.migrate.__name__ == "migrate"
    assert "data migrations" in (command.migrate.__doc__ or "")
    assert isinstance(command.MigrateOptions(max_count=1), command.MigrateOptions)
