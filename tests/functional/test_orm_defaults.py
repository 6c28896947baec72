"""A row that is given neither the old nor the new value gets the default in both columns, on every server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.servers import Database
from tests.support.moved_models import GIB, Models, models

BOTH = ("write-both", "read-new")


def counter() -> Callable[[], int]:
    """A function that returns another number each time it is called, from 1."""
    return iter(range(1, 99)).__next__


def counter_of_context() -> Callable[[Any], int]:
    """The same, as a function of the context."""
    numbers = iter(range(1, 99))

    def default(context: Any) -> int:
        assert context.current_parameters
        return next(numbers)

    return default


def rows(database: Database) -> list[tuple[Any, ...]]:
    """Both columns of each volume, in the order of the ids."""
    with database.engine.connect() as connection:
        query = sa.text("SELECT size_gb, size_bytes FROM volumes ORDER BY id")
        return [tuple(row) for row in connection.execute(query)]


def insert_in_every_way(database: Database, found: Models) -> list[int | None]:
    """Inserts rows 1 to 7 without a size, and row 8 with one; returns what the objects say."""
    volume = found.volume
    with Session(database.engine) as session:
        objects = [volume(id=1), volume(id=2, size=None), volume(id=8, size_gb=9)]
        session.add_all(objects)
        session.flush()
        session.execute(sa.insert(volume), [{"id": 3, "name": "x"}])
        session.execute(sa.insert(volume).values(id=4, name="x"))
        session.execute(sa.insert(volume).values([{"id": 5, "name": "x"}, {"id": 6, "name": "y"}]))
        source = sa.select(sa.literal(7), sa.literal("x"))
        session.execute(sa.insert(volume).from_select(["id", "name"], source))
        said = [each.size for each in objects]
        session.commit()
        assert [each.size for each in objects] == said
    return said


@pytest.mark.parametrize("phase", BOTH)
@pytest.mark.parametrize("default", [counter, counter_of_context, lambda: 5])
def test_default_of_the_old_column(database: Database, phase: str, default: Callable[[], Any]) -> None:
    """It is evaluated once for a row, and converted for the new column; also without it in phase ``new``."""
    default = default()
    models("write-both").metadata.create_all(database.engine)
    found = models(phase, size_gb={"default": default})
    said = insert_in_every_way(database, found)
    stored = rows(database)
    assert stored[7] == (9, 9 * GIB)
    assert {new for old, new in stored} == {old * GIB for old, new in stored}
    assert all(new == old * GIB for old, new in stored), stored
    expected = {5} if default == 5 else {*range(1, 8)}
    assert {old for old, _ in stored[:7]} == expected
    assert said == [stored[0][1], stored[1][1], 9 * GIB]
    with Session(database.engine) as session:
        new = models("new").volume
        assert session.scalars(sa.select(new.size).order_by(new.id)).all() == [new for _, new in stored]


@pytest.mark.parametrize("default", [counter, lambda: 5])
def test_default_of_the_old_column_in_the_last_phase(database: Database, default: Callable[[], Any]) -> None:
    """Phase ``new``, which does not map the old column, writes the converted default."""
    models("write-both").metadata.create_all(database.engine)
    default = default()
    insert_in_every_way(database, models("new", size_gb={"default": default}))
    expected = [5 * GIB] * 7 if default == 5 else [number * GIB for number in range(1, 8)]
    assert sorted(new for _, new in rows(database)) == sorted([*expected, 9 * GIB])
    assert {old for old, _ in rows(database)} == {None}


@pytest.mark.parametrize("phase", BOTH)
def test_defaults_of_both_columns(database: Database, phase: str) -> None:
    """Two functions that return different values, as of a clock, still make one value."""
    models("write-both").metadata.create_all(database.engine)
    clock = counter()
    found = models(phase, size_gb={"default": clock}, size_bytes={"default": lambda: clock() * GIB})
    insert_in_every_way(database, found)
    assert all(new == old * GIB for old, new in rows(database))


@pytest.mark.parametrize("phase", BOTH)
def test_onupdate(database: Database, phase: str) -> None:
    """An UPDATE that writes neither column gives both the same new value."""
    models("write-both").metadata.create_all(database.engine)
    found = models(phase, size_gb={"onupdate": counter()})
    volume = found.volume
    with Session(database.engine) as session:
        session.add_all([volume(id=key, size=90 * GIB) for key in (1, 2, 3, 4)])
        session.commit()
        session.get(volume, 1).name = "x"
        session.commit()
        session.execute(sa.update(volume).where(volume.id == 2).values(name="x"))
        session.execute(sa.update(volume), [{"id": 3, "name": "x"}])
        session.execute(sa.update(volume).where(volume.id == 4).values(name="x", size=80 * GIB))
        session.commit()
    assert rows(database) == [(1, GIB), (2, 2 * GIB), (3, 3 * GIB), (80, 80 * GIB)]


@pytest.mark.parametrize("phase", BOTH)
def test_server_defaults(database: Database, phase: str) -> None:
    """Both columns have one, so the server applies both."""
    given = {"size_gb": {"server_default": "5"}, "size_bytes": {"server_default": str(5 * GIB)}}
    found = models(phase, **given)
    found.metadata.create_all(database.engine)
    insert_in_every_way(database, found)
    assert rows(database) == [(5, 5 * GIB)] * 7 + [(9, 9 * GIB)]
