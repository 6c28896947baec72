"""The old and the new version of an application on one database, from before expand to after contract."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support import schema
from tests.support.schema import GIB, OldVersion


class NewVersion(threading.Thread):
    """Writes and reads only the new column, as code that does not have the old one."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._over = threading.Event()
        self.acknowledged: list[int] = []
        self.errors: list[str] = []

    def __enter__(self) -> NewVersion:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(60)
        assert not self.is_alive(), "the new version still waits for a lock"

    def run(self) -> None:
        engine = sa.create_engine(self._database.url, poolclass=sa.NullPool)
        insert = sa.text("INSERT INTO volumes (id, size_bytes) VALUES (:id, :size)")
        with engine.connect() as connection:
            for row in itertools.count(500_000):
                if self._over.is_set():
                    return
                try:
                    connection.execute(insert, {"id": row, "size": schema.size_of(row) * GIB})
                    connection.commit()
                except sa.exc.DBAPIError as error:
                    connection.rollback()
                    self.errors.append(str(error.orig))
                else:
                    self.acknowledged.append(row)
                self._over.wait(0.005)


@pytest.mark.needs("many_writers")
def test_both_versions_write_without_loss(database: Database, tmp_path: Path) -> None:
    """expand, migrate and contract as commands; none of them makes a statement of the new version fail."""
    with schema.volumes(tmp_path / "project", database, pace=None) as project:
        schema.as_before(project, database)
        with OldVersion(database) as old:
            assert schema.run(project, "expand").code == 0
            refused_by_expand = old.refused
            with NewVersion(database) as new:
                while len(new.acknowledged) < 3:
                    threading.Event().wait(0.01)
                migrated = schema.run(project, "migrate")
                assert migrated.code == 0, migrated.output
                assert old.refused == refused_by_expand == 0
                contracted = schema.run(project, "contract")
                assert contracted.code == 0, contracted.output
                count = len(new.acknowledged)
                while len(new.acknowledged) < count + 3:
                    threading.Event().wait(0.01)
        assert new.errors == []
    rows = dict(schema.query_all(database, "SELECT id, size_bytes FROM volumes"))
    expected = [*range(1, 21), *old.acknowledged, *new.acknowledged]
    assert set(rows) == set(expected)
    assert rows == {row: schema.size_of(row) * GIB for row in expected}
    assert old.refused > 0  # since contract its column is missing
