"""Operator commands for a data migration, running or not: pause, resume, cancel, retry; and time limits."""

from __future__ import annotations

import datetime
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from online_migrate import command, exceptions
from online_migrate.cli.options import TimeOfDay
from online_migrate.migrate.run.runner import Runner
from online_migrate.migrate.status import Outcome
from online_migrate.state import Status
from tests.servers import Database
from tests.support.project import PATIENCE, Process, Project, create, execute, insert, rows, scalar, wait_for

pytestmark = pytest.mark.each_product

ROWS = 1_000
"""Too many rows for :data:`SLOW` to complete before a command takes effect: a run takes twenty seconds."""
SLOW = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    if row.id == 30:
        (FOLDER / "there").touch()
    if not (FOLDER / "hurry").exists():
        time.sleep(0.02)
    return {"hits": row.hits + 1, "size": 1}
"""
BROKEN = """
@row_migration(table="items", pending=lambda t: t.c.size.is_(None))
def fill(row):
    if row.gb == 500:
        raise ValueError("no: 500")
    return {"hits": row.hits + 1, "size": 1}
"""
COUNTED = """
@counted
def fill(context, max_count):
    (FOLDER / "there").touch()
    with (FOLDER / "calls").open("a") as file:
        print("call", file=file)
    if (FOLDER / "hurry").exists():
        return 0, 0
    time.sleep(0.02)
    return 5, 5
