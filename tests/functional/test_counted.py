"""OpenStack's online data migrations run unmodified: ``(context, max_count) -> (found, done)``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from online_migrate.command import exit_code
from online_migrate.migrate.status import Outcome, Result
from tests.servers import Database
from tests.support.project import Project, execute, rows, scalar, wait_for

pytestmark = pytest.mark.each_product

SCRIPTED = """
ANSWERS = iter({answers})

@counted
def scripted(context, max_count):
    answer = next(ANSWERS)
    if isinstance(answer, Exception):
        raise answer
    return answer
"""

CINDER = """
from oslo_db.sqlalchemy import enginefacade

manager = enginefacade.transaction_context()
manager.configure(connection=os.environ.get("ONLINE_MIGRATE_URL") or {url!r})
volumes = sa.table("volumes", sa.column("id"), sa.column("gb"), sa.column("size"))

@manager.writer
def _volumes_in_bytes(context, max_count):
    session = context.session
    pending = sa.select(volumes.c.id).where(volumes.c.size.is_(None))
    found = session.execute(sa.select(sa.func.count()).select_from(pending.subquery())).scalar()
    ids = session.execute(pending.order_by(volumes.c.id).limit(max_count)).scalars().all()
    good = volumes.c.id.in_(ids) & volumes.c.gb.is_not(None)
    done = session.execute(sa.update(volumes).where(good).values(size=volumes.c.gb * 10)).rowcount
    return found, done

def volumes_in_bytes(context, max_count):
    return _volumes_in_bytes(context, max_count)

volumes_in_bytes = counted(volumes_in_bytes{options})
"""

PLAIN = """
engine = sa.create_engine({url!r}, poolclass=sa.NullPool)

def plain(context, max_count):
    with engine.begin() as connection:
        ids = connection.scalars(sa.text("SELECT id FROM volumes WHERE size IS NULL")).all()
        for number in ids[:max_count]:
            connection.execute(sa.text("UPDATE volumes SET size = gb WHERE id = :id"), {{"id": number}})
        return len(ids), len(ids[:max_count])

plain = counted(plain, table="volumes", pending=lambda t: t.c.size.is_(None))
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", database.url) as written:
        yield written


def _volumes(engine: sa.Engine, count: int) -> None:
    execute(
        engine,
        "CREATE TABLE volumes (id INTEGER PRIMARY KEY, gb INTEGER, size INTEGER)",
        *[f"INSERT INTO volumes (id, gb) VALUES ({i}, {i})" for i in range(1, count + 1)],
    )


RESULTS: dict[str, tuple[str, Outcome, int, str]] = {
    "nothing to do": ("[(0, 0)]", Outcome.COMPLETE, 0, ""),
    "all, then no rows": ("[(7, 7), (0, 0)]", Outcome.COMPLETE, 7, ""),
    "some, then the others": ("[(9, 4), (5, 5), (0, 0)]", Outcome.COMPLETE, 9, ""),
    "no progress": ("[(5, 3), (2, 0)]", Outcome.FAILED, 3, "found 2 row(s)"),
    "an exception in the first call": ("[ValueError('odd')]", Outcome.FAILED, 0, "ValueError: odd"),
    "an exception after some": ("[(5, 3), KeyError('x')]", Outcome.FAILED, 3, "KeyError"),
    "numbers as text": ("[('3', '3'), ('0', '0')]", Outcome.COMPLETE, 3, ""),
    "None": ("[None]", Outcome.FAILED, 0, "not (found, done)"),
    "one number": ("[7]", Outcome.FAILED, 0, "not (found, done)"),
    "three numbers": ("[(1, 2, 3)]", Outcome.FAILED, 0, "not (found, done)"),
    "no numbers": ("[('a', 'b')]", Outcome.FAILED, 0, "not (found, done)"),
    "one number missing": ("[(4, None)]", Outcome.FAILED, 0, "not (found, done)"),
    "a negative done": ("[(4, -2), (0, 0)]", Outcome.FAILED, 0, "not (found, done)"),
    "a negative found": ("[(-4, 0), (0, 0)]", Outcome.FAILED, 0, "not (found, done)"),
}


