"""Mapped classes keep an old and a new column in step, on every server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, aliased, defer, load_only

from online_migrate import command
from online_migrate.orm import (
    ConversionDiffers,
    MovedColumnsDiffer,
    MovedExpression,
    MovedStatement,
    check_conversions,
)
from tests.servers import Database
from tests.support.moved_models import GIB, Models, models
from tests.support.project import Project

PHASES = ("old", "write-both", "read-new", "new")
BOTH = ("write-both", "read-new")
ASYNCHRONOUS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


@pytest.fixture
def tables(database: Database) -> Iterator[Models]:
    """The classes in phase ``write-both``; the tables have both columns."""
    found = models("write-both")
    found.metadata.create_all(database.engine)
    return found


def rows(database: Database) -> dict[int, tuple[Any, ...]]:
    """Both columns of each volume, by its id."""
    with database.engine.connect() as connection:
        query = sa.text("SELECT id, size_gb, size_bytes FROM volumes ORDER BY id")
        return {row[0]: tuple(row[1:]) for row in connection.execute(query)}


@pytest.mark.parametrize("phase", PHASES)
def test_every_way_to_write(database: Database, tables: Models, phase: str) -> None:
    """Objects, bulk statements and expressions, by any of the three attributes."""
    volume = models(phase).volume
    old, new = phase != "new", phase != "old"

    def stored(gb: int | None, size: int | None = None) -> tuple[int | None, int | None]:
        size = gb * GIB if size is None and gb is not None else size
        return gb if old else None, size if new else None

    with Session(database.engine) as session:
        session.add_all(
            [volume(id=1, size=5 * GIB + 7), volume(id=2, size_gb=6), volume(id=3, size_bytes=GIB)]
        )
        session.add_all(
            [volume(id=4), volume(id=5, size=None), volume(id=6, size_gb=7, size_bytes=7 * GIB + 1)]
        )
        session.commit()
        session.execute(sa.insert(volume), [{"id": 10, "size": GIB}, {"id": 11, "size": 2 * GIB}])
        session.execute(sa.insert(volume), [{"id": 12, "size_gb": 3}, {"id": 13, "size_gb": None}])
        session.execute(sa.insert(volume).values(id=14, size=5 * GIB))
        session.execute(sa.insert(volume).values(id=15, size_gb=4))
        session.execute(sa.insert(volume).values(id=16, size_bytes=4 * GIB))
        session.execute(sa.insert(volume).values(id=17, size=sa.literal(3 * GIB) - 1))
        session.execute(sa.update(volume).where(volume.id == 10).values(size_gb=9))
        session.execute(sa.update(volume).where(volume.id == 11).values(size=volume.size + GIB))
        session.execute(sa.update(volume), [{"id": 12, "size": 8 * GIB}])
        session.execute(sa.update(volume).where(volume.id == 15).values({volume.size_gb: volume.size_gb + 2}))
        session.execute(sa.update(volume).where(volume.size_gb == 5, volume.id == 14).values(size=None))
        session.get(volume, 2).size += 3 * GIB
        session.commit()
        expected = {1: stored(5, 5 * GIB + 7), 2: stored(9), 3: stored(1), 4: (None, None), 5: (None, None)}
        expected |= {6: stored(7, 7 * GIB + 1), 10: stored(9), 11: stored(3), 12: stored(8), 13: (None, None)}
        expected |= {14: (None, None), 15: stored(6), 16: stored(4), 17: stored(2, 3 * GIB - 1)}
        if not new:
            expected[1], expected[6] = stored(5), stored(7)
        assert rows(database) == expected
        read = {row.id: row.size for row in session.execute(sa.select(volume.id, volume.size))}
        assert read == {each.id: each.size for each in session.scalars(sa.select(volume))}
        assert read == {
            key: size if new else None if gb is None else gb * GIB for key, (gb, size) in expected.items()
        }


@pytest.mark.parametrize("phase", PHASES)
def test_queries_by_either(database: Database, tables: Models, phase: str) -> None:
    """Comparison, order, aggregate, NULL, alias and label are those of one attribute."""
    volume = models(phase).volume
    with Session(database.engine) as session:
        session.add_all([volume(id=n, size=n * GIB) for n in (1, 2, 3)])
        session.add(volume(id=4))
        session.commit()
        other = aliased(volume)
        assert session.scalars(sa.select(volume.id).where(volume.size == 2 * GIB)).all() == [2]
        assert session.scalars(sa.select(volume.id).where(volume.size_gb == 2)).all() == [2]
        assert session.scalars(sa.select(volume.id).where(volume.size_bytes.in_([GIB, 3 * GIB]))).all() == [
            1,
            3,
        ]
        assert session.scalars(sa.select(other.id).where(other.size.is_(None))).all() == [4]
        assert session.scalar(sa.select(sa.func.max(volume.size))) == 3 * GIB
        found = session.execute(sa.select(volume.size).where(volume.size > 0).order_by(volume.size.desc()))
        assert [row.size for row in found] == [3 * GIB, 2 * GIB, GIB]


# --- two processes at the same time --------------------------------------------------------------


class Client:
    """A process of the application, whose session keeps what it has loaded at the start, or written."""

    def __init__(self, database: Database, phase: str) -> None:
        self.phase = phase
        self.volume = models(phase).volume
        self.session = Session(database.engine, expire_on_commit=False)
        self.rows = {row.id: row for row in self.session.scalars(sa.select(self.volume))}
        self.session.commit()

    def write(self, values: dict[int, int | None]) -> set[int]:
        """Writes sizes in GiB, and returns the rows that were changed in the eyes of this process."""
        detail = 0 if self.phase == "old" else 7  # the old column has no room for it
        sizes = {key: None if gb is None else gb * GIB + detail for key, gb in values.items()}
        changed = {key: size for key, size in sizes.items() if self.rows[key].size != size}
        for key, size in changed.items():
            self.rows[key].size = size
        self.session.commit()
        return {*changed}

    def read(self) -> dict[int, int | None]:
        """Returns the size of each row in GiB, from an object and from a query alike."""
        with Session(self.session.bind) as fresh:
            loaded = {each.id: each.size for each in fresh.scalars(sa.select(self.volume))}
            query = sa.select(self.volume.id, self.volume.size)
            selected = {row.id: row.size for row in fresh.execute(query)}
        assert loaded == selected
        return {key: None if size is None else size // GIB for key, size in loaded.items()}


@pytest.mark.parametrize(("first", "second"), [*itertools.pairwise(PHASES), ("write-both", "write-both")])
def test_adjacent_phases(database: Database, tables: Models, first: str, second: str) -> None:
    """Each process reads what the other has written last, also over what it has not read itself.

    A row for each sequence of three writes. Beside phase ``new`` every row has been migrated, and no NULL is
    written: see docs/orm.md.
    """
    values = (3, 4) if "new" in (first, second) else (3, 4, None)
    start = {"size_gb": 3, "size_bytes": 3 * GIB if "new" in (first, second) else None}
    histories = dict(enumerate(itertools.product(itertools.product((0, 1), values), repeat=3)))
    with Session(database.engine) as session:
        session.execute(sa.insert(tables.volume.__table__), [{"id": key} | start for key in histories])
        session.commit()
    clients = [Client(database, first), Client(database, second)]
    expected: dict[int, int | None] = dict.fromkeys(histories, 3)
    for step in range(3):
        for number, client in enumerate(clients):
            given = {key: steps[step][1] for key, steps in histories.items() if steps[step][0] == number}
            expected |= {key: given[key] for key in client.write(given)}
        for client in clients:
            assert client.read() == expected, (step, client.phase)


# --- what the object does not know ---------------------------------------------------------------


def test_columns_that_are_not_loaded(database: Database, tables: Models) -> None:
    """A write to a row of which only one column was loaded, or none, keeps detail and corrects the other."""
    volume = tables.volume
    table = volume.__table__
    with Session(database.engine) as session:
        given = [
            (1, 5, 5 * GIB + 7),
            (2, 5, 5 * GIB + 7),
            (3, 5, 5 * GIB + 7),
            (4, 5, None),
            (5, 5, 5 * GIB + 7),
        ]
        session.execute(
            sa.insert(table), [dict(zip(("id", "size_gb", "size_bytes"), row, strict=True)) for row in given]
        )
        session.commit()
        kept, corrected = session.scalars(
            sa.select(volume).options(load_only(volume.size_gb)).where(volume.id < 3).order_by(volume.id)
        )
        kept.size_gb, corrected.size_gb = 5, 6
        session.commit()
        kept.size_gb, corrected.size_gb = 5, 6  # expired: nothing is loaded
        session.commit()
        third = session.scalars(sa.select(volume).options(defer(volume.size_gb)).where(volume.id == 3)).one()
        third.size = 7 * GIB + 1
        assert third.size == 7 * GIB + 1
        fourth = session.get(volume, 4)
        fourth.size_gb = 5  # unchanged, but the row is not migrated
        session.merge(volume(id=5, size=8 * GIB + 1))
        session.commit()
        assert (third.size, third.size_gb) == (7 * GIB + 1, 7)
        session.refresh(fourth)
        assert not session.dirty
    assert rows(database) == {
        1: (5, 5 * GIB + 7),
        2: (6, 6 * GIB),
        3: (7, 7 * GIB + 1),
        4: (5, 5 * GIB),
        5: (8, 8 * GIB + 1),
    }


def test_a_changed_case_is_a_change(database: Database, tables: Models) -> None:
    """Old code that changes only the case of a text, or a space at its end, is not overwritten or missed."""
    user = tables.user
    table = user.__table__
    with Session(database.engine) as session:
        session.add_all([user(id=1, called="anna"), user(id=2, called="bert"), user(id=3, called="carl")])
        session.commit()
        for key, name in ((1, "Anna"), (2, "bert ")):
            session.execute(sa.update(table).where(table.c.id == key).values(nick=name))
        session.commit()
        assert [each.called for each in session.scalars(sa.select(user).order_by(user.id))] == [
            "Anna",
            "bert ",
            "carl",
        ]
        assert session.scalars(sa.select(user.called).order_by(user.id)).all() == ["Anna", "bert ", "carl"]
        session.execute(sa.update(user).where(user.id == 3).values(nick="Carl"))
        assert session.scalar(sa.select(user.name).where(user.id == 3)) == "Carl"


# --- the data migration of the same declaration --------------------------------------------------

MIGRATION = """
from online_migrate.orm import moved_backfill
from tests.support.project import Project
from tests.support.moved_models import models