"""
REACTION_TIME = 2.0
"""Seconds within which an operator command takes effect; promised by the documentation."""
SLACK = 2.0
"""Seconds that a loaded machine and the polling of the test may add to that."""
IDLE_TIME = 2.0
"""Seconds without a row that count as idle; during the baseline measurement no row is done for 1.2 s."""
FULL = ("--pace", "full")
"""For a run that only completes the remaining rows, in a test of what came before it."""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url, pace=None, batch_size=10) as written:
        yield written


def _items(engine: sa.Engine, count: int = ROWS, **values: Any) -> None:
    table = create(
        engine,
        sa.Table(
            "items",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("gb", sa.Integer),
            sa.Column("size", sa.Integer),
            sa.Column("hits", sa.Integer, nullable=False, server_default="0"),
        ),
    )
    insert(engine, table, [{"id": i, "gb": i} for i in range(1, count + 1)])


def _done(engine: sa.Engine) -> int:
    return int(scalar(engine, "SELECT count(*) FROM items WHERE size IS NOT NULL"))


def _calls(project: Project) -> int:
    return len((project.folder / "calls").read_text().split())


def _assert_idle(count: Callable[[], int]) -> None:
    """Asserts that no row is done from two seconds after the command on."""
    time.sleep(REACTION_TIME + SLACK)
    before = count()
    time.sleep(IDLE_TIME)
    assert count() == before


def _wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def _started(project: Project, *options: str) -> Process:
    process = project.start("migrate", *options)
    wait_for(project.folder / "there", process)
    return process


# --- pause, resume -------------------------------------------------------------------------------


def test_pause_and_resume_of_running_process(database: Database, project: Project) -> None:
    """No row is done two seconds later; after resume the process completes, each row once, exit 0."""
    _items(database.engine)
    project.data("fill", SLOW)
    process = _started(project)
    ran = project.run("pause", "fill", "--json")
    assert ran.code == 0, ran
    assert ran.json == {"name": "fill", "status": "paused", "workers": 1}
    _assert_idle(lambda: _done(database.engine))
    assert 0 < _done(database.engine) < ROWS
    assert process.running
    assert project.status("fill").status == "paused"
    ran = project.run("pause", "fill")
    assert (ran.code, ran.out.strip()) == (0, "fill: paused already, 1 active worker(s)")
    (project.folder / "hurry").touch()
    ran = project.run("resume", "fill", "--json")
    assert (ran.code, ran.json["status"]) == (0, "running")
    ran = process.wait()
    assert ran.code == 0, ran
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]
    assert project.status("fill").status == "complete"


@pytest.mark.needs("many_writers")
def test_pause_stops_all_workers_of_all_processes(database: Database, project: Project) -> None:
    """Two processes with two workers each pause and continue."""
    _items(database.engine)
    project.data("fill", SLOW)
    processes = [_started(project, "--workers", "2"), _started(project, "--workers", "2")]
    _wait_until(lambda: scalar(database.engine, "SELECT count(*) FROM online_migrate_worker") == 4)
    assert command.pause(project.site(), "fill").workers == 4
    _assert_idle(lambda: _done(database.engine))
    assert [process.running for process in processes] == [True, True]
    (project.folder / "hurry").touch()
    command.resume(project.site(), "fill")
    assert [process.wait().code for process in processes] == [0, 0]
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]


def test_paused_migration_stays_paused_after_sigterm(database: Database, project: Project) -> None:
    """SIGTERM while it is paused: exit 1, and it is not started again before a resume."""
    _items(database.engine)
    project.data("fill", SLOW)
    process = _started(project)
    project.run("pause", "fill")
    _assert_idle(lambda: _done(database.engine))
    process.signal(signal.SIGTERM)
    ran = process.wait()
    assert ran.code == 1, ran
    assert "online-migrate resume fill" in ran.out
    assert project.status("fill").status == "paused"
    done = _done(database.engine)
    ran = project.run("migrate")
    assert ran.code == 1, ran
    assert "it is paused; to continue: online-migrate resume fill" in ran.out
    assert _done(database.engine) == done
    control = command.resume(project.site(), "fill")
    assert (control.status, control.workers) == (Status.STOPPED, 0)
    (project.folder / "hurry").touch()
    assert project.migrate(pace="full")["fill"].outcome is Outcome.COMPLETE
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]


def test_pause_before_first_run_makes_dependents_wait(database: Database, project: Project) -> None:
    """The others run; the one that depends on it waits: exit 1, and no row of either is changed."""
    _items(database.engine, 20)
    project.data("fill", BROKEN)
    project.data(
        "later",
        'later = Backfill(table="items", values={"gb": 0}, pending=lambda t: t.c.gb != 0, after="fill")',
    )
    project.data(
        "other", "other = Backfill(table='items', values={'hits': 5}, pending=lambda t: t.c.hits != 5)"
    )
    assert command.pause(project.site(), "fill").status is Status.PAUSED
    results = project.migrate()
    assert results["fill"].outcome is Outcome.SUSPENDED
    assert results["later"].outcome is Outcome.WAITING
    assert results["other"].outcome is Outcome.COMPLETE
    assert command.exit_code(results.values()) == 1
    assert rows(database.engine, "SELECT DISTINCT size, hits FROM items") == [(None, 5)]
    command.resume(project.site(), "fill")
    assert project.migrate("fill")["fill"].outcome is Outcome.COMPLETE


def test_record_created_by_cancel_is_complete(database: Database, project: Project) -> None:
    """status, gate and a run read it like any other record."""
    _items(database.engine, 20)
    project.data("fill", BROKEN)
    command.cancel(project.site(), "fill")
    assert project.status("fill").status == "cancelled"
    assert project.counts("fill") == (0, 20, 0)
    assert project.run("status").code == 0
    command.resume(project.site(), "fill")
    result = project.migrate()["fill"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 20)


# --- cancel --------------------------------------------------------------------------------------


def test_cancel_ends_process_and_prevents_next_run(database: Database, project: Project) -> None:
    """The process exits with 1 after its chunk; the next run does not start, and names
    the command to resume."""
    _items(database.engine)
    project.data("fill", SLOW)
    process = _started(project)
    ran = project.run("cancel", "fill")
    assert ran.code == 0, ran
    ran = process.wait()
    assert ran.code == 1, ran
    assert "online-migrate resume fill" in ran.out
    assert ran.complaint
    done = _done(database.engine)
    assert 0 < done < ROWS
    for _ in range(2):
        ran = project.run("migrate", "fill")
        assert ran.code == 1, ran
        assert "it is cancelled; to continue: online-migrate resume fill" in ran.out
        assert _done(database.engine) == done
    assert project.counts("fill") == (done, ROWS - done, 0)
    (project.folder / "hurry").touch()
    assert project.run("resume", "fill").code == 0
    assert project.run("migrate", *FULL).code == 0
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_error_does_not_replace_the_command_of_an_operator(
    verb: str, database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunk that runs at the command fails; the next run must not start without `resume`."""
    _items(database.engine, 30)
    project.data(
        "fill", BROKEN.replace('raise ValueError("no: 500")', 'return "no values"').replace("500", "20")
    )
    end = Runner.end

    def end_after_command(self: Runner, connection: sa.Connection) -> Any:
        ran = project.run(verb, "fill")
        assert ran.code == 0, ran
        return end(self, connection)

    monkeypatch.setattr(Runner, "end", end_after_command)
    assert project.migrate()["fill"].outcome is Outcome.SUSPENDED
    monkeypatch.undo()
    assert project.status("fill").status == {"pause": "paused", "cancel": "cancelled"}[verb]
    assert project.migrate()["fill"].outcome is Outcome.SUSPENDED


