"""kill -9 at random moments, while the application writes: no row is lost and none is done twice."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Database
from tests.support.chaos import PACED, Application, new_seed
from tests.support.project import Project, wait_for

ROWS = 1_500


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, pace=None, batch_size=20) as written:
        written.data("paced", PACED)
        yield written


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_migrate_killed_at_random_moments(kills: int, database: Database, project: Project) -> None:
    """The end state is that of a run without kills: each row exists and was migrated exactly once."""
    seed = new_seed()
    moments = random.Random(seed)
    killed = 0
    with Application(database, ROWS * max(1, kills // 5), seed) as application:
        while killed < kills:
            (project.folder / "working").unlink(missing_ok=True)
            process = project.start("migrate", environment={"PACE": "0.001"})
            wait_for(project.folder / "working", process)
            time.sleep(moments.uniform(0, 0.4))
            killed += process.running
            process.kill()
    ran = project.run("migrate")
    assert ran.code == 0, ran
    application.assert_served(project)
