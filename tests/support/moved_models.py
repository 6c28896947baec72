"""Mapped classes with a moved column, in any phase: as in applications of different releases."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from online_migrate.orm import moved

GIB = 1024**3


def to_new(gb: Any) -> Any:
    """Bytes, from GiB."""
    return gb * GIB


def to_old(size: Any) -> Any:
    """GiB, from bytes: loses the rest. Exact on every server: MySQL rounds the quotient of two integers."""
    return (size - size % GIB) // GIB


@dataclasses.dataclass(frozen=True)
class Models:
    """The classes of one application, on tables that any phase can use."""

    metadata: sa.MetaData
    volume: Any
    """Moves a number to a type with more detail."""
    user: Any
    """Renames a text."""


def models(phase: str, to_old: Callable[[Any], Any] = to_old, **given: dict[str, Any]) -> Models:
    """Returns the classes of an application in *phase*.

    *given*: more arguments of the columns ``size_gb`` and ``size_bytes``.
    """

    class Base(DeclarativeBase):
        pass

    class Volume(Base):
        __tablename__ = "volumes"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        name: Mapped[str | None] = mapped_column(sa.String(40))
        size_gb: Mapped[int | None] = mapped_column(**given.get("size_gb", {}))
        size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger, **given.get("size_bytes", {}))
        size = moved("volume_size", old=size_gb, new=size_bytes, to_new=to_new, to_old=to_old, phase=phase)

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        nick: Mapped[str | None] = mapped_column(sa.String(40))
        name: Mapped[str | None] = mapped_column("full_name", sa.String(80))
        called = moved(
            "user_name", old=nick, new=name, to_new=lambda v: v, to_old=lambda v: v, phase=lambda: phase
        )

    return Models(Base.metadata, Volume, User)


def dataclass_model(phase: str) -> Any:
    """Returns the same class of volumes, mapped as a dataclass."""

    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Volume(Base):
        __tablename__ = "volumes"
        id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
        size_gb: Mapped[int | None] = mapped_column(default=None)
        size_bytes: Mapped[int | None] = mapped_column(sa.BigInteger, default=None)
        size = moved("volume_size", old=size_gb, new=size_bytes, to_new=to_new, to_old=to_old, phase=phase)

    return Volume