def test_cancel_ends_paused_process(database: Database, project: Project) -> None:
    """A paused process exits when the data migration is cancelled."""
    _items(database.engine)
    project.data("fill", SLOW)
    process = _started(project)
    command.pause(project.site(), "fill")
    _assert_idle(lambda: _done(database.engine))
    command.cancel(project.site(), "fill")
    ran = process.wait()
    assert ran.code == 1, ran
    assert project.status("fill").status == "cancelled"


# --- retry ---------------------------------------------------------------------------------------


def test_retry_runs_failed_rows_without_active_worker(database: Database, project: Project) -> None:
    """One step on the command line: exit 2 while the rows fail, 0 after they are corrected."""
    _items(database.engine, 30)
    execute(database.engine, "UPDATE items SET gb = 500 WHERE id IN (3, 9, 27)")
    project.data("fill", BROKEN)
    assert project.run("migrate").code == 2
    ran = project.run("retry", "fill")
    assert ran.code == 2, ran
    assert project.counts("fill") == (27, 0, 3)
    execute(database.engine, "UPDATE items SET gb = 1 WHERE gb = 500")
    ran = project.run("retry", "fill", "--json")
    assert ran.code == 0, ran
    assert (ran.json[0]["done"], ran.json[0]["failed"]) == (3, 0)
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]


def test_retry_is_done_by_active_workers(database: Database, project: Project) -> None:
    """The running process retries them before it ends; the command reports that and exits with 0."""
    _items(database.engine)
    execute(database.engine, "UPDATE items SET gb = 500 WHERE id IN (3, 9)")
    source = SLOW.replace(
        "    if not (FOLDER", "    if row.gb == 500:\n        raise ValueError('no: 500')\n    if not (FOLDER"
    )
    project.data("fill", source)
    process = _started(project)
    _wait_until(lambda: scalar(database.engine, "SELECT count(*) FROM online_migrate_failure") == 2)
    execute(database.engine, "UPDATE items SET gb = 1 WHERE gb = 500")
    ran = project.run("retry", "fill", "--json")
    assert (ran.code, ran.json["workers"]) == (0, 1), ran
    (project.folder / "hurry").touch()
    ran = process.wait()
    assert ran.code == 0, ran
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]


# --- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_stops_run_after_current_chunk(
    number: signal.Signals, database: Database, project: Project
) -> None:
    """Exit 1, the next command is named, no worker stays registered, and the remaining rows are done once."""
    _items(database.engine)
    project.data("fill", SLOW)
    process = _started(project)
    process.signal(number)
    ran = process.wait()
    assert ran.code == 1, ran
    assert f"{number.name}: stopping" in ran.err
    assert ran.complaint
    assert project.status("fill").status == "stopped"
    assert 0 < _done(database.engine) < ROWS
    # Whole chunks only: no row of the next chunk is done.
    assert _done(database.engine) % 10 == 0
    (project.folder / "hurry").touch()
    assert project.run("migrate", *FULL).code == 0
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]
    assert rows(database.engine, "SELECT id FROM online_migrate_worker") == []


