"""The data migration of a moved column, from the same declaration."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from online_migrate.kinds.backfill import Backfill
from online_migrate.orm.errors import MovedBroken
from online_migrate.orm.moved import MovedPair, pairs_of


def moved_backfill(model: type[Any], attribute: str, **arguments: Any) -> Backfill:
    """Returns the data migration that fills the new column of a moved column.

    *attribute*: the name of the moved column in *model*. *arguments*: those of
    :class:`~online_migrate.Backfill`, such as ``revision=``.

    While processes may write only the old column (phases ``old`` and ``write-both``), a row is pending if its
    two columns do not have the same value; later, if only the old column has a value.
    """
    pair = pair_named(model, attribute)
    return Backfill(
        table=sa.inspect(model).local_table.fullname,
        values=lambda table: {pair.new_column: _derived(pair, table)},
        pending=lambda table: _pending(pair, table),
        **arguments,
    )


def pair_named(model: type[Any], attribute: str) -> MovedPair:
    """Returns a moved column of *model*."""
    for pair in pairs_of(model):
        if pair.attribute == attribute:
            return pair
    raise MovedBroken(name=attribute, reason=f"class {model.__name__} has no such moved column")


def _derived(pair: MovedPair, table: sa.Table) -> sa.ColumnElement[Any]:
    return pair.conversions.to_new.expression(table.c[pair.old_column], table.c[pair.new_column].type)


def _pending(pair: MovedPair, table: sa.Table) -> sa.ColumnElement[bool]:
    old, new = table.c[pair.old_column], table.c[pair.new_column]
    if pair.phase.old_is_current:
        return sa.not_(pair.conversions.agree_expression(old, new))
    return sa.and_(new.is_(None), old.is_not(None))
