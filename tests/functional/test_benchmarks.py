"""The benchmarks run and report their measurements; no duration is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database
from tests.support.project import ROOT

pytestmark = pytest.mark.each_product


@pytest.mark.needs("many_writers")
def test_one_round_of_all_contenders(database: Database, tmp_path: Path) -> None:
    """Every contender moves every row, beside an application; the table has a line for each."""
    rows, single_runs = 300, tmp_path / "runs.json"
    # High enough that some writes fall between the trigger and the chunk that touches their row.
    options = f"--rows {rows} --rounds 1 --load 400 --idle 1 --patience 60".split()
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--url", database.url, *options, "--json", str(single_runs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(single_runs.read_text())
    assert {"single UPDATE", "Backfill, default", "row_migration, --pace full"} <= set(found)
    for name, [measured] in found.items():
        assert measured["rows"] == rows, name
        assert f"| {name} | " in ran.stdout
        assert measured["select"]["p50"] >= 0
    with database.engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
    assert {"volumes", "volumes_template"} <= tables
