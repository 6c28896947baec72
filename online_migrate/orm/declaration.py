"""``moved()``, which a mapped class calls once for each column that another one replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.orm import Mapped, MappedColumn

from online_migrate.orm import flush, statements
from online_migrate.orm.conversion import Conversion, Conversions
from online_migrate.orm.errors import MovedBroken
from online_migrate.orm.moved import Moved
from online_migrate.orm.phase import PhaseLike, phase_of

Old = TypeVar("Old")
New = TypeVar("New")


def moved(
    name: str,
    *,
    old: Mapped[Old | None],
    new: Mapped[New | None],
    to_new: Callable[[Old], New],
    to_old: Callable[[New], Old],
    to_new_sql: Callable[[Any], Any] | None = None,
    to_old_sql: Callable[[Any], Any] | None = None,
    phase: PhaseLike = None,
) -> Moved[New | None]:
    """Returns the attribute that stands for column *old* and for column *new*, which replaces it.

    *name*: the name by which the phase is configured.
    *old*, *new*: the two ``mapped_column()`` of the same class.
    *to_new*, *to_old*: convert a value; called with a column, they return a SQL expression. None stays None.
    *to_new_sql*, *to_old_sql*: return the SQL expression, if those cannot.
    *phase*: a :class:`~online_migrate.orm.phase.Phase`, or a function that returns one; without it the
    environment variable ONLINE_MIGRATE_ORM_PHASES is read.

    Raises :class:`~online_migrate.orm.errors.PhaseUnknown` if the phase is not set, and
    :class:`~online_migrate.orm.errors.MovedBroken` if *old* or *new* is no ``mapped_column()``.
    """
    for argument, column in (("old", old), ("new", new)):
        if not isinstance(column, MappedColumn):
            raise MovedBroken(
                name=name,
                reason=f"{argument} is a {type(column).__name__}, not a mapped_column() of the same class",
                hint="declare the moved column in the class, or the mixin, that declares its two columns",
            )
    assert isinstance(old, MappedColumn)
    assert isinstance(new, MappedColumn)
    conversions = Conversions(
        Conversion(name, "to_new", to_new, to_new_sql), Conversion(name, "to_old", to_old, to_old_sql)
    )
    flush.listen()
    statements.listen()
    return Moved(name, phase_of(name, phase), conversions, old=old, new=new)
