"""The example `examples/flights` does what its README describes, on every product."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.servers import Database

pytestmark = pytest.mark.each_product

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
OLD_COLUMNS = {"dep_time", "arr_time", "distance", "carrier"}


def run(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the database URL in the environment, outside of the example's directory."""
    environment = os.environ | {"ONLINE_MIGRATE_URL": url}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=False)


def script(name: str, *arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of the example."""
    return run(str(FLIGHTS / name), *arguments, "--url", url, url=url)


def online_migrate(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    """Runs a command on the example's project."""
    return run("-m", "online_migrate", *arguments, "-c", str(FLIGHTS / "alembic.ini"), url=url)


def succeeded(process: subprocess.CompletedProcess[str]) -> bool:
    """True on exit code 0; otherwise the assertion shows the whole output."""
    assert process.returncode == 0, process.stdout + process.stderr
    return True


def columns(engine: sa.Engine) -> set[str]:
    return {column["name"] for column in sa.inspect(engine).get_columns("flights")}


def test_sample_through_both_releases(database: Database) -> None:
    process = script("run.py", "--rows", "3000", url=database.url)
    assert succeeded(process)
    assert "every column of every row is what the CSV says" in process.stdout
    assert not OLD_COLUMNS & columns(database.engine)
    with database.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE flights SET arrived_at = departed_at WHERE id = (:id)"),
            {"id": _any_id(connection)},
        )
    process = script("check.py", "--rows", "3000", url=database.url)
    assert process.returncode == 1
    assert "arrived_at is" in process.stderr
    assert "check: 1 difference(s)" in process.stderr


def _any_id(connection: sa.Connection) -> int:
    query = "SELECT min(id) FROM flights WHERE arrived_at IS NOT NULL"
    return int(connection.execute(sa.text(query)).scalar_one())


def test_contract_is_refused_while_a_flight_is_pending(database: Database) -> None:
    assert succeeded(script("load.py", "--rows", "200", url=database.url))
    assert succeeded(online_migrate("expand", "expand_2026_1", url=database.url))
    assert succeeded(online_migrate("migrate", "flight_times", "distance_km", url=database.url))
    with database.engine.begin() as connection:
        flight = connection.execute(sa.text("SELECT max(id) FROM flights")).scalar_one()
        connection.execute(sa.text("UPDATE flights SET distance_km = NULL WHERE id = :id"), {"id": flight})
    for command in ("gate", "contract"):
        process = online_migrate(command, "contract_2026_1", url=database.url)
        assert process.returncode == 3, process.stdout + process.stderr
        assert f"1 row(s) of flights are pending: {flight}" in process.stdout + process.stderr
    assert columns(database.engine) >= OLD_COLUMNS
    assert succeeded(online_migrate("migrate", "distance_km", url=database.url))
    assert succeeded(online_migrate("contract", "contract_2026_1", url=database.url))
    assert columns(database.engine) & OLD_COLUMNS == {"carrier"}


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_all_flights_through_both_releases(database: Database) -> None:
    assert succeeded(script("run.py", url=database.url))


# --- the sample and the checker, on SQLite only --------------------------------------------------

SPECIAL_CASES = {
    "cancelled": "dep_time IS NULL",
    "departed at the end of the day": "dep_time = 2400",
    "departed in the first minutes of a day": "dep_time < 10",
    "departed on the day after": "dep_time < sched_dep_time AND dep_delay > 0",
    "never arrived": "dep_time IS NOT NULL AND arr_time IS NULL",
    "diverted": "arr_time IS NOT NULL AND arr_delay IS NULL",
    "arrived at the end of the day": "arr_time = 2400",
    "arrived after midnight": "arr_time < dep_time",
    "no tail number": "tailnum IS NULL",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small sample in its old shape."""
    url = f"sqlite:///{tmp_path_factory.mktemp('flights')}/loaded.sqlite"
    assert succeeded(script("load.py", "--rows", "100", url=url))
    return url


def test_sample_contains_special_cases(loaded: str) -> None:
    engine = sa.create_engine(loaded)
    with engine.connect() as connection:
        for case, condition in SPECIAL_CASES.items():
            query = f"SELECT count(*) FROM flights WHERE {condition}"
            assert connection.execute(sa.text(query)).scalar_one() > 0, case
        assert connection.execute(sa.text("SELECT count(*) FROM flights")).scalar_one() == 100
    engine.dispose()


def test_load_refuses_database_with_flights(loaded: str) -> None:
    process = script("load.py", "--rows", "100", url=loaded)
    assert process.returncode == 1
    assert "name an empty database" in process.stderr


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file that was migrated through both releases."""
    path = tmp_path_factory.mktemp("flights") / "migrated.sqlite"
    assert succeeded(script("run.py", "--rows", "500", url=f"sqlite:///{path}"))
    return path


CORRUPTIONS = {
    "departed_at is": "UPDATE flights SET departed_at = datetime(departed_at, '+1 day') WHERE id = {id}",
    "arrived_at is None": "UPDATE flights SET arrived_at = NULL WHERE id = {id}",
    "distance_km is": "UPDATE flights SET distance_km = distance_km + 0.000001 WHERE id = {id}",
    "carrier_code is": "UPDATE flights SET carrier_id = carrier_id % 9 + 1 WHERE id = {id}",
    "carrier_name is": "UPDATE carriers SET name = 'Other' WHERE id = 1",
    "tailnum is N0": "UPDATE flights SET tailnum = 'N0' WHERE id = {id}",
    "there are 499 flights, not 500": "DELETE FROM flights WHERE id = {id}",
    "there is no such row in the CSV": "UPDATE flights SET id = 400000 WHERE id = {id}",
    "flights has the columns": "ALTER TABLE flights ADD COLUMN dep_time INTEGER",
    "flights has the foreign keys []": "ALTER TABLE flights DROP COLUMN carrier_id; "
    "ALTER TABLE flights ADD COLUMN carrier_id INTEGER",
}


def test_checker_reports_corruption(migrated: Path, tmp_path: Path) -> None:
    """Each corruption, one after the other: the database that they corrupt takes long to make."""
    for number, (complaint, statements) in enumerate(CORRUPTIONS.items()):
        path = tmp_path / f"corrupted-{number}.sqlite"
        shutil.copy(migrated, path)
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            for statement in statements.format(id=_any_id(connection)).split("; "):
                connection.execute(sa.text(statement))
        engine.dispose()
        process = script("check.py", "--rows", "500", url=f"sqlite:///{path}")
        assert process.returncode == 1, f"{complaint}: {process.stdout}"
        assert complaint in process.stderr