volume_size = moved_backfill(models(os.environ["PHASE_OF_THE_TEST"]).volume, "size", revision="e1")
"""


def test_runner_and_gate_agree_with_the_classes(
    database: Database, tables: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is pending while objects read it from the old column; no value of new code is changed."""
    volume = tables.volume
    with Session(database.engine) as session:
        session.add_all([volume(id=1, size=5 * GIB + 7), volume(id=2, size=5 * GIB + 7), volume(id=3)])
        old = models("old").volume
        session.add_all([old(id=4, size_gb=6), old(id=5)])
        session.flush()
        session.execute(sa.update(old).where(old.id == 2).values(size_gb=9))  # old code, over both columns
        session.commit()
        before = {each.id: each.size for each in session.scalars(sa.select(volume))}
    monkeypatch.setenv("PHASE_OF_THE_TEST", "write-both")
    with Project.create(tmp_path / "project", database.url) as project:
        project.expand("")
        project.data("volume_size", MIGRATION)
        project.contract('op.drop_column("volumes", "size_gb")', requires=("volume_size",))
        project.apply_expand()
        assert project.counts("volume_size") == (3, 2, 0)
        assert [blocker.count for blocker in command.gate(project.site())] == [2]
        project.migrate()
        assert rows(database)[1] == (5, 5 * GIB + 7)
        for phase in ("write-both", "read-new", "new"):
            found = models(phase).volume
            with Session(database.engine) as session:
                assert {each.id: each.size for each in session.scalars(sa.select(found))} == before
        monkeypatch.setenv("PHASE_OF_THE_TEST", "new")
        new = models("new").volume
        with Session(database.engine) as session:
            session.get(new, 1).size = 11 * GIB
            session.commit()
        assert command.gate(project.site()) == []
        project.migrate()
        command.contract(project.site())
        with Session(database.engine) as session:
            assert session.get(new, 1).size == 11 * GIB


