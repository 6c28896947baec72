"""The benchmarks run and report their measurements; no duration is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks import services, sync_triggers
from benchmarks.contenders import curve, driver_loop
from benchmarks.driver_loop import GB, LEASES
from benchmarks.shape import copy, fill
from benchmarks.window import Window
from tests.servers import Database
from tests.support.chaos import wait_until
from tests.support.project import ROOT

pytestmark = pytest.mark.each_product
LOOPS = {
    "driver loop, 5,000 rows",
    "the engine's statements, driver loop, 1,400 rows",
    "the engine's statements, driver loop, 5,000 rows",
}


@pytest.mark.needs("many_writers")
def test_one_round_of_all_contenders(database: Database, tmp_path: Path) -> None:
    """Every contender moves every row, beside an application; the table has a line for each.

    The other shape changes only the definition of the table; the driver loops below run on both.
    """
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
    assert {"single UPDATE", "Backfill, default", "row_migration, --pace full", *LOOPS} <= set(found)
    for name, [measured] in found.items():
        assert measured["rows"] == rows, name
        assert f"| {name} | " in ran.stdout
        assert measured["select"]["p50"] >= 0
    with database.engine.connect() as connection:
        tables = set(sa.inspect(connection).get_table_names())
    assert {"volumes", "volumes_template"} <= tables


@pytest.mark.needs("many_writers")
@pytest.mark.parametrize("shape", ["cinder", "lean"])
@pytest.mark.parametrize("what", ["by_hand", "engine"])
def test_a_driver_loop_of_several_chunks_fills_every_row(database: Database, shape: str, what: str) -> None:
    """The last chunk is full in one run, and smaller than the others in the next one."""
    fill(database.engine, shape, 5_040)
    for size in (720, 1_000):
        copy(database.engine, shape)
        driver_loop(what, size)(database.url, 60)
        with database.engine.connect() as connection:
            right = sa.text(f"SELECT count(*) FROM volumes WHERE size_bytes / {GB} = size_gb")
            assert connection.scalar(right) == 5_040
            if what == "engine":
                lease = connection.execute(sa.text(f"SELECT done, extent FROM {LEASES}")).one()
                assert tuple(lease) == (5_040, None)


@pytest.mark.needs("many_writers")
@pytest.mark.parametrize("shape", ["cinder", "lean"])
def test_the_window_is_the_time_in_which_rows_move(database: Database, shape: str) -> None:
    """It begins at the first write, before its commit, and ends at the commit of the last row."""
    fill(database.engine, shape, 300)
    copy(database.engine, shape)
    with Window(database.engine, "size_bytes") as window:
        entered = window.began
        with database.engine.begin() as connection:
            connection.execute(sa.text("UPDATE volumes SET size_bytes = 1"))
            wait_until(lambda: window.began > entered, "the window begins")
            assert not window.ended
            written = time.monotonic()
        wait_until(lambda: window.ended > 0, "the window ends")
    assert entered < window.began < written < window.ended


def test_the_curve_has_the_driver_loops() -> None:
    assert {contender.name for contender in curve("lean")} >= LOOPS


def test_services(database: Database, tmp_path: Path) -> None:
    """A heartbeat is one statement; five of the ten services are of the old release."""
    measured = services.measure(database.url, 20, 1, tmp_path / "project")
    assert measured.startswith("20 services, 5 blocker(s): gate ")
    assert measured.endswith(" ms, 1 statement(s)")


@pytest.mark.parametrize("shape", ["cinder", "lean"])
def test_sync_triggers(database: Database, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each contender but the first leaves both columns in step, which the benchmark checks itself."""
    assert sync_triggers.main(["--url", database.url, "--shape", shape, "--rounds", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines]
    assert names == [one.name for one in sync_triggers.contenders(database.engine)]
    assert all(line.count("(") == len(sync_triggers.WRITES) for line in lines)
