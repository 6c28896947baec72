"""The demo completes on every product, loses no row, and leaves no object behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from sqlalchemy import create_engine, inspect, text

from online_migrate import exceptions
from online_migrate.demo import database as sample
from online_migrate.demo.main import MIGRATIONS, Pace, run
from tests.servers import Database

pytestmark = pytest.mark.each_product

QUICK = Pace(seconds=0.3, writes=25, rate=120.0)
NO_DAMAGE = (
    "rows lost: 0",
    "rows with a wrong value: 0",
    "deleted rows that exist: 0",
    "rows that were never written: 0",
    "wrong values read during the run: 0",
)


def run_demo(url: str | None, *, rows: int = 500) -> tuple[int, str]:
    """Runs the demo. Returns the exit code, and the output without colours."""
    lines: list[str] = []
    code = run(rows=rows, url=url, echo=lines.append, pace=QUICK)
    return code, click.unstyle("\n".join(lines))


def test_demo_completes_without_loss_or_leftovers(database: Database) -> None:
    code, output = run_demo(database.url)
    assert code == 0, output
    for line in NO_DAMAGE:
        assert line in output
    before, after = output.split("$ online-migrate migrate display_name")
    assert "gate: closed, 5 blocker(s)" in before
    assert "it has no record of a run" in before
    early, late = after.split("The last instance of version 1 is stopped")
    assert "gate: closed" in early
    assert "Error: The gate is closed" in early
    assert "gate: open" not in before + early
    assert "gate: open" in late
    assert all(f"{name}: " in late for name in MIGRATIONS)
    assert "volumes: id NOT NULL, display_name, size_bytes, zone NOT NULL" in late
    assert "contract: applied c1_display_name" in late
    assert inspect(database.engine).get_table_names() == []


def test_demo_refuses_database_with_tables(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE volumes (id INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO volumes VALUES (7)"))
    with pytest.raises(exceptions.UsageError, match="needs an empty database") as caught:
        run_demo(database.url)
    assert caught.value.exit_code == 127
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM volumes")).scalar_one() == 7
    assert inspect(database.engine).get_table_names() == ["volumes"]


def test_demo_reports_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = sample.columns

    def damaged(url: str) -> list[str]:
        engine = create_engine(url)
        with engine.begin() as connection:
            for statement in (
                "DELETE FROM accounts WHERE id = (SELECT max(id) FROM accounts)",
                "UPDATE volumes SET size_bytes = 1 WHERE id IN (SELECT id FROM volumes LIMIT 2)",
                "INSERT INTO accounts (id, first_name, last_name) VALUES (999999, 'No', 'Body')",
            ):
                connection.execute(text(statement))
        engine.dispose()
        return columns(url)

    monkeypatch.setattr(sample, "columns", damaged)
    code, output = run_demo(f"sqlite:///{tmp_path}/damaged.sqlite", rows=40)
    assert code == 2
    assert "rows lost: 1" in output
    assert "rows with a wrong value: 2" in output
    assert "rows that were never written: 1" in output
    assert "wrong: volumes id=" in output


def test_demo_command_needs_no_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "online_migrate", "demo", "--rows", "200"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rows lost: 0" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_demo_command_refuses_database_with_tables(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/full.sqlite")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE mine (id INTEGER PRIMARY KEY)"))
    engine.dispose()
    command = [sys.executable, "-m", "online_migrate", "demo", "--url", f"sqlite:///{tmp_path}/full.sqlite"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 127
    assert "mine" in done.stderr
    assert done.stdout == ""