# --- what is refused -----------------------------------------------------------------------------


def test_refusals(database: Database, tables: Models) -> None:
    """What would leave one column behind is refused before it is sent."""
    volume = tables.volume
    dialects = {"sqlite": sqlite, "postgresql": postgresql, "mysql": mysql, "mariadb": mysql}
    insert = dialects[database.server.product].insert

    def upsert(statement: Any = None, **changed: Any) -> Any:
        statement = insert(volume).values(id=1, size=GIB) if statement is None else statement
        if hasattr(statement, "on_duplicate_key_update"):
            return statement.on_duplicate_key_update(**changed)
        return statement.on_conflict_do_update(index_elements=["id"], set_=changed)

    with Session(database.engine) as session:
        session.add(volume(id=1, size=9 * GIB))
        session.commit()
        with pytest.raises(MovedStatement, match="the upsert sets size_gb only"):
            session.execute(upsert(size_gb=1))
        with pytest.raises(MovedStatement, match="the upsert sets size_gb only"):
            session.execute(upsert(insert(volume), size_gb=1), [{"id": 1, "size": GIB}])
        session.execute(upsert(size_gb=2, size_bytes=2 * GIB))
        with pytest.raises(MovedStatement, match="SELECT sets size_bytes only"):
            session.execute(
                sa.insert(volume).from_select(["id", "size_bytes"], sa.select(volume.id, volume.id))
            )
        with pytest.raises(MovedStatement, match="a row has a SQL expression for size"):
            session.execute(sa.insert(volume), [{"id": 2, "size": sa.func.abs(1)}])
        with pytest.raises(MovedColumnsDiffer, match="size_gb=1 and size_bytes=1073741825000"):
            session.execute(sa.insert(volume), [{"id": 2, "size_gb": 1, "size": 1073741825000}])
        with pytest.raises(MovedExpression):
            session.get(volume, 1).size_gb = volume.size_gb + 1
        session.commit()
    assert rows(database) == {1: (2, 2 * GIB)}


