"""Moved columns of mapped classes: declaration, phases, dataclasses, inheritance, merge."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column

from online_migrate.orm import MovedBroken, MovedColumnsDiffer, MovedStatement, Phase, PhaseUnknown, moved
from online_migrate.orm.phase import VARIABLE, phase_of
from tests.support.moved_models import GIB, dataclass_model, models, to_new, to_old

# --- phases --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("read-new", Phase.READ_NEW),
        ("volume_size=old", Phase.OLD),
        ("other=new, volume_size = write-both", Phase.WRITE_BOTH),
        ("new,volume_size=old", Phase.OLD),
    ],
)
def test_phase_of_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, expected: Phase) -> None:
    """An item for the name, else the item for all."""
    monkeypatch.setenv(VARIABLE, text)
    assert phase_of("volume_size") is expected
    assert phase_of("volume_size", "new") is Phase.NEW
    assert phase_of("volume_size", lambda: "old") is Phase.OLD


@pytest.mark.parametrize(
    ("text", "reason"), [("", "is not set"), ("other=new", "is not set"), ("both", "is 'both'")]
)
def test_phase_is_never_assumed(monkeypatch: pytest.MonkeyPatch, text: str, reason: str) -> None:
    """A missing or misspelled phase is an error."""
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(PhaseUnknown, match=reason) as found:
        models(phase_of("volume_size"))
    assert found.value.hint.startswith("export ONLINE_MIGRATE_ORM_PHASES=volume_size=write-both")


def test_a_column_that_a_phase_does_not_use_is_not_in_the_table() -> None:
    """So no statement names it: it need not exist."""
    assert list(models("old").volume.__table__.c.keys()) == ["id", "name", "size_gb"]
    assert list(models("new").volume.__table__.c.keys()) == ["id", "name", "size_bytes"]
    assert list(models("new").user.__table__.c.keys()) == ["id", "full_name"]
    assert list(models("read-new").volume.__table__.c.keys()) == ["id", "name", "size_gb", "size_bytes"]


# --- objects without a session -------------------------------------------------------------------


@pytest.mark.parametrize("phase", list(Phase))
def test_constructor(phase: str) -> None:
    """Any of the three names, in every phase."""
    volume = models(phase).volume
    for given in (
        {"size": 5 * GIB},
        {"size_gb": 5},
        {"size_bytes": 5 * GIB},
        {"size_gb": 5, "size": 5 * GIB},
    ):
        made = volume(id=1, **given)
        assert (made.size, made.size_gb, made.size_bytes) == (5 * GIB, 5, 5 * GIB), given
    empty = volume(id=1)
    assert (empty.size, empty.size_gb, empty.size_bytes) == (None, None, None)
    with pytest.raises(MovedColumnsDiffer, match="was given size_gb=5 and size_bytes=6442450944"):
        volume(id=1, size_gb=5, size_bytes=6 * GIB)


@pytest.mark.parametrize("phase", list(Phase))
def test_dataclass(phase: str) -> None:
    """The constructor has the columns that are mapped, and its defaults overwrite no value."""
    volume = dataclass_model(phase)
    columns = {"size_gb": 5, "size_bytes": 5 * GIB}
    for name in columns.keys() & volume.__dataclass_fields__.keys():
        made = volume(1, **{name: columns[name]})
        assert (made.size, made.size_gb, made.size_bytes) == (5 * GIB, 5, 5 * GIB), name
    made = volume(1)
    made.size = 5 * GIB
    assert (made.size_gb, made.size_bytes) == (5, 5 * GIB)
    assert repr(volume(1)).startswith("dataclass_model.<locals>.Volume(id=1, size_")


def test_dataclass_without_defaults() -> None:
    """Both columns would be needed, and the second would overwrite the first."""

    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Volume(Base):
        __tablename__ = "volumes"
        id: Mapped[int] = mapped_column(primary_key=True)
        size_gb: Mapped[int | None] = mapped_column()
        size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
        size = moved("size", old=size_gb, new=size_bytes, to_new=to_new, to_old=to_old, phase="write-both")

    with pytest.raises(MovedBroken, match="needs a value for size_gb and for size_bytes"):
        Volume(1, 5, None)


@pytest.mark.parametrize("phase", ["write-both", "read-new"])
def test_the_side_with_more_detail_is_kept(phase: str) -> None:
    """Writing what the other column says already changes nothing; writing None clears both."""
    made = models(phase).volume(size=5 * GIB + 7)
    made.size_gb = 5
    assert made.size_bytes == 5 * GIB + 7
    made.size_gb = 6
    assert made.size == made.size_bytes == 6 * GIB
    made.size = None
    assert (made.size_gb, made.size_bytes) == (None, None)


def test_a_value_that_cannot_be_converted_changes_nothing() -> None:
    """The error of the conversion is raised by the assignment."""
    made = models("write-both").volume(size_gb=5)
    with pytest.raises(TypeError):
        made.size = "large"
    assert (made.size_gb, made.size_bytes) == (5, 5 * GIB)


@pytest.mark.parametrize("phase", ["write-both", "read-new"])
def test_load_merge_refresh_and_expire_write_nothing(phase: str) -> None:
    """A row of old code stays as it is until it is written."""
    found = models(phase)
    engine = sa.create_engine("sqlite://")
    found.metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(sa.insert(found.volume.__table__), {"id": 1, "size_gb": 5})
        loaded = session.get(found.volume, 1)
        assert (loaded.size, loaded.size_bytes) == (5 * GIB, None)
        session.expire(loaded)
        session.refresh(loaded, ["size_gb"])
        assert loaded.size == 5 * GIB
        assert not session.dirty
        session.expunge(loaded)
        merged = session.merge(loaded)
        assert merged.size_bytes is None
        assert not session.is_modified(merged)
        stale = session.get(found.volume, 1)
        session.expunge(stale)
        session.execute(sa.update(found.volume).where(found.volume.id == 1).values(size=6 * GIB))
        assert session.merge(stale).size == 5 * GIB
        session.commit()
        assert session.get(found.volume, 1).size_gb == 5


# --- inheritance ---------------------------------------------------------------------------------


def test_inheritance_and_mixin() -> None:
    """Single-table and joined subclasses, and a class that gets the columns from a mixin."""

    class Sized:
        size_gb: Mapped[int | None] = mapped_column()
        size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)
        size = moved("size", old=size_gb, new=size_bytes, to_new=to_new, to_old=to_old, phase="write-both")

    class Base(DeclarativeBase):
        pass

    class Volume(Sized, Base):
        __tablename__ = "volumes"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(sa.String(10))
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "volume"}

    class Cached(Volume):
        __mapper_args__ = {"polymorphic_identity": "cached"}

    class Encrypted(Volume):
        __tablename__ = "encrypted_volumes"
        id: Mapped[int] = mapped_column(sa.ForeignKey("volumes.id"), primary_key=True)
        __mapper_args__ = {"polymorphic_identity": "encrypted"}

    class Image(Sized, Base):
        __tablename__ = "images"
        id: Mapped[int] = mapped_column(primary_key=True)

    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for model in (Volume, Cached, Encrypted, Image):
            session.add(model(size=5 * GIB + 1))
            made = model(size_gb=6)
            session.add(made)
            session.commit()
            made.size = 7 * GIB
            session.commit()
            assert session.scalars(sa.select(model.size_gb).where(model.size == 7 * GIB)).all() == [7]
            made.size = 7 * GIB + 1
            session.flush()
            assert_updates_write_both(session, made, Volume if model is Encrypted else model)


def assert_updates_write_both(session: Session, made: Any, owner: Any) -> None:
    """Asserts what an UPDATE writes. *owner*: the class of the table that has the columns of *made*."""
    model = type(made)
    is_joined = model is not owner
    if is_joined:
        with pytest.raises(MovedStatement, match="whose rows are in several tables") as found:
            session.execute(sa.update(model), [{"id": made.id, "size_gb": 7}])
        assert found.value.hint.endswith("or update the class of table volumes")
    for gb, expected in ((7, 7 * GIB + 1), (9, 9 * GIB)):
        session.execute(sa.update(owner), [{"id": made.id, "size_gb": gb}])
        session.expire_all()
        assert (made.size_gb, made.size_bytes) == (gb, expected)
    session.execute(sa.update(model), [{"id": made.id, "size_gb": 7, "size_bytes": 7 * GIB + 2}])
    if not is_joined:  # SQLAlchemy cannot update columns of the base table there
        session.execute(sa.update(model).where(model.id == made.id).values(size_gb=8))
        assert session.scalar(sa.select(model.size_bytes).where(model.id == made.id)) == 8 * GIB


# --- declarations that are refused ---------------------------------------------------------------


def _declared(**given: Any) -> Any:
    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "rows"
        id: Mapped[int] = mapped_column(primary_key=True)
        a: Mapped[str | None] = mapped_column(sa.String(9))
        b: Mapped[int | None] = mapped_column(**given.pop("column", {}))
        both = moved(
            "m",
            **(
                {"old": a, "new": b, "to_new": lambda v: int(v), "to_old": str, "phase": "write-both"} | given
            ),
        )

    return Row


@pytest.mark.parametrize("given", [{"default": 5}, {"server_default": "5"}, {"onupdate": 5}])
def test_default_of_the_new_column_only(given: dict[str, Any]) -> None:
    """Such a row of old code would have two values, and no rule says which one counts."""
    with pytest.raises(MovedBroken, match=r"b has an? (default|onupdate) and a has none"):
        _declared(column=given)


@pytest.mark.parametrize(
    "given", [{"server_default": "5"}, {"default": sa.func.abs(5)}, {"onupdate": sa.func.abs(5)}]
)
def test_server_default_of_the_old_column_only(given: dict[str, Any]) -> None:
    """What the server computes cannot be converted before the row is written."""
    with pytest.raises(
        MovedBroken, match=r"size_gb has .* that the server computes, and size_bytes has none"
    ):
        models("write-both", size_gb=given)
    assert models("write-both", size_gb=given, size_bytes=given).volume.size_bytes is not None


def test_defaults_that_differ() -> None:
    """Two constants have to be the same value; one of them may have more detail."""
    with pytest.raises(MovedBroken, match="the default of size_gb is 5, and that of size_bytes is 6,"):
        models("write-both", size_gb={"default": 5}, size_bytes={"default": 6})
    assert models("write-both", size_gb={"default": 5}, size_bytes={"default": 5 * GIB + 7}).volume


def test_default_of_subclasses() -> None:
    """A subclass in the same table shares the default of the two columns once."""

    class Base(DeclarativeBase):
        pass

    class Volume(Base):
        __tablename__ = "volumes"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str] = mapped_column(sa.String(10))
        size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger)  # before the old column
        size_gb: Mapped[int | None] = mapped_column(default=iter(range(5, 9)).__next__)
        size = moved("size", old=size_gb, new=size_bytes, to_new=to_new, to_old=to_old, phase="read-new")
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "volume"}

    class Cached(Volume):
        __mapper_args__ = {"polymorphic_identity": "cached"}

    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for made in (Volume(), Cached(), Cached(size=GIB), Cached(size_gb=None)):
            session.add(made)
            session.commit()
        found = session.execute(sa.select(Volume.size_gb, Volume.size_bytes).order_by(Volume.id)).all()
    assert [tuple(row) for row in found] == [(5, 5 * GIB), (6, 6 * GIB), (1, GIB), (7, 7 * GIB)]


def test_conversion_without_sql() -> None:
    """A Python function that is no SQL expression is named when it is used in SQL, not before."""
    row = _declared()
    assert row(a="5").both == 5
    with pytest.raises(MovedBroken, match="to_old, called with a column, returns a str") as found:
        sa.select(row.both)
    assert "to_old_sql=lambda c: ..." in found.value.hint
    given = _declared(
        to_new_sql=lambda c: sa.cast(c, sa.Integer), to_old_sql=lambda c: sa.cast(c, sa.String(9))
    )
    assert "CAST" in str(sa.select(given.both))


def test_column_of_another_class() -> None:
    """The two columns belong to the class that declares the moved column."""
    with pytest.raises(MovedBroken, match="old is a InstrumentedAttribute, not a mapped_column"):
        _declared(old=models("old").volume.size_gb)