@pytest.mark.parametrize("workers", ["1", "3"])
def test_second_sigint_ends_process_immediately(workers: str, database: Database, project: Project) -> None:
    """Also with several workers, whose chunks are rolled back; exit 1, no traceback."""
    _items(database.engine, 400)
    source = SLOW.replace("time.sleep(0.02)", "time.sleep(3600 if row.id % 10 == 5 else 0)")
    project.data("fill", source.replace("row.id == 30", "row.id == 5"))
    process = _started(project, "--workers", workers)
    process.signal(signal.SIGINT)
    while "SIGINT" not in (line := process.line()):
        assert line, "it ended"
    process.signal(signal.SIGINT)
    ran = process.wait()
    assert ran.code == 1, ran
    assert "Traceback" not in ran.err
    (project.folder / "hurry").touch()
    assert project.run("migrate", *FULL).code == 0
    assert rows(database.engine, "SELECT hits, count(*) FROM items GROUP BY hits") == [(1, 400)]


# --- time limits ---------------------------------------------------------------------------------


def test_max_time_stops_run_and_next_run_continues(database: Database, project: Project) -> None:
    """--max-time 3s: exit 1, some rows are done, and the next run does the others."""
    _items(database.engine)
    project.data("fill", SLOW)
    ran = project.run("migrate", "--max-time", "3s")
    assert ran.code == 1, ran
    assert "run the same command again" in ran.out
    assert 0 < _done(database.engine) < ROWS
    assert project.status("fill").status == "stopped"
    (project.folder / "hurry").touch()
    ran = project.run("migrate", *FULL, "--until", (datetime.datetime.now() - MINUTE).strftime("%H:%M"))
    assert ran.code == 0, ran
    assert rows(database.engine, "SELECT DISTINCT hits FROM items") == [(1,)]


MINUTE = datetime.timedelta(minutes=1)


def test_time_of_day_is_next_occurrence() -> None:
    """Today if it is still to come, otherwise tomorrow; never now, which would be a limit of zero."""
    now = datetime.datetime.now()
    for minutes in (-600, -1, 0, 2, 600):
        text = (now + minutes * MINUTE).strftime("%H:%M")
        seconds = TimeOfDay().convert(text, None, None)
        assert 0 < seconds <= 24 * 3600
        then = datetime.datetime.now() + datetime.timedelta(seconds=seconds, milliseconds=500)
        assert then.strftime("%H:%M") == text


