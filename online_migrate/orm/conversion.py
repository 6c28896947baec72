"""The two conversions of a moved column, in Python and in SQL. Pure.

NULL stays NULL: no conversion is called for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql import visitors

from online_migrate.dialects.orm_values import ExactText, SameValue
from online_migrate.orm.errors import MovedBroken

Expression = sa.ColumnElement[Any]

_ANY_DIALECT = DefaultDialect()


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One direction, as functions of a value and of a SQL expression."""

    name: str
    """The name of the moved column, for error messages."""
    argument: str
    """``to_new`` or ``to_old``."""
    of_value: Callable[[Any], Any]
    of_expression: Callable[[Any], Any] | None
    """None if *of_value* also accepts an expression."""

    def value(self, value: Any) -> Any:
        """Returns the converted *value*."""
        return None if value is None else self.of_value(value)

    def expression(self, source: Expression, target: sa.types.TypeEngine[Any]) -> Expression:
        """Returns the expression of the converted *source*, for a column of type *target*.

        Raises :class:`~online_migrate.orm.errors.MovedBroken` if the function does not make an expression.
        """
        function = self.of_expression or self.of_value
        widened = _widened(source, target)
        try:
            converted = function(widened)
        except Exception as error:
            raise self._no_expression(f"raises {type(error).__name__}: {error}") from error
        if not isinstance(converted, sa.ColumnElement):
            raise self._no_expression(f"returns a {type(converted).__name__}")
        return sa.case((source.is_not(None), _with_literals(converted, widened)))

    def _no_expression(self, problem: str) -> MovedBroken:
        given = self.argument if self.of_expression is None else f"{self.argument}_sql"
        return MovedBroken(
            name=self.name,
            reason=f"{given}, called with a column, {problem}",
            hint=f"give a function of a column that returns an expression: {self.argument}_sql=lambda c: ...",
        )


def _with_literals(converted: Expression, source: Expression) -> Expression:
    """Returns *converted* with the constants of the conversion as literals.

    The parameters of *source* stay what they are.

    With parameters of the server, the same expression in SELECT and in GROUP BY would be two.
    """
    given = {element.key for element in visitors.iterate(source) if isinstance(element, sa.BindParameter)}

    def replace(element: Any, **_: Any) -> Any:
        if not isinstance(element, sa.BindParameter):
            return None
        constant = element.key not in given and _has_literal_form(element.type)
        return element.render_literal_execute() if constant else element

    return visitors.replacement_traverse(converted, {}, replace)


def _has_literal_form(given: sa.types.TypeEngine[Any]) -> bool:
    stored = given.impl_instance if isinstance(given, sa.types.TypeDecorator) else given
    if isinstance(stored, (sa.types.NullType, sa.LargeBinary, sa.BINARY, sa.VARBINARY)):
        return False
    return given.literal_processor(_ANY_DIALECT) is not None


def _widened(source: Expression, target: sa.types.TypeEngine[Any]) -> Expression:
    """Returns *source* as a BIGINT if *target* is one: the product of two integers is an integer.

    A parameter of type BIGINT may be sent without its type.
    """
    if not isinstance(source.type, sa.Integer) or not isinstance(target, sa.BigInteger):
        return source
    wide = isinstance(source, sa.Column) and isinstance(source.type, sa.BigInteger)
    return source if wide else sa.cast(source, sa.BigInteger)


@dataclasses.dataclass(frozen=True)
class Conversions:
    """Both directions."""

    to_new: Conversion
    to_old: Conversion

    def agree(self, old: Any, new: Any) -> bool:
        """Whether two values are the same value, although one of them may have more detail."""
        if self.to_old.value(new) == old:
            return True
        return old is not None and bool(self.to_new.value(old) == new)

    def agree_expression(self, old: Expression, new: Expression) -> sa.ColumnElement[bool]:
        """Returns the expression that is true for a row whose columns agree; never NULL."""
        as_old = self.to_old.expression(new, old.type)
        as_new = self.to_new.expression(old, new.type)
        return sa.or_(_same(as_old, old), sa.and_(old.is_not(None), _same(as_new, new)))

    def read_old_first(self, old: Expression, new: Expression) -> Expression:
        """Returns *new* if it is the value of *old* in more detail, else the converted *old*."""
        as_old = self.to_old.expression(new, old.type)
        more_detail = sa.and_(new.is_not(None), _same(as_old, old))
        return sa.case((more_detail, new), else_=self.to_new.expression(old, new.type))

    def read_new_first(self, old: Expression, new: Expression) -> Expression:
        """Returns *new*, or the converted *old* if it is NULL."""
        return sa.func.coalesce(new, self.to_new.expression(old, new.type))

    def new_after(self, written: Expression, new: Expression) -> Expression:
        """Returns the converted *written*, or *new* if it is the same value in more detail."""
        derived = self.to_new.expression(written, new.type)
        return sa.case((self.agree_expression(written, new), new), else_=derived)

    def old_after(self, written: Expression, old: Expression) -> Expression:
        """Returns the converted *written*, or *old* if it is the same value in more detail."""
        derived = self.to_old.expression(written, old.type)
        return sa.case((self.agree_expression(old, written), old), else_=derived)

    def value_old_first(self, old: Any, new: Any) -> Any:
        """Returns what :meth:`read_old_first` is in SQL."""
        if new is not None and self.to_old.value(new) == old:
            return new
        return self.to_new.value(old)


def _same(left: Expression, column: Expression) -> sa.ColumnElement[bool]:
    if isinstance(column.type, sa.String):
        return SameValue(ExactText(left), ExactText(column))
    return SameValue(left, column)
