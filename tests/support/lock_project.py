"""A project with short lock waits, whose contract drops a column of a table with migrated rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.servers import Database
from tests.support.project import Project, execute

FILL = """
fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""


def ready_to_contract(folder: Path, database: Database) -> Iterator[Project]:
    """Yields the project; everything before contract is done. The lock timeout is 0.5 s, for two attempts."""
    with Project.create(folder, database.url, lock_timeout=0.5, lock_attempts=2) as project:
        execute(
            database.engine,
            "CREATE TABLE items (id INTEGER PRIMARY KEY, gb INTEGER, size INTEGER)",
            "INSERT INTO items (id, gb) VALUES (1, 1), (2, 2)",
        )
        project.expand("pass")
        project.data("fill", FILL)
        project.contract('op.drop_column("items", "gb")', requires=("fill",))
        project.apply_expand()
        project.migrate()
        yield project
