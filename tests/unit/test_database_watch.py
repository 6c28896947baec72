"""The watch of a function's connections: each thread is checked by itself, and an error hides no database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from online_migrate.dialects import create_engine
from online_migrate.dialects.base import dialect_named
from online_migrate.migrate.run.database_watch import DatabaseWatch, OtherDatabaseUsed

INSERT = sa.text("INSERT INTO t (id) VALUES (1)")


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    """The engine of the command, and that of another database; each has an empty table."""
    made = [create_engine(f"sqlite:///{tmp_path / name}") for name in ("own.db", "other.db")]
    for engine in made:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE t (id INTEGER)"))
    yield made[0], made[1]
    for engine in made:
        engine.dispose()


def _rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM t")).scalar_one())


def _insert(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(INSERT)


def _call(watch: DatabaseWatch, function: Callable[[], None]) -> None:
    with watch.listening(), watch.calling():
        function()


def test_thread_is_checked_while_another_one_is_compared(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identity query of one thread must not switch off the check of the others."""
    own, other = engines
    comparing, inserted = threading.Event(), threading.Event()
    watch = DatabaseWatch(own)
    is_own = watch._is_own

    def slow(connection: Connection) -> bool:
        if connection.engine is own:
            comparing.set()
            assert inserted.wait(30)
        return is_own(connection)

    def insert_elsewhere() -> None:
        assert comparing.wait(30)
        try:
            _insert(other)
        except OtherDatabaseUsed as error:
            refused.append(error)
        finally:
            inserted.set()

    def both() -> None:
        threads = [threading.Thread(target=_insert, args=(own,)), threading.Thread(target=insert_elsewhere)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    refused: list[OtherDatabaseUsed] = []
    monkeypatch.setattr(watch, "_is_own", slow)
    with pytest.raises(OtherDatabaseUsed):
        _call(watch, both)
    assert len(refused) == 1
    assert _rows(other) == 0


@pytest.mark.parametrize("others_allowed", [False, True])
def test_connection_is_compared_again_after_a_failed_identity_query(
    others_allowed: bool, engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is not an answer: the statement is not sent, unless other databases are allowed."""
    own, other = engines
    watch = DatabaseWatch(own)
    watch.others_allowed = others_allowed
    identity = type(dialect_named("sqlite")).identity
    failures = iter((True, True))

    def failing(dialect: object, connection: Connection) -> dict[str, str]:
        if connection.engine is other and next(failures, False):
            raise sa.exc.OperationalError("SELECT", {}, Exception("the transaction is aborted"))
        return identity(dialect, connection)  # type: ignore[arg-type]

    def insert_twice() -> None:
        with other.connect() as connection:
            for _ in range(2):
                with contextlib.suppress(sa.exc.OperationalError, OtherDatabaseUsed):
                    connection.execute(INSERT)
            connection.commit()

    monkeypatch.setattr(type(dialect_named("sqlite")), "identity", failing)
    with pytest.raises(OtherDatabaseUsed):
        _call(watch, insert_twice)
    assert _rows(other) == (2 if others_allowed else 0)


def test_failed_identity_query_of_a_new_connection_is_no_refusal(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection of the pool that the server has closed is replaced before its first statement."""
    own, _ = engines
    watch = DatabaseWatch(own)
    is_own = watch._is_own
    failures = iter((True,))

    def failing(connection: Connection) -> bool:
        if next(failures, False):
            raise sa.exc.OperationalError("SELECT", {}, Exception("the server has gone away"))
        return is_own(connection)

    monkeypatch.setattr(watch, "_is_own", failing)
    _call(watch, lambda: _insert(own))
    assert _rows(own) == 1


def test_thread_with_the_number_of_an_ended_one_is_checked(engines: tuple[Engine, Engine]) -> None:
    """The system gives the number of a thread again as soon as the thread has ended."""
    own, other = engines
    watch = DatabaseWatch(own)
    end, refused = threading.Event(), []

    def insert_elsewhere() -> None:
        try:
            _insert(other)
        except OtherDatabaseUsed:
            refused.append(threading.get_ident())

    def insert_after_the_end() -> None:
        end.set()
        before.join()
        while before.ident not in started and len(started) < 50:
            thread = threading.Thread(target=insert_elsewhere)
            thread.start()
            thread.join(30)
            started.append(thread.ident)

    before = threading.Thread(target=end.wait, args=(30,))
    before.start()
    started: list[int | None] = []
    with pytest.raises(OtherDatabaseUsed):
        _call(watch, insert_after_the_end)
    assert refused == started
    assert _rows(other) == 0