def test_expired_deadline_applies_to_all_later_migrations(database: Database, project: Project) -> None:
    """A deadline reached in the first data migration means that the second is not started: exit 1."""
    _items(database.engine)
    project.data("a_fill", SLOW)
    project.data(
        "b_other", "other = Backfill(table='items', values={'gb': 0}, pending=lambda t: t.c.gb != 0)"
    )
    results = project.migrate(max_time=0.5)
    assert results["fill"].outcome is Outcome.REMAINING
    assert (results["other"].outcome, results["other"].done) == (Outcome.REMAINING, 0)
    assert scalar(database.engine, "SELECT count(*) FROM items WHERE gb = 0") == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--max-time", "0"),
        ("--max-time", "-1"),
        ("--max-time", "soon"),
        ("--max-time", "nan"),
        ("--max-time", "inf"),
        ("--max-time", ""),
        ("--max-time", "5d"),
        ("--until", "25:00"),
        ("--until", "12:60"),
        ("--until", "noon"),
        ("--until", "2024-01-01"),
        ("--chunk-time", "0"),
        ("--chunk-time", "x"),
        ("--workers", "0"),
        ("--workers", "1.5"),
        ("--batch-size", "0"),
        ("--max-failures", "-1"),
        ("--max-count", "0"),
    ],
    ids=" ".join,
)
def test_invalid_option_values(
    options: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 127 with the name of the option, without a connection to a database."""
    from online_migrate.cli.main import run

    assert run(["-c", str(tmp_path / "nowhere.ini"), "migrate", *options]) == 127
    assert options[0] in capfd.readouterr().err


# --- commands that do not apply ------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["pause", "cancel", "resume"])
def test_complete_migration_cannot_be_paused_cancelled_or_resumed(
    verb: str, database: Database, project: Project
) -> None:
    """Exit 3, and the record is unchanged."""
    _items(database.engine, 10)
    project.data("fill", BROKEN)
    project.migrate()
    record = "SELECT status, done, error, finished_at, updated_at FROM online_migrate_data_migration"
    before = rows(database.engine, record)
    ran = project.run(verb, "fill")
    assert ran.code == 3, ran
    assert "'fill' is complete" in ran.err
    assert len(ran.complaint) <= 2
    assert rows(database.engine, record) == before


@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_migration_without_record_cannot_be_resumed_or_retried(
    verb: str, database: Database, project: Project
) -> None:
    """Exit 3, and no record is created."""
    _items(database.engine, 10)
    project.data("fill", BROKEN)
    with pytest.raises(exceptions.Refused) as caught:
        getattr(command, verb)(project.site(), "fill")
    assert caught.value.exit_code == 3
    assert "'fill' was never run" in str(caught.value)
    assert rows(database.engine, "SELECT name FROM online_migrate_data_migration") == []
    assert _done(database.engine) == 0


def test_resume_of_failed_migration_is_refused(database: Database, project: Project) -> None:
    """Resume is refused, and its error and its failed rows are kept; the command for it is retry."""
    _items(database.engine, 10)
    execute(database.engine, "UPDATE items SET gb = 500 WHERE id = 3")
    project.data("fill", BROKEN)
    project.migrate()
    ran = project.run("resume", "fill")
    assert ran.code == 3, ran
    found = project.status("fill")
    assert (found.status, found.failed) == ("failed", 1)
    assert found.error


@pytest.mark.parametrize("verb", ["pause", "cancel", "resume", "retry"])
def test_unknown_name(verb: str, database: Database, project: Project) -> None:
    """Exit 127, as for migrate; nothing is written."""
    _items(database.engine, 10)
    project.data("fill", BROKEN)
    ran = project.run(verb, "unknown")
    assert ran.code == 127, ran
    assert "unknown" in ran.err
    assert "online_migrate_data_migration" not in sa.inspect(database.engine).get_table_names()


# --- counted functions ---------------------------------------------------------------------------


def test_counted_function_pause_and_resume(database: Database, project: Project) -> None:
    """Its process pauses between two calls, and continues."""
    project.data("fill", COUNTED)
    process = _started(project)
    ran = project.run("pause", "fill")
    assert ran.code == 0, ran
    _assert_idle(lambda: _calls(project))
    assert process.running
    (project.folder / "hurry").touch()
    calls = _calls(project)
    assert project.run("resume", "fill").code == 0
    ran = process.wait()
    assert ran.code == 0, ran
    assert _calls(project) == calls + 1
    assert project.status("fill").status == "complete"


def test_counted_function_cancel(database: Database, project: Project) -> None:
    """Its process exits with 1, and the function is not called again before a resume."""
    project.data("fill", COUNTED)
    process = _started(project)
    assert project.run("cancel", "fill").code == 0
    ran = process.wait()
    assert ran.code == 1, ran
    calls = _calls(project)
    ran = project.run("migrate")
    assert ran.code == 1, ran
    assert "online-migrate resume fill" in ran.out
    assert _calls(project) == calls
    assert project.status("fill").status == "cancelled"
    (project.folder / "hurry").touch()
    assert project.run("resume", "fill").code == 0
    assert project.run("migrate").code == 0


def test_counted_function_cancelled_during_last_call(database: Database, project: Project) -> None:
    """A cancel during the last call is not overwritten when the call returns."""
    project.data(
        "fill",
        """
        @counted
        def fill(context, max_count):
            (FOLDER / "there").touch()
            while not (FOLDER / "go").exists():
                time.sleep(0.01)
            return 0, 0
        """,
    )
    process = _started(project)
    assert project.run("cancel", "fill").code == 0
    (project.folder / "go").touch()
    process.wait()
    assert project.status("fill").status == "cancelled"


def test_paused_counted_function_stays_paused_after_sigterm(database: Database, project: Project) -> None:
    """SIGTERM while it is paused does not undo the pause."""
    project.data("fill", COUNTED)
    process = _started(project)
    assert project.run("pause", "fill").code == 0
    _assert_idle(lambda: _calls(project))
    process.signal(signal.SIGTERM)
    assert process.wait().code == 1
    assert project.status("fill").status == "paused"
