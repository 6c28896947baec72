"""Rows that are the parameters of an ``insert()`` or ``update()``: both columns of each are written."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import Update

from online_migrate.orm.errors import MovedStatement
from online_migrate.orm.flush import both_values
from online_migrate.orm.moved import MovedPair

Row = Mapping[str, Any]
Call = tuple[Any, Any]
"""A statement and its parameters."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The parameters of a statement for a mapped class, as values of its columns."""

    model: type[Any]
    pairs: tuple[MovedPair, ...]
    statement: Any
    parameters: Any

    def calls(self) -> Iterator[Call]:
        """Yields what is executed instead; nothing if no row has a value of a moved column."""
        rows = self._rows()
        if not any(self._given(pair, row) for pair in self.pairs for row in rows):
            return
        if isinstance(self.statement, Update) and not isinstance(self.parameters, Mapping):
            written = [self._written(row) for row in rows]
            for attributes, group in itertools.groupby(written, key=operator.itemgetter(0)):
                yield self._with_followers(attributes), [row for _, row in group]
            return
        changed = [self._both(row) for row in rows]
        yield self.statement, changed[0] if isinstance(self.parameters, Mapping) else changed

    def as_values(self) -> Call:
        """Returns an UPDATE whose single row of parameters gives one column of a pair by ``values()``.

        There the other column can be computed from the row.
        """
        statement, parameters = self.statement, self.parameters
        if not isinstance(statement, Update) or not isinstance(parameters, Mapping):
            return statement, parameters
        for pair in self.pairs:
            given = self._given(pair, parameters)
            if len(given) == 1:
                parameters = {name: value for name, value in parameters.items() if name not in given}
                statement = statement.values(
                    {getattr(self.model, name): value for name, value in given.items()}
                )
        return statement, parameters

    def refuse(self, pair: MovedPair) -> None:
        """Raises MovedStatement for values of *pair* that cannot be written, if its statement sets it."""
        for row in self._rows():
            if self._given(pair, row):
                raise self._refused(
                    pair, "the rows and values() both set it", "set it in the rows, or in values()"
                )

    @functools.cached_property
    def _binds(self) -> set[str]:
        """The names of the parameters of the statement that are no columns."""
        return {each.key for each in visitors.iterate(self.statement) if isinstance(each, sa.BindParameter)}

    def _rows(self) -> list[Row]:
        return [self.parameters] if isinstance(self.parameters, Mapping) else list(self.parameters or ())

    def _given(self, pair: MovedPair, row: Row) -> dict[str, Any]:
        """Returns the values of *pair* in a row, without those of a ``bindparam()`` of the same name."""
        given = {name: row[name] for name in pair.names if name in row and name not in self._binds}
        for name, value in given.items():
            if isinstance(value, sa.ClauseElement):
                raise self._refused(pair, f"a row has a SQL expression for {name}", "give a value")
        return given

    def _refused(self, pair: MovedPair, reason: str, hint: str) -> MovedStatement:
        return MovedStatement(model=self.model.__name__, attribute=pair.attribute, reason=reason, hint=hint)

    def _both(self, row: Row) -> dict[str, Any]:
        changed = dict(row)
        for pair in self.pairs:
            given = self._given(pair, row)
            if given:
                values = both_values(pair, self.model.__name__, given)
                changed = {name: value for name, value in changed.items() if name not in given}
                changed |= dict(pair.mapped(*values))
        return changed

    # --- an UPDATE of rows by their key ----------------------------------------------------------

    def _written(self, row: Row) -> tuple[tuple[str | None, ...], dict[str, Any]]:
        """Returns a row, and for each pair the attribute of the column from which the other one follows.

        The parameter of the column that follows has the value that is written.
        """
        changed, written = self._both(row), []
        for pair in self.pairs:
            given = self._given(pair, row)
            follows = self._follows(pair, given)
            if follows is not None:
                self._refuse_several_tables(pair)
                changed |= dict.fromkeys(dict(pair.mapped(None, None)), _value(pair, follows, given))
            written.append(follows)
        return tuple(written), changed

    def _refuse_several_tables(self, pair: MovedPair) -> None:
        """Raises MovedStatement for a class whose rows are in several tables.

        SQLAlchemy then applies the expression of a column to each of the tables.
        """
        mapper = sa.inspect(self.model)
        if len(mapper.tables) > 1:
            table = mapper.column_attrs[pair.new].columns[0].table
            raise self._refused(
                pair,
                f"{self.model.__name__}, whose rows are in several tables, is updated by key",
                f"give {pair.old} and {pair.new}, or update the class of table {table.name}",
            )

    @staticmethod
    def _follows(pair: MovedPair, given: dict[str, Any]) -> str | None:
        if pair.phase.maps_new and [*given] == [pair.old]:
            return pair.old
        return pair.new if pair.phase.maps_both and given and pair.old not in given else None

    def _with_followers(self, attributes: tuple[str | None, ...]) -> Any:
        statement = self.statement
        for pair, written in zip(self.pairs, attributes, strict=True):
            if written is not None:
                other = pair.new if written == pair.old else pair.old
                statement = statement.values({getattr(self.model, other): self._follower(pair, written)})
        return statement

    def _follower(self, pair: MovedPair, written: str) -> Any:
        columns = sa.inspect(self.model).column_attrs
        new = columns[pair.new].columns[0]
        if written == pair.new:
            old = columns[pair.old].columns[0]
            return pair.conversions.old_after(sa.bindparam(old.key, type_=new.type), old)
        value = sa.bindparam(new.key, type_=pair.type_of_old(self.model))
        return pair.conversions.new_after(value, new)


def _value(pair: MovedPair, written: str, given: dict[str, Any]) -> Any:
    """Returns the value that is given for the column *written*, by its own name or by that of the pair."""
    return given[written] if written in given else given[pair.attribute]
