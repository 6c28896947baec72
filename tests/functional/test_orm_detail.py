"""A value with less detail that is written does not change the side with more, on every server and driver."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.functional.test_orm_drivers import with_each_driver
from tests.servers import Database
from tests.support.moved_models import GIB, models

NEW_AND_BOTH = ("write-both", "read-new", "new")
DETAILED = 5 * GIB + 512


def create(database: Database) -> None:
    """Creates the tables, with two rows of 5 GiB and more."""
    both = models("write-both")
    both.metadata.create_all(database.engine)
    with Session(database.engine) as session:
        session.add_all([both.volume(id=1, size=DETAILED), both.volume(id=2, size=DETAILED)])
        session.commit()


def sizes(session: Session) -> list[tuple[Any, ...]]:
    """The new column of each row, which every phase but the first writes."""
    return [row[0] for row in session.execute(sa.text("SELECT size_bytes FROM volumes ORDER BY id"))]


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
@pytest.mark.parametrize(("gb", "expected"), [(5, DETAILED), (7, 7 * GIB), (None, None)])
def test_object_that_is_not_loaded(
    database: Database, phase: str, gb: int | None, expected: int | None
) -> None:
    """An expired object is written without a load, which an ``AsyncSession`` cannot do there."""
    create(database)
    volume = models(phase).volume

    def work(session: Session) -> list[Any]:
        found = session.get(volume, 1)
        session.expire(found)
        found.size_gb = gb
        assert found.size_gb == gb
        before = found.size
        session.flush()
        session.refresh(found)
        return [before, found.size, found.size_gb, *sizes(session)]

    before = None if gb is None else gb * GIB
    for driver, result in with_each_driver(database, work).items():
        assert result == [before, expected, gb, expected, DETAILED], driver


def test_object_that_is_written_twice(database: Database) -> None:
    """The last value counts; an object that has no row yet is not compared with one."""
    create(database)
    volume = models("new").volume
    with Session(database.engine) as session:
        found = session.get(volume, 1)
        session.expire(found)
        found.size_gb = 7
        found.size_gb = 5
        session.flush()
        assert found.size == DETAILED
        found.size_gb = 6
        found.size_gb = 5
        session.add(volume(id=3, size_gb=5))
        session.flush()
        made = volume(id=4)
        made.size_gb = 7
        assert (made.size, made.size_gb) == (7 * GIB, 7)
        session.add(made)
        session.commit()
        assert sizes(session) == [5 * GIB, DETAILED, 5 * GIB, 7 * GIB]


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
def test_update_statement(database: Database, phase: str) -> None:
    """A value, an expression and a parameter; objects in the session are expired."""
    create(database)
    volume = models(phase).volume
    update = sa.update(volume).where(volume.id == 1)

    def work(session: Session) -> list[Any]:
        found = []
        loaded = session.get(volume, 1)
        for statement, given in (
            (update.values(size_gb=5), {}),
            (update.values({volume.size_gb: volume.size_gb}), {}),
            (update.values(size_gb=sa.bindparam("q")), {"q": 5}),
            (update.values(size_gb=sa.bindparam("q")), {"q": 7}),
            (update.values(size_gb=volume.size_gb + 1), {}),
            (update.values(size_gb=None), {}),
        ):
            session.execute(statement, given)
            if given:  # SQLAlchemy itself sets an attribute of a loaded object to the parameter's default
                session.expire(loaded)
            assert loaded.size == sizes(session)[0]
            found.append(loaded.size)
        return [*found, sizes(session)[1]]

    expected = [DETAILED, DETAILED, DETAILED, 7 * GIB, 8 * GIB, None, DETAILED]
    for driver, result in with_each_driver(database, work).items():
        assert result == expected, driver


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
@pytest.mark.parametrize("old_type", [None, sa.Integer(), sa.BigInteger()])
def test_inserted_parameter(database: Database, phase: str, old_type: Any) -> None:
    """The product of a parameter does not overflow, whatever the declaration says of the old column."""
    create(database)
    given = {} if old_type is None else {"size_gb": {"type_": old_type}}
    volume = models(phase, **given).volume

    def work(session: Session) -> list[Any]:
        session.execute(sa.insert(volume).values(id=3, size_gb=sa.bindparam("q")), {"q": 4})
        session.execute(sa.insert(volume).values(id=4, size_gb=sa.literal(5) + 1))
        session.execute(sa.insert(volume).values([{"id": 5, "size_gb": 7}, {"id": 6, "size_gb": 8}]))
        return sizes(session)[2:]

    for driver, result in with_each_driver(database, work).items():
        assert result == [4 * GIB, 6 * GIB, 7 * GIB, 8 * GIB], driver
