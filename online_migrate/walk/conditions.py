"""Conditions on the key of a table: the rows after a key, up to a key, or with one of some keys. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from online_migrate.walk.key import Key
from online_migrate.writers.bulk import our_prefix

Binds = Sequence[sa.BindParameter[Any]]


class KeyConditions:
    """Builds the conditions on the key of one table.

    *key*: the expressions with which a key is compared. *row_values*: the server uses the index of the key
    for ``(a, b) > (x, y)``.
    """

    def __init__(self, table: sa.Table, key: Sequence[sa.ColumnElement[Any]], *, row_values: bool) -> None:
        self._key = tuple(key)
        self._row_values = row_values
        self._ours = our_prefix(table)

    def above(self, key: Key) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows whose key is greater than *key*."""
        return self._above(self._binds(key))

    def up_to(self, key: Key) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows whose key is not greater than *key*."""
        return self._up_to(self._binds(key))

    def _above(self, binds: Binds) -> sa.ColumnElement[bool]:
        if len(self._key) == 1:
            return self._key[0] > binds[0]
        if self._row_values:
            return sa.tuple_(*self._key) > sa.tuple_(*binds)
        steps = [self._step(i, binds, part > binds[i]) for i, part in enumerate(self._key)]
        return sa.and_(self._key[0] >= binds[0], sa.or_(*steps))

    def _up_to(self, binds: Binds) -> sa.ColumnElement[bool]:
        if len(self._key) == 1:
            return self._key[0] <= binds[0]
        if self._row_values:
            return sa.tuple_(*self._key) <= sa.tuple_(*binds)
        last = len(self._key) - 1
        steps = [self._step(i, binds, self._key[i] < binds[i]) for i in range(last)]
        steps.append(self._step(last, binds, self._key[last] <= binds[last]))
        return sa.and_(self._key[0] <= binds[0], sa.or_(*steps))

    def _step(self, i: int, binds: Binds, comparison: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        """Returns ``a = x AND b > y``, one alternative of a spelled-out comparison of keys.

        The comparison is spelled out because MySQL reads the whole table for ``(a, b) > (x, y)``. The bound
        on the first column precedes the alternatives, so that the optimizer starts a range scan from it.
        """
        return sa.and_(*[self._key[j] == binds[j] for j in range(i)], comparison)

    def _binds(self, key: Sequence[Any]) -> Binds:
        return [
            sa.bindparam(None, value, type_=part.type, unique=True)
            for part, value in zip(self._key, key, strict=True)
        ]

    def key_in(self, keys: Iterable[Key]) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows with one of these keys."""
        if len(self._key) == 1:
            return self._key[0].in_([self._binds(key)[0] for key in keys])
        # IN and not OR, because SQLite limits the depth of an expression to 1000.
        return sa.tuple_(*self._key).in_([sa.tuple_(*self._binds(key)) for key in keys])

    # --- with the bounds as parameters, for statements that are built once ------------------------

    def between(self, *, from_start: bool) -> sa.ColumnElement[bool]:
        """Returns the condition for the rows of a plain chunk; its parameters are :meth:`bounds`.

        *from_start*: the chunk has no lower bound.
        """
        upper = self._up_to(self._named("upper"))
        return upper if from_start else sa.and_(self._above(self._named("lower")), upper)

    def bounds(self, lower: Key | None, upper: Key) -> dict[str, Any]:
        """Returns the parameters of :meth:`between`."""
        values = {f"{self._ours}upper_{i}": value for i, value in enumerate(upper)}
        return values | {f"{self._ours}lower_{i}": value for i, value in enumerate(lower or ())}

    def _named(self, bound: str) -> Binds:
        return [
            sa.bindparam(f"{self._ours}{bound}_{i}", type_=part.type, required=True)
            for i, part in enumerate(self._key)
        ]
