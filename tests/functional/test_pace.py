"""The target time of a chunk at each pace, as the worker of a real run uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate.throttle.duty_cycle import AdaptiveDutyCycle
from online_migrate.walk.chunk_size import ChunkSize
from tests.servers import Database
from tests.support.project import Project, create, insert

pytestmark = pytest.mark.each_product

FILL = """
fill = Backfill(table="items", values={"size": 1}, pending=lambda t: t.c.size.is_(None))
"""
SHORTEST, LONGEST = 0.012, 0.05
"""The chunk times of the default pace, in seconds; docs/operating.md names them."""


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> set[float]:
    """The target times of all chunks, in milliseconds."""
    found: set[float] = set()
    observe = ChunkSize.observe

    def recorded(self: ChunkSize, *arguments: Any, **options: Any) -> int:
        size = observe(self, *arguments, **options)
        found.add(round(self.target * 1000, 1))
        return size

    monkeypatch.setattr(ChunkSize, "observe", recorded)
    return found


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    """A project with 2,000 pending rows."""
    columns = (sa.Column("id", sa.Integer, primary_key=True), sa.Column("size", sa.Integer))
    items = create(database.engine, sa.Table("items", sa.MetaData(), *columns))
    insert(database.engine, items, [{"id": i} for i in range(1, 2_001)])
    with Project.create(tmp_path / "project", database.url, pace=None) as project:
        project.data("fill", FILL)
        yield project


@pytest.mark.needs("many_writers")
@pytest.mark.parametrize(
    ("share", "target"),
    [(1.0, LONGEST), (0.5, LONGEST / 2), (0.1, SHORTEST)],
    ids=["latency as usual", "in between", "latency worse"],
)
def test_chunk_time_of_the_default_pace_follows_the_latency(
    share: float, target: float, project: Project, targets: set[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latency probe sets the share of the longest chunk time, between the two bounds of the pace."""
    made: list[AdaptiveDutyCycle] = []
    init = AdaptiveDutyCycle.__init__

    def fixed(self: AdaptiveDutyCycle, **options: Any) -> None:
        init(self, **options)
        made.append(self)
        # Applied before the first chunk, instead of by measurements, which depend on the machine.
        self.chunk_time_share = max(share, options["shortest"])

    monkeypatch.setattr(AdaptiveDutyCycle, "__init__", fixed)
    monkeypatch.setattr(AdaptiveDutyCycle, "observe", lambda self, **_: self.duty_cycle)
    assert project.migrate()["fill"].done == 2_000
    assert len(made) == 1
    assert list(targets) == [pytest.approx(target * 1000)]


@pytest.mark.parametrize(
    ("pace", "target"), [({"pace": "gentle"}, 0.007), ({"pace": "full"}, 0.1), ({"chunk_time": 0.03}, 0.03)]
)
def test_every_other_pace_has_one_chunk_time(
    pace: dict[str, Any], target: float, project: Project, targets: set[float]
) -> None:
    assert project.migrate(**pace)["fill"].done == 2_000
    assert list(targets) == [pytest.approx(target * 1000)]


@pytest.mark.needs("single_writer")
def test_chunks_are_short_where_no_latency_is_measured(project: Project, targets: set[float]) -> None:
    """A chunk on SQLite blocks every other writer."""
    assert project.migrate()["fill"].done == 2_000
    assert list(targets) == [pytest.approx(SHORTEST * 1000)]