@pytest.mark.parametrize("case", RESULTS)
def test_outcome_follows_function_result(case: str, database: Database, project: Project) -> None:
    """The last result counts, an error is kept and never overwritten, and no progress is a failure."""
    answers, outcome, done, words = RESULTS[case]
    project.data("scripted", SCRIPTED.format(answers=answers))
    project.data("b_other", SCRIPTED.format(answers="[(0, 0)]").replace("scripted", "other"))
    results = project.migrate(batch_size=50)
    result = results["scripted"]
    assert (result.outcome, result.done) == (outcome, done)
    assert words in (result.error or "")
    assert results["other"].outcome is Outcome.COMPLETE
    found = project.status("scripted")
    assert (found.status, found.done) == ("failed" if outcome is Outcome.FAILED else "complete", done)
    assert words in (found.error or "")


def test_error_is_kept_until_function_succeeds(database: Database, project: Project) -> None:
    """Cinder's runner overwrites errors with each pass; here the exit code is 2 until a run has no error."""
    project.data("scripted", SCRIPTED.format(answers="[(3, 1), OSError('disk')]"))
    assert exit_code(project.migrate().values()) == 2
    project.data("scripted", SCRIPTED.format(answers="[(2, 2), (0, 0)]"))
    assert exit_code(project.migrate().values()) == 0
    found = project.status("scripted")
    assert (found.status, found.done, found.error) == ("complete", 3, None)


def test_max_count_limits_calls(database: Database, project: Project) -> None:
    """``--max-count`` limits the sum over all calls; each call gets at most the batch size."""
    project.data(
        "asked",
        """
        @counted
        def asked(context, max_count):
            with (FOLDER / "asked").open("a") as file:
                print(max_count, file=file)
            return max_count, max_count
        """,
    )
    result = project.migrate(max_count=12, batch_size=5)["asked"]
    assert (result.outcome, result.done) == (Outcome.REMAINING, 12)
    assert (project.folder / "asked").read_text().split() == ["5", "5", "2"]


def test_cinder_function_runs_unmodified(database: Database, project: Project) -> None:
    """Exit codes 0, 1 and 2 of ``online_data_migrations``, with a function on oslo.db's enginefacade."""
    _volumes(database.engine, 10)
    project.data("cinder", CINDER.format(url=database.url, options=""))
    ran = project.run("online_data_migrations", "--max_count", "4")
    assert ran.code == 1, ran
    assert scalar(database.engine, "SELECT count(*) FROM volumes WHERE size = gb * 10") == 4
    ran = project.run("db", "online_data_migrations")
    assert ran.code == 0, ran
    assert "volumes_in_bytes" in ran.out
    assert scalar(database.engine, "SELECT count(*) FROM volumes WHERE size = gb * 10") == 10
    execute(database.engine, "INSERT INTO volumes (id, gb) VALUES (11, NULL)")
    ran = project.run("online_data_migrations")
    assert ran.code == 2, ran
    assert "migrated none of them" in ran.err
    assert ran.complaint


def test_pending_overrides_function_result(database: Database, project: Project) -> None:
    """With a ``pending`` expression it can open a gate; a function that overlooks rows is detected."""
    _volumes(database.engine, 6)
    options = ', table="volumes", pending=lambda t: t.c.size.is_(None)'
    project.data("cinder", CINDER.format(url=database.url, options=options))
    assert project.counts("volumes_in_bytes") == (0, 6, 0)
    assert project.migrate(batch_size=4)["volumes_in_bytes"].outcome is Outcome.COMPLETE
    assert project.counts("volumes_in_bytes") == (6, 0, 0)
    execute(database.engine, "UPDATE volumes SET size = NULL WHERE id = 3")
    project.data(
        "cinder",
        """
        volumes_in_bytes = counted(lambda context, max_count: (0, 0), name="volumes_in_bytes",
                                   table="volumes", pending=lambda t: t.c.size.is_(None))
        """,
    )
    result = project.migrate()["volumes_in_bytes"]
    assert result.outcome is Outcome.FAILED
    assert "1 row(s) are pending" in (result.error or "")


def test_function_with_its_own_engine(database: Database, project: Project) -> None:
    """The function commits by itself, while the engine holds no lock that it needs."""
    _volumes(database.engine, 25)
    project.data("plain", PLAIN.format(url=database.url))
    result = project.migrate(batch_size=10)["plain"]
    assert (result.outcome, result.done) == (Outcome.COMPLETE, 25)
    assert rows(database.engine, "SELECT id FROM volumes WHERE size IS NULL") == []


def test_max_count_equal_to_row_count(database: Database, project: Project) -> None:
    """0 means that no row is pending: also where the limit was reached with the last row."""
    _volumes(database.engine, 10)
    project.data("plain", PLAIN.format(url=database.url))
    assert project.migrate(max_count=10)["plain"].outcome is Outcome.COMPLETE


