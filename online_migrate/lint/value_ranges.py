"""Which values an expression can have, and whether they fit into the type of a column. Pure.

Only what is certain counts: an expression that is not known has no range, and fits.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import elements, operators

from online_migrate.lint.schema import Table
from online_migrate.sql.operations.parts import Column, SqlType

_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "integer": 32, "bigint": 64}
_TEXT_LENGTHS = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215, "longtext": 4_294_967_295}
"""The lengths of the texts of MySQL and MariaDB, in bytes."""

Misfit = str
"""A sentence about values that do not fit."""


class _DoesNotFit(Exception):
    """An intermediate result does not fit into its type."""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Whole numbers from *low* to *high*. *bits*: the type that PostgreSQL computes them in."""

    low: int
    high: int
    bits: int = 64

    def __or__(self, other: Numbers) -> Numbers:
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Numbers(low, high, max(self.bits, other.bits))


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts of at most *length* characters."""

    length: float

    def __or__(self, other: Texts) -> Texts:
        return Texts(max(self.length, other.length))


Range = Numbers | Texts | None


def misfit(value: object, target: Column, table: Table, product: str) -> Misfit | None:
    """Returns why values of an expression may not fit into the column *target*; None: they fit.

    *value*: an expression of columns of *table*, or a plain value. *product*: the server.
    """
    assert target.type is not None
    try:
        found = _Evaluation(table, product).range(value)
    except _DoesNotFit as error:
        return str(error)
    fits_in = range_of(target.type, product)
    name = f"{table.name}.{target.name}"
    if (
        isinstance(found, Numbers)
        and isinstance(fits_in, Numbers)
        and (found.low < fits_in.low or found.high > fits_in.high)
    ):
        worst = found.high if found.high > fits_in.high else found.low
        return f"{name} is {target.type}, but its value may be {worst:,}"
    if isinstance(found, Texts) and isinstance(fits_in, Texts) and found.length > fits_in.length:
        longest = "of any length" if math.isinf(found.length) else f"of {found.length:,.0f} characters"
        return f"{name} is {target.type}, but its value may be a text {longest}"
    return None


def range_of(type: SqlType, product: str) -> Range:
    """Returns the values of a type; None: not known."""
    if type.array:
        return None
    if type.name in _BITS:
        bits = _BITS[type.name]
        if type.unsigned:
            return Numbers(0, 2**bits - 1, bits)
        return Numbers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, bits)
    if type.name == "numeric" and type.parameters:
        scale = int(type.parameters[1]) if len(type.parameters) > 1 else 0
        most = 10 ** (int(type.parameters[0]) - scale) - 1
        return Numbers(-most, most, 1_000)
    if type.name in ("char", "varchar") and type.parameters and type.parameters[0].isdigit():
        return Texts(int(type.parameters[0]))
    if type.name in _TEXT_LENGTHS and product in ("mysql", "mariadb"):
        return Texts(_TEXT_LENGTHS[type.name])
    if type.name in ("text", "varchar"):
        return Texts(math.inf)
    return None


class _Evaluation:
    """Computes the range of an expression of the columns of a table, on a server."""

    def __init__(self, table: Table, product: str) -> None:
        self._table = table
        self._product = product

    def range(self, value: Any) -> Range:
        """Returns the range of an expression or a plain value. Raises :class:`_DoesNotFit`."""
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int):
            return Numbers(value, value, 32 if -(2**31) <= value < 2**31 else 64)
        if isinstance(value, str):
            return Texts(len(value))
        if isinstance(value, elements.BindParameter):
            return self.range(value.value) if isinstance(value.value, int | str) else None
        if isinstance(value, sa.Column):
            column = self._table.columns.get(value.name)
            type = column.type if column is not None else None
            return None if type is None else range_of(type, self._product)
        return self._of_element(value)

    def _of_element(self, value: Any) -> Range:
        if isinstance(value, elements.Grouping):
            return self.range(value.element)
        if isinstance(value, elements.Cast):
            return self._of_cast(value)
        if isinstance(value, elements.BinaryExpression):
            return self._of_binary(value)
        name = str(getattr(value, "name", "")).lower()
        if isinstance(value, sa.sql.functions.FunctionElement):
            arguments = [self.range(argument) for argument in value.clauses]
            if name in ("lower", "upper", "trim", "ltrim", "rtrim", "abs") and len(arguments) == 1:
                return arguments[0] if isinstance(arguments[0], Texts) else None
            if name in ("coalesce", "nullif", "ifnull"):
                return _union(arguments)
        return None

    def _of_cast(self, value: elements.Cast[Any]) -> Range:
        inner = self.range(value.clause)
        wide = isinstance(value.type, sa.BigInteger | sa.Numeric) and not isinstance(value.type, sa.Float)
        if isinstance(inner, Numbers) and wide:
            bits = 64 if isinstance(value.type, sa.BigInteger) else 1_000
            return Numbers(inner.low, inner.high, bits)
        return None

    def _of_binary(self, value: elements.BinaryExpression[Any]) -> Range:
        left, right = self.range(value.left), self.range(value.right)
        if isinstance(left, Texts) and isinstance(right, Texts):
            return Texts(left.length + right.length) if value.operator is operators.concat_op else None
        compute = _COMPUTED.get(value.operator)
        if compute is None or not isinstance(left, Numbers) or not isinstance(right, Numbers):
            return None
        corners = [compute(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
        result = Numbers(min(corners), max(corners), max(left.bits, right.bits))
        self._require_computable(result, value)
        return result

    def _require_computable(self, result: Numbers, value: object) -> None:
        """Raises :class:`_DoesNotFit` if PostgreSQL cannot compute the result in the type of its parts."""
        most = 2 ** (result.bits - 1)
        if self._product == "postgresql" and not -most <= result.low <= result.high < most:
            type = {16: "smallint", 32: "integer", 64: "bigint"}.get(result.bits, "numeric")
            raise _DoesNotFit(
                f"PostgreSQL computes {value} in type {type}, in which {result.high:,} is out of range"
            )


_COMPUTED: Mapping[Any, Callable[[int, int], int]] = {
    operator.add: operator.add,
    operator.sub: operator.sub,
    operator.mul: operator.mul,
    operators.add: operator.add,
    operators.sub: operator.sub,
    operators.mul: operator.mul,
}


def _union(ranges: list[Range]) -> Range:
    numbers = [each for each in ranges if isinstance(each, Numbers)]
    texts = [each for each in ranges if isinstance(each, Texts)]
    if ranges and len(numbers) == len(ranges):
        return functools.reduce(operator.or_, numbers)
    if ranges and len(texts) == len(ranges):
        return functools.reduce(operator.or_, texts)
    return None
