"""A value with less detail that is written does not change the side with more, on every server and driver."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from online_migrate.orm import MovedStatement
from tests.functional.test_orm_drivers import ASYNCHRONOUS, DRIVERS, with_each_driver
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


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
def test_expired_object_of_an_asynchronous_session(database: Database, phase: str) -> None:
    """Each of the three attributes is assigned without a load."""
    create(database)
    volume = models(phase).volume
    drivers = [driver for driver in DRIVERS[database.server.product] if driver.endswith(ASYNCHRONOUS)]

    async def use(driver: str) -> list[Any]:
        engine = create_async_engine(sa.make_url(database.url).set(drivername=driver))
        found = []
        async with AsyncSession(engine) as session:
            for written in ({"size_gb": 5}, {"size_gb": 7}, {"size": DETAILED}, {"size_bytes": DETAILED}):
                expired = await session.get(volume, 1)
                session.expire(expired)
                for attribute, value in written.items():
                    setattr(expired, attribute, value)
                await session.commit()
                found += [(await session.run_sync(sizes))[0]]
        await engine.dispose()
        return found

    assert drivers
    for driver in drivers:
        assert asyncio.run(use(driver)) == [DETAILED, 7 * GIB, DETAILED, DETAILED], driver


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


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
def test_update_by_key(database: Database, phase: str) -> None:
    """Rows of different attributes in one call, in their order; a row that has neither is not changed."""
    create(database)
    volume = models(phase).volume

    def work(session: Session) -> list[Any]:
        session.add_all([volume(id=key, size=DETAILED) for key in (3, 4, 5, 6, 7, 8)])
        session.flush()
        given = [
            {"id": 1, "size_gb": 5},
            {"id": 2, "size_gb": 7},
            {"id": 3, "size": 8 * GIB + 1, "name": "x"},
            {"id": 4, "name": "y"},
            {"id": 5, "size_gb": 9, "size_bytes": 9 * GIB + 9},
            {"id": 6, "size_gb": None},
            {"id": 7, "size": 9 * GIB},
            {"id": 7, "size_gb": 3},
            {"id": 8, "size_gb": 5, "name": "z"},
        ]
        session.execute(sa.update(volume), given)
        names = session.scalars(sa.select(volume.name).where(volume.name.is_not(None)).order_by(volume.id))
        assert names.all() == ["x", "y", "z"]
        session.expire_all()
        gbs = session.scalars(sa.select(volume.size_gb).order_by(volume.id)).all()
        assert gbs == [5, 7, 8, 5, 9, None, 3, 5]
        return sizes(session)

    expected = [DETAILED, 7 * GIB, 8 * GIB + 1, DETAILED, 9 * GIB + 9, None, 3 * GIB, DETAILED]
    for driver, result in with_each_driver(database, work).items():
        assert result == expected, driver


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
def test_text_by_key(database: Database, phase: str) -> None:
    """A changed case is a change, and the parameter of a text is compared as a text."""
    create(database)
    user = models(phase).user
    attribute = "nick" if phase == "new" else "name"

    def work(session: Session) -> list[Any]:
        session.add_all([user(id=1, called="anna"), user(id=2, called="bert"), user(id=3, called="carl")])
        session.flush()
        rows = [{"id": 1, "nick": "Anna"}, {"id": 2, attribute: "bert "}, {"id": 3, "nick": None}]
        session.execute(sa.update(user), rows)
        return [tuple(row) for row in session.execute(sa.select(user.nick, user.name).order_by(user.id))]

    expected = [("Anna", "Anna"), ("bert ", "bert "), (None, None)]
    for driver, result in with_each_driver(database, work).items():
        assert result == expected, driver


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
def test_parameters_that_are_no_columns(database: Database, phase: str) -> None:
    """A ``bindparam()`` with the name of a moved attribute is no value of it."""
    create(database)
    volume = models(phase).volume
    statement = sa.update(volume).where(volume.size > sa.bindparam("size"))

    def work(session: Session) -> list[Any]:
        session.execute(statement.values(name=sa.bindparam("n")), {"size": 9 * GIB, "n": "x"})
        session.execute(statement.values(size_gb=sa.bindparam("n")), {"size": GIB, "n": 5})
        return [*sizes(session), *session.scalars(sa.select(volume.name))]

    for driver, result in with_each_driver(database, work).items():
        assert result == [DETAILED, DETAILED, None, None], driver


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
def test_rows_beside_values(database: Database, phase: str) -> None:
    """A statement with values, and parameters that are values of columns as well."""
    create(database)
    volume = models(phase).volume
    both = phase != "new"

    def work(session: Session) -> list[tuple[Any, ...]]:
        session.execute(sa.update(volume).values(name="x"), [{"id": 1, "size_gb": 5}])
        session.execute(sa.update(volume).where(volume.id == 2), {"size_gb": 5})
        session.execute(sa.insert(volume).values(name="x"), [{"id": 3, "size_gb": 5}, {"id": 4, "size": GIB}])
        query = sa.text("SELECT name, size_gb, size_bytes FROM volumes ORDER BY id")
        return [tuple(row) for row in session.execute(query)]

    expected = [("x", 5, DETAILED), (None, 5, DETAILED)]
    expected += [("x", 5 if both else None, 5 * GIB), ("x", 1 if both else None, GIB)]
    for driver, result in with_each_driver(database, work).items():
        assert result == expected, driver


@pytest.mark.parametrize("phase", NEW_AND_BOTH)
def test_rows_that_are_refused(database: Database, phase: str) -> None:
    """One column cannot be set by the rows and by the statement."""
    create(database)
    volume = models(phase).volume
    with Session(database.engine) as session:
        with pytest.raises(MovedStatement, match=r"the rows and values\(\) both set it"):
            session.execute(sa.update(volume).values(size=GIB), [{"id": 1, "size_gb": 5}])
        with pytest.raises(MovedStatement, match="a row has a SQL expression for size_gb"):
            session.execute(sa.update(volume), [{"id": 1, "size_gb": sa.func.abs(5)}])
        assert sizes(session) == [DETAILED, DETAILED]