def test_context_argument(database: Database, project: Project) -> None:
    """``context=`` gives the first argument; the default one has is_admin set."""
    project.data(
        "contexts",
        """
        def own(context, max_count):
            assert context == "mine"
            return 0, 0

        def usual(context, max_count):
            assert context.is_admin
            return 0, 0

        own = counted(own, context=lambda: "mine")
        usual = counted(usual)
        """,
    )
    results = project.migrate()
    assert {r.outcome for r in results.values()} == {Outcome.COMPLETE}, results


@pytest.mark.parametrize("context", ["lambda: 1 / 0", "lambda: (_ for _ in ()).throw(OSError('x'))"])
def test_failing_context_fails_only_its_migration(context: str, database: Database, project: Project) -> None:
    """An exception of the user's context function is an error of that data migration."""
    project.data("a_bad", f"bad = counted(lambda c, m: (0, 0), name='bad', context={context})")
    project.data("b_good", "good = counted(lambda c, m: (0, 0), name='good')")
    results = project.migrate()
    assert results["bad"].outcome is Outcome.FAILED
    assert results["good"].outcome is Outcome.COMPLETE


def test_function_is_called_by_one_runner_at_a_time(database: Database, project: Project) -> None:
    """A second runner does not call the function while the first one does; it exits with 1 and the reason."""
    project.data(
        "slow",
        """
        @counted
        def slow(context, max_count):
            with (FOLDER / "calls").open("a") as file:
                print("call", file=file)
            while not (FOLDER / "go").exists():
                time.sleep(0.01)
            return 0, 0
        """,
    )
    first: list[Result] = []
    runner = threading.Thread(target=lambda: first.append(project.migrate()["slow"]))
    runner.start()
    wait_for(project.folder / "calls")
    second = project.migrate()["slow"]
    (project.folder / "go").touch()
    runner.join()
    assert second.outcome is Outcome.REMAINING
    assert second.error == "another process runs it"
    assert exit_code([second]) == 1
    assert first[0].outcome is Outcome.COMPLETE
    assert (project.folder / "calls").read_text() == "call\n"
    assert project.status("slow").status == "complete"


BY_LIMIT = """
engine = sa.create_engine({url!r}, poolclass=sa.NullPool)

def by_limit(context, max_count):
    (FOLDER / "asked").open("a").write(f"{{max_count}} ")
    query = f"SELECT id, gb FROM volumes WHERE size IS NULL ORDER BY id LIMIT {{max_count}}"
    with engine.begin() as connection:
        found = connection.execute(sa.text(query)).all()
        good = [row.id for row in found if row.gb is not None]
        for number in good:
            if number == {poison}:
                raise ValueError(f"row {{number}} is odd")
            connection.execute(sa.text("UPDATE volumes SET size = gb WHERE id = :id"), {{"id": number}})
        return len(found), len(good)

by_limit = counted(by_limit{options})
"""
"""A function that reads rows by a limit, as those of nova do: rows that it skips are found by every call."""
PENDING = ', table="volumes", pending=lambda t: t.c.size.is_(None){more}'


def test_rows_that_cannot_be_migrated_do_not_hide_others(database: Database, project: Project) -> None:
    """60 such rows before 40 others: at any batch size the 40 are done and the exit code is 2."""
    _volumes(database.engine, 100)
    stuck = "UPDATE volumes SET size = NULL, gb = CASE WHEN id <= 60 THEN NULL ELSE id END"
    pending = PENDING.format(more="")
    for size, options in ((7, ""), (7, pending), (50, pending), (1000, pending)):
        project.data("by_limit", BY_LIMIT.format(url=database.url, poison=0, options=options))
        execute(database.engine, stuck)
        result = project.migrate(batch_size=size)["by_limit"]
        assert (result.outcome, result.done) == (Outcome.FAILED, 40), (size, options)
        assert result.error == "the function found 60 row(s) and migrated none of them"
    execute(database.engine, stuck)
    (project.folder / "asked").unlink()
    ran = project.run("online_data_migrations", "--max_count", "7")
    assert ran.code == 2, ran
    assert (project.folder / "asked").read_text().split() == ["7"]
    assert scalar(database.engine, "SELECT count(*) FROM volumes WHERE size IS NOT NULL") == 0


