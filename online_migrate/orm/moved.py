"""The attribute of a mapped class that stands for an old column and for the new one that replaces it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import InstanceState, MappedColumn
from sqlalchemy.orm.base import LoaderCallableStatus

from online_migrate.orm.conversion import Conversions
from online_migrate.orm.errors import MovedBroken, MovedExpression
from online_migrate.orm.expressions import KeptDetail
from online_migrate.orm.phase import Phase

T = TypeVar("T")
NO_VALUE = LoaderCallableStatus.NO_VALUE


@dataclasses.dataclass(frozen=True)
class MovedPair:
    """What a class declares of an old and a new column, and the phase of this process.

    It has many methods: each access of SQLAlchemy to the attribute (instance, query, UPDATE) for each column.
    """

    name: str
    phase: Phase
    conversions: Conversions
    attribute: str
    """The attribute that stands for both columns. Its values are those of the new column."""
    old: str
    """The attribute of the old column."""
    new: str
    """The attribute of the new column."""
    old_declared: sa.Column[Any]
    """The old column as it is declared; the mapped one may have more from an annotation."""
    new_declared: sa.Column[Any]

    @property
    def names(self) -> tuple[str, str, str]:
        """The three attributes."""
        return self.attribute, self.old, self.new

    @property
    def old_column(self) -> str:
        """The name of the old column in the database."""
        return self.old_declared.name or self.old

    @property
    def new_column(self) -> str:
        """The name of the new column in the database."""
        return self.new_declared.name or self.new

    @property
    def old_type(self) -> sa.types.TypeEngine[Any]:
        """The type that is declared for the old column."""
        return self.old_declared.type

    @property
    def new_type(self) -> sa.types.TypeEngine[Any]:
        """The type that is declared for the new column."""
        return self.new_declared.type

    def mapped(self, old: Any, new: Any) -> Iterator[tuple[str, Any]]:
        """Yields the attributes of the columns that are mapped, with their values."""
        if self.phase.maps_old:
            yield self.old, old
        if self.phase.maps_new:
            yield self.new, new

    # --- a row in Python -------------------------------------------------------------------------

    def read(self, instance: Any) -> Any:
        """Returns the value of a row, as the new column has it."""
        match self.phase:
            case Phase.OLD:
                return self.conversions.to_new.value(getattr(instance, self.old))
            case Phase.NEW:
                new = getattr(instance, self.new)
                return new.in_python if isinstance(new, KeptDetail) else new
        old, new = getattr(instance, self.old), getattr(instance, self.new)
        if isinstance(new, sa.ClauseElement):  # computed by the server at the flush, from this old value
            return self.conversions.to_new.value(old)
        if isinstance(old, sa.ClauseElement):
            return new
        if self.phase is Phase.WRITE_BOTH:
            return self.conversions.value_old_first(old, new)
        return self.conversions.to_new.value(old) if new is None else new

    def write(self, instance: Any, value: Any) -> None:
        """Writes the value of a row; where both columns are mapped, an event writes the old one."""
        self.refuse_expression(instance, self.attribute, value)
        if self.phase.maps_new:
            setattr(instance, self.new, value)
        else:
            setattr(instance, self.old, self.conversions.to_old.value(value))

    def refuse_expression(self, instance: object, attribute: str, value: object) -> None:
        """Raises :class:`~online_migrate.orm.errors.MovedExpression` if *value* is a SQL expression."""
        if _is_expression(value):
            raise MovedExpression(model=type(instance).__name__, attribute=attribute)

    def read_old(self, instance: Any) -> Any:
        """Returns the value of a row as the old column had it, where that is not mapped."""
        return self.conversions.to_old.value(self.read(instance))

    def write_old(self, instance: Any, value: Any) -> None:
        """Writes the value of the old column, where that is not mapped. More detail is kept."""
        self.refuse_expression(instance, self.old, value)
        known = known_value(sa.inspect(instance), self.new)
        if known is NO_VALUE:  # not loaded here: an asynchronous session cannot
            setattr(instance, self.new, self._kept_detail(type(instance), value))
        elif not self.conversions.agree(value, known):
            setattr(instance, self.new, self.conversions.to_new.value(value))

    # --- expressions -----------------------------------------------------------------------------

    def expression(self, owner: Any) -> Any:
        """Returns what :meth:`read` returns, as an expression of *owner*: the class, or an alias of it."""
        match self.phase:
            case Phase.OLD:
                return self.conversions.to_new.expression(column_of(owner, self.old), self.new_type)
            case Phase.NEW:
                return getattr(owner, self.new)
        old, new = column_of(owner, self.old), column_of(owner, self.new)
        if self.phase is Phase.WRITE_BOTH:
            return self.conversions.read_old_first(old, new)
        return self.conversions.read_new_first(old, new)

    def update(self, owner: Any, value: Any) -> list[tuple[Any, Any]]:
        """Returns what ``update().values()`` sets when *value* is written; see :mod:`.statements`."""
        if self.phase.maps_new:
            return [(getattr(owner, self.new), value)]
        if _is_expression(value):
            typed = _typed(value, self.expression(owner).type)
            return [(getattr(owner, self.old), self.conversions.to_old.expression(typed, self.old_type))]
        return [(getattr(owner, self.old), self.conversions.to_old.value(value))]

    def update_old(self, owner: Any, value: Any) -> list[tuple[Any, Any]]:
        """Returns what ``values()`` sets when *value* is written to the old column, not mapped."""
        return [(getattr(owner, self.new), self._kept_detail(owner, value))]

    def type_of_old(self, owner: Any) -> sa.types.TypeEngine[Any]:
        """Returns the type of the old column; that of the derived value if it is not known."""
        if self.phase.maps_old:
            return column_of(owner, self.old).type  # type: ignore[no-any-return]
        known = not isinstance(self.old_type, sa.types.NullType)
        return self.old_type if known else self.old_expression(owner).type

    def _kept_detail(self, owner: Any, value: Any) -> KeptDetail:
        """Returns what the new column is set to when *value* is written to the old one, not mapped."""
        new = column_of(owner, self.new)
        if _is_expression(value):
            written = _typed(value, self.type_of_old(owner))
            converted = self.conversions.to_new.expression(written, new.type)
            return KeptDetail(converted, self.conversions.new_after(written, new))
        in_python = self.conversions.to_new.value(value)
        converted = sa.literal(in_python, new.type)
        if value is None:
            kept = sa.case((self.old_expression(owner).is_(None), new), else_=converted)
        else:
            known = not isinstance(self.old_type, sa.types.NullType)
            written = sa.literal(value, self.old_type if known else None)
            kept = sa.case((self.conversions.agree_expression(written, new), new), else_=converted)
        return KeptDetail(converted, kept, in_python)

    def old_expression(self, owner: Any) -> Any:
        """Returns what :meth:`read_old` returns, as an expression of *owner*."""
        return self.conversions.to_old.expression(column_of(owner, self.new), self.old_type)


def column_of(owner: Any, attribute: str) -> Any:
    """Returns the column behind a mapped *attribute* of a class or of an alias."""
    return getattr(owner, attribute).__clause_element__()


def known_value(state: InstanceState[Any], attribute: str) -> Any:
    """Returns the value of an attribute without loading it; NO_VALUE if it is not loaded."""
    value = state.dict.get(attribute, NO_VALUE)
    if value is NO_VALUE and not state.has_identity:
        return None
    return NO_VALUE if isinstance(value, sa.ClauseElement) else value


def _is_expression(value: object) -> bool:
    return isinstance(value, sa.ClauseElement) or hasattr(value, "__clause_element__")


def _typed(value: Any, given: sa.types.TypeEngine[Any]) -> Any:
    """Returns an expression, with the type *given* if it has none, like ``bindparam("x")``."""
    expression = value.__clause_element__() if hasattr(value, "__clause_element__") else value
    return sa.type_coerce(expression, given) if isinstance(expression.type, sa.types.NullType) else expression


class Moved(hybrid_property[T]):
    """The value of an old and of a new column, in Python and in SQL; see :func:`~.declaration.moved`."""

    pair: MovedPair

    def __init__(
        self,
        name: str,
        phase: Phase,
        conversions: Conversions,
        *,
        old: MappedColumn[Any],
        new: MappedColumn[Any],
    ) -> None:
        super().__init__(
            lambda instance: self.pair.read(instance),
            lambda instance, value: self.pair.write(instance, value),
            expr=lambda owner: self.pair.expression(owner),
            update_expr=lambda owner, value: self.pair.update(owner, value),
        )
        self._declared = name, phase, conversions
        self._old, self._new = old, new

    def __set_name__(self, owner: type[Any], attribute: str) -> None:
        # Called before the class is mapped: a column that this phase does not use is not mapped at all.
        name, phase, conversions = self._declared
        old, new = self._attribute(owner, self._old, "old"), self._attribute(owner, self._new, "new")
        self.__name__ = attribute
        self.pair = MovedPair(
            name,
            phase,
            conversions,
            attribute,
            old=old,
            new=new,
            old_declared=self._old.column,
            new_declared=self._new.column,
        )
        pair = self.pair
        if not phase.maps_old:
            unmapped = UnmappedColumn(pair.read_old, pair.write_old, pair.old_expression, pair.update_old)
            _replace(owner, old, unmapped)
        if not phase.maps_new:
            unmapped = UnmappedColumn(pair.read, pair.write, pair.expression, pair.update)
            _replace(owner, new, unmapped)

    def _attribute(self, owner: type[Any], column: MappedColumn[Any], argument: str) -> str:
        for attribute, value in vars(owner).items():
            if value is column:
                return str(attribute)
        raise MovedBroken(
            name=self._declared[0],
            reason=f"{argument} is not a mapped_column of class {owner.__name__}",
            hint="declare the moved column in the class, or the mixin, that declares its two columns",
        )


class UnmappedColumn(hybrid_property[Any]):
    """The attribute of a column that this phase does not map; its value is derived from the other column."""

    def __init__(
        self,
        read: Callable[[Any], Any],
        write: Callable[[Any, Any], None],
        expression: Callable[[Any], Any],
        update: Callable[[Any, Any], list[tuple[Any, Any]]],
    ) -> None:
        super().__init__(
            lambda instance: read(instance),
            lambda instance, value: write(instance, value),
            expr=lambda owner: expression(owner),
            update_expr=lambda owner, value: update(owner, value),
        )


def _replace(owner: type[Any], attribute: str, derived: UnmappedColumn) -> None:
    derived.__name__ = attribute
    setattr(owner, attribute, derived)
    vars(owner).get("__annotations__", {}).pop(attribute, None)


def pairs_of(model: type[Any]) -> Iterator[MovedPair]:
    """Yields the moved columns of a mapped class, also those of its base classes."""
    seen: set[str] = set()
    for base in model.__mro__:
        for attribute, value in vars(base).items():
            if isinstance(value, Moved) and attribute not in seen:
                seen.add(attribute)
                yield value.pair
