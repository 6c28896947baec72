"""Writes to an object keep both columns in step before the flush. What is only loaded is not written.

An attribute that is written changes the other column, unless the two have the same value already: so a
conversion that loses detail does not change the side that has it.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ColumnProperty, InstanceState, Mapper, attributes
from sqlalchemy.orm.attributes import flag_modified, set_attribute
from sqlalchemy.orm.base import LoaderCallableStatus

from online_migrate.orm.defaults import share_defaults
from online_migrate.orm.errors import MovedBroken, MovedColumnsDiffer
from online_migrate.orm.moved import NO_VALUE, MovedPair, column_of, known_value, pairs_of

_DEFAULT = getattr(LoaderCallableStatus, "DONT_SET", NO_VALUE)
"""What SQLAlchemy 2.1 passes for an argument of a dataclass that was not given."""


def listen() -> None:
    """Listens to the classes that are mapped from now on."""
    if not event.contains(Mapper, "after_mapper_constructed", _on_mapped):
        event.listen(Mapper, "after_mapper_constructed", _on_mapped)


def _on_mapped(mapper: Mapper[Any], model: type[Any]) -> None:
    for pair in pairs_of(model):
        event.listen(model, "init", functools.partial(_on_init, pair))
        share_defaults(mapper, pair)
        if pair.phase.maps_both:
            event.listen(getattr(model, pair.old), "set", _setter(pair, pair.old, pair.new), raw=True)
            event.listen(getattr(model, pair.new), "set", _setter(pair, pair.new, pair.old), raw=True)
            for name in (pair.old, pair.new):
                mapper.get_property(name).__class__ = _CopiedColumn
            event.listen(model, "before_update", functools.partial(_write_both, pair))


# --- the constructor -----------------------------------------------------------------------------


def _on_init(pair: MovedPair, target: Any, args: tuple[Any, ...], given: dict[str, Any]) -> None:
    """Replaces the arguments for the moved column by those for the columns that are mapped."""
    values = {name: given[name] for name in pair.names if given.get(name, _DEFAULT) is not _DEFAULT}
    _refuse_positional(pair, type(target), args)
    if any(value is not None for value in values.values()):
        # A dataclass passes the defaults of its other columns as well.
        values = {name: value for name, value in values.items() if value is not None}
    if not values:
        return
    for name, value in values.items():
        pair.refuse_expression(target, name, value)
    old, new = both_values(pair, type(target).__name__, values)
    for name in pair.names:
        given.pop(name, None)
    given |= dict(pair.mapped(old, new))


def _refuse_positional(pair: MovedPair, model: type[Any], args: tuple[Any, ...]) -> None:
    """Raises MovedBroken for a dataclass that passes the columns by position, so that both are needed."""
    names = list(inspect.signature(model).parameters)[: len(args)] if args else []
    if not pair.phase.maps_both or not {pair.old, pair.new} & {*names}:
        return
    raise MovedBroken(
        name=pair.name,
        reason=f"the constructor of {model.__name__} needs a value for {pair.old} and for {pair.new}",
        hint="declare both mapped_column(default=None), or init=False",
    )


def both_values(pair: MovedPair, model: str, values: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the values of the old and of the new column."""
    conversions = pair.conversions
    news = [values[name] for name in (pair.attribute, pair.new) if name in values]
    if not news:
        return values[pair.old], conversions.to_new.value(values[pair.old])
    old = values.get(pair.old, conversions.to_old.value(news[0]))
    if any(not conversions.agree(old, new) for new in news):
        raise MovedColumnsDiffer(model=model, old=pair.old, old_value=old, new=pair.new, new_value=news[-1])
    return old, news[0]


# --- Session.merge() -----------------------------------------------------------------------------

_copying: contextvars.ContextVar[bool] = contextvars.ContextVar("copying", default=False)
"""Whether both columns are being copied from another object."""


class _CopiedColumn(ColumnProperty[Any]):
    """The mapped attribute of one of the two columns, which ``Session.merge()`` copies as it is.

    ``merge()`` assigns one attribute after the other, so the second one, if it is NULL because the row is not
    migrated, would clear the first. SQLAlchemy has no event for it.
    """

    __slots__ = ()
    inherit_cache = True

    def merge(self, session: Any, source_state: Any, source_dict: dict[str, Any], *more: Any) -> None:
        pairs = [pair for pair in pairs_of(self.parent.class_) if self.key in (pair.old, pair.new)]
        both = all(pair.old in source_dict and pair.new in source_dict for pair in pairs)
        token = _copying.set(both)
        try:
            super().merge(session, source_state, source_dict, *more)
        finally:
            _copying.reset(token)


# --- a write -------------------------------------------------------------------------------------

_OnSet = Callable[[InstanceState[Any], Any, Any, attributes.AttributeEventToken], None]


def _setter(pair: MovedPair, written: str, other: str) -> _OnSet:
    to_other = pair.conversions.to_new if written == pair.old else pair.conversions.to_old

    def on_set(
        state: InstanceState[Any], value: Any, _before: Any, initiator: attributes.AttributeEventToken
    ) -> None:
        if initiator.key == other or _copying.get():  # the other column is written by this change, too
            return
        instance = state.obj()
        pair.refuse_expression(instance, written, value)
        known = known_value(state, other)
        if known is NO_VALUE:
            # Not read here: in an asynchronous session an attribute cannot be loaded by a write.
            follow = _computed_by_server(pair, state, written, value)
        elif _agree(pair, written, value, known):
            return
        else:
            follow = to_other.value(value)
        set_attribute(instance, other, follow, initiator)

    return on_set


def _agree(pair: MovedPair, written: str, value: Any, other: Any) -> bool:
    old, new = (value, other) if written == pair.old else (other, value)
    return pair.conversions.agree(old, new)


def _computed_by_server(pair: MovedPair, state: InstanceState[Any], written: str, value: Any) -> Any:
    """Returns the other column's value after *value* is written, as an expression of the row."""
    return follower(pair, state.mapper.class_, written, literal_of(state.mapper.class_, written, value))


def literal_of(model: type[Any], attribute: str, value: Any) -> Any:
    """Returns a bound value of the type of a mapped attribute."""
    return sa.literal(value, column_of(model, attribute).type)


def follower(pair: MovedPair, model: type[Any], written: str, value: Any) -> Any:
    """Returns what the other column is set to when *value*, an expression, is written to one of them."""
    old, new = column_of(model, pair.old), column_of(model, pair.new)
    if written == pair.old:
        return pair.conversions.new_after(value, new)
    return pair.conversions.old_after(value, old)


def _write_both(pair: MovedPair, mapper: Mapper[Any], connection: sa.Connection, target: Any) -> None:
    """Includes both columns in the UPDATE if one of them has changed.

    Another session may have written the one that seems unchanged here.
    """
    state = sa.inspect(target)
    if any(state.attrs[name].history.has_changes() for name in (pair.old, pair.new)):
        for name in (pair.old, pair.new):
            if name in state.dict:
                flag_modified(target, name)