def test_conversions_on_this_server(database: Database, tables: Models) -> None:
    """The check of a test suite finds a conversion that a server does in another way than Python."""
    with database.engine.connect() as connection:
        sizes = [0, 1, GIB - 1, GIB, 5 * GIB + 7, 2**60 - 1]
        check_conversions(connection, tables.volume, "size", old=[0, 5, 2**31 - 1, None], new=[*sizes, None])
        check_conversions(connection, tables.user, "called", old=["a", "B "], new=["a"])
        broken = models("write-both", to_old=lambda size: size + 1 if isinstance(size, int) else size).volume
        with pytest.raises(ConversionDiffers, match="to_old of moved column 'volume_size' makes 5 into 6"):
            check_conversions(connection, broken, "size", old=[], new=[5])


# --- asynchronous sessions -----------------------------------------------------------------------


def test_asynchronous_session(database: Database, tables: Models) -> None:
    """Objects, expired attributes and statements in an ``AsyncSession``, which cannot load by itself."""
    volume = tables.volume
    driver = ASYNCHRONOUS.get(database.server.product, "mysql+asyncmy")
    url = sa.make_url(database.url).set(drivername=driver)

    async def use() -> list[int]:
        engine = create_async_engine(url)
        async with AsyncSession(engine) as session:
            session.add_all([volume(id=1, size=5 * GIB + 7), volume(id=2, size_gb=5)])
            await session.commit()
            first, second = (await session.scalars(sa.select(volume).order_by(volume.id))).all()
            await session.commit()  # both are expired
            first.size_gb = 5
            second.size = 6 * GIB
            await session.commit()
            await session.execute(sa.insert(volume), [{"id": 3, "size": 7 * GIB}])
            await session.execute(sa.update(volume).where(volume.id == 3).values(size=volume.size + GIB))
            await session.commit()
            found = (await session.scalars(sa.select(volume.size).order_by(volume.id))).all()
        await engine.dispose()
        return list(found)

    assert asyncio.run(use()) == [5 * GIB + 7, 6 * GIB, 8 * GIB]
    assert rows(database) == {1: (5, 5 * GIB + 7), 2: (6, 6 * GIB), 3: (8, 8 * GIB)}
