"""Queries by a moved column with every driver; some send the constants of a statement as parameters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from online_migrate.dialects.query import sql_text
from online_migrate.orm import moved, moved_backfill
from tests.servers import Database
from tests.support.moved_models import GIB, models

PHASES = ("old", "write-both", "read-new", "new")
DRIVERS = {
    "sqlite": ("sqlite", "sqlite+aiosqlite"),
    "postgresql": ("postgresql+psycopg2", "postgresql+psycopg", "postgresql+asyncpg"),
    "mysql": ("mysql+pymysql", "mysql+asyncmy", "mysql+aiomysql"),
    "mariadb": ("mariadb+pymysql", "mariadb+asyncmy", "mariadb+aiomysql"),
}
ASYNCHRONOUS = ("aiosqlite", "asyncpg", "asyncmy", "aiomysql")
Result = TypeVar("Result")


def with_each_driver(database: Database, work: Callable[[Session], Result]) -> dict[str, Result]:
    """Runs *work* in a session of each driver of the server, and rolls it back; returns the results."""
    url = sa.make_url(database.url)
    found = {}
    for driver in DRIVERS[database.server.product]:
        given = url.set(drivername=driver)
        if driver.endswith(ASYNCHRONOUS):
            found[driver] = asyncio.run(_asynchronously(given, work))
        else:
            engine = sa.create_engine(given)
            with Session(engine) as session:
                found[driver] = work(session)
            engine.dispose()
    assert len(found) == len(DRIVERS[database.server.product])
    return found


async def _asynchronously(url: sa.URL, work: Callable[[Session], Result]) -> Result:
    engine = create_async_engine(url)
    async with AsyncSession(engine) as session:
        found = await session.run_sync(work)
    await engine.dispose()
    return found


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("attribute", ["size", "size_gb", "size_bytes"])
def test_group_and_distinct(database: Database, phase: str, attribute: str) -> None:
    """The expression in SELECT is the one in GROUP BY, and in ORDER BY of a DISTINCT."""
    both = models("write-both")
    both.metadata.create_all(database.engine)
    with Session(database.engine) as session:
        session.add_all([both.volume(id=key, size_gb=gb) for key, gb in enumerate((3, 5, 3))])
        session.commit()
    volume = models(phase).volume

    def value() -> Any:
        """Each use of the attribute makes an expression of its own."""
        return getattr(volume, attribute)

    def work(session: Session) -> list[list[tuple[Any, ...]]]:
        queries = (
            sa.select(value(), sa.func.count()).group_by(value()),
            sa.select(value(), sa.func.count()).group_by(value()).order_by(value()),
            sa.select(value()).distinct().order_by(value()),
        )
        return [sorted(tuple(row) for row in session.execute(query)) for query in queries]

    three, five = (3, 5) if attribute == "size_gb" else (3 * GIB, 5 * GIB)
    counted = [(three, 2), (five, 1)]
    for driver, found in with_each_driver(database, work).items():
        assert found == [counted, counted, [(three,), (five,)]], driver


LABELS = {0: "it's", 1: "100%", 2: "a\\b", 3: ":name %s {x}"}


@pytest.mark.parametrize("phase", PHASES)
def test_constants_of_a_conversion(database: Database, phase: str) -> None:
    """Texts with characters that mean something to a driver or to a server, and numbers below zero."""

    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "labelled"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        number: Mapped[int | None] = mapped_column()
        label: Mapped[str | None] = mapped_column(sa.String(40))
        both = moved(
            "label",
            old=number,
            new=label,
            to_new=lambda number: LABELS[-1 - number],
            to_old=lambda label: -1 - {text: key for key, text in LABELS.items()}[label],
            to_new_sql=lambda c: sa.case(
                *((c == -1 - key, text) for key, text in LABELS.items()), else_=sa.null()
            ),
            to_old_sql=lambda c: sa.case(
                *((c == text, -1 - key) for key, text in LABELS.items()), else_=sa.null()
            ),
            phase=phase,
        )

    table = sa.Table(
        "labelled",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer),
        sa.Column("label", sa.String(40)),
    )
    table.create(database.engine)
    with Session(database.engine) as session:
        given = [{"id": key, "number": -1 - key, "label": text} for key, text in LABELS.items()]
        session.execute(table.insert(), given)
        session.commit()

    def work(session: Session) -> tuple[dict[str, int], dict[int, int]]:
        by_label = sa.select(Row.both, sa.func.count()).where(Row.both.like("%")).group_by(Row.both)
        by_number = sa.select(Row.number, sa.func.count()).group_by(Row.number)
        return dict(map(tuple, session.execute(by_label))), dict(map(tuple, session.execute(by_number)))

    expected = dict.fromkeys(LABELS.values(), 1), dict.fromkeys((-1 - key for key in LABELS), 1)
    for driver, found in with_each_driver(database, work).items():
        assert found == expected, driver


@pytest.mark.parametrize("phase", ["write-both", "read-new"])
def test_constants_without_a_literal_form(database: Database, phase: str) -> None:
    """Bytes stay parameters."""

    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "secrets"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        old: Mapped[int | None] = mapped_column()
        new: Mapped[int | None] = mapped_column()
        both = moved(
            "secret",
            old=old,
            new=new,
            to_new=lambda value: value,
            to_old=lambda value: value,
            to_new_sql=lambda c: sa.case((sa.literal(b"\xff\x00") == sa.literal(b"\xff\x00"), c)),
            phase=phase,
        )

    Base.metadata.create_all(database.engine)
    with Session(database.engine) as session:
        session.add(Row(id=1, both=5))
        session.commit()
        assert session.scalars(sa.select(Row.both)).all() == [5]


def test_text_of_the_pending_rows(database: Database) -> None:
    """The condition of the data migration has all its constants as a text, which a barrier needs."""
    both = models("write-both")
    both.metadata.create_all(database.engine)
    table = both.volume.__table__
    pending = moved_backfill(both.volume, "size", revision="e1").pending(table)
    with database.engine.begin() as connection:
        given = [
            {"id": 1, "size_gb": 5, "size_bytes": 5 * GIB + 7},
            {"id": 2, "size_gb": 6, "size_bytes": None},
        ]
        connection.execute(table.insert(), given)
        text = sql_text(connection, sa.select(table.c.id).where(pending))
        plain = connection.execution_options(no_parameters=True)
        assert plain.exec_driver_sql(text).scalars().all() == [2]