def test_doubling_ends_at_a_limit(database: Database, project: Project) -> None:
    """A function that finds as many rows as it is asked for, and migrates none, is not called forever."""
    project.data("greedy", "greedy = counted(lambda context, max_count: (max_count, 0), name='greedy')")
    result = project.migrate(batch_size=60_000)["greedy"]
    assert result.outcome is Outcome.FAILED
    assert "found 100000 row(s)" in (result.error or "")


def test_found_rows_that_are_not_pending_are_no_failure(database: Database, project: Project) -> None:
    """Nova's marker row is found by every call: `pending` says whether anything is left to migrate."""
    _volumes(database.engine, 9)
    execute(database.engine, "INSERT INTO volumes (id) VALUES (0)")
    options = PENDING.format(more=" & (t.c.id > 0)")
    project.data("by_limit", BY_LIMIT.format(url=database.url, poison=0, options=options))
    for _ in range(2):
        assert exit_code(project.migrate(batch_size=4).values()) == 0
    assert project.status("by_limit").status == "complete"
    assert project.counts("by_limit") == (10, 0, 0)
    execute(database.engine, "INSERT INTO volumes (id) VALUES (10)")
    ran = project.run("online_data_migrations")
    assert ran.code == 2, ran
    assert "found 2 row(s) and migrated none of them" in ran.err


def test_call_that_fails_as_a_whole_is_repeated_with_fewer_rows(database: Database, project: Project) -> None:
    """The rows before the one that raises are migrated; the exit code is 2, and the rows are recorded."""
    _volumes(database.engine, 60)
    project.data("by_limit", BY_LIMIT.format(url=database.url, poison=43, options=PENDING.format(more="")))
    assert exit_code(project.migrate(batch_size=30).values()) == 2
    asked = [int(number) for number in (project.folder / "asked").read_text().split()]
    assert asked == [30, 30, 15, 7, 7, 3, 3, 1, 1, 1]
    found = project.status("by_limit")
    assert (found.status, found.done) == ("failed", 42)
    assert "(max_count 30): ValueError: row 43 is odd; then" in (found.error or "")
    assert scalar(database.engine, "SELECT min(id) FROM volumes WHERE size IS NULL") == 43


def test_exception_in_any_pass_shows_in_the_exit_code(database: Database, project: Project) -> None:
    """The second pass raises, the third one finds no more rows: exit code 2 until a run has no exception."""
    project.data("b_other", SCRIPTED.format(answers="[(2, 2), (0, 0)]").replace("scripted", "other"))
    runs = {"[(9, 5), ValueError('odd'), (4, 4), (0, 0)]": 9, "[(9, 9), ValueError('odd'), (3, 0)]": 12}
    for answers, needed in runs.items():
        project.data("a_scripted", SCRIPTED.format(answers=answers))
        ran = project.run("online_data_migrations", "--max_count", "20")
        assert ran.code == 2, ran
        assert "ValueError: odd" in ran.err
        assert f"| scripted  | {needed:12} |         9 |" in ran.out
    project.data("a_scripted", SCRIPTED.format(answers="[(0, 0)]"))
    assert project.run("online_data_migrations").code == 0


PAIR = """
from functools import partial
from online_migrate.openstack.pairs import counted_pair

class Pair:
    __name__ = "package.pair"
    def has_migrations(self, engine):
        with engine.connect() as connection:
            return connection.scalar(sa.text("SELECT count(*) FROM volumes WHERE size IS NULL")) > 0
    def migrate(self, engine):
        with engine.begin() as connection:
            query = "UPDATE volumes SET size = gb WHERE size IS NULL AND gb IS NOT NULL"
            return connection.execute(sa.text(query)).rowcount

pair = counted_pair(Pair(), table="volumes", pending=lambda t: t.c.size.is_(None))

def optional(context, max_count, force="no"):
    assert force == "yes"
    return 0, 0

optional = counted(partial(optional, force="yes"))
"""


def test_pair_of_functions_of_an_engine(database: Database, project: Project) -> None:
    """Glance's form, which knows no maximum; and an option of a function, as ironic's command gives it."""
    _volumes(database.engine, 30)
    project.data("pair", PAIR)
    limited = project.migrate("pair", max_count=7)["pair"]
    assert (limited.outcome, limited.done) == (Outcome.COMPLETE, 30)
    assert {result.outcome for result in project.migrate().values()} == {Outcome.COMPLETE}
    execute(database.engine, "INSERT INTO volumes (id) VALUES (31)")
    result = project.migrate("pair")["pair"]
    assert result.outcome is Outcome.FAILED
    assert result.error == "the function found 1 row(s) and migrated none of them"
