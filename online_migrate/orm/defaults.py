"""The defaults of the two columns: a row that is given neither value gets two that are the same value.

A Python-side default of the old column is applied to both. What a server computes is not known here, so it
has to be declared for both columns.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapper

from online_migrate.orm.errors import MovedBroken
from online_migrate.orm.moved import MovedPair


@dataclasses.dataclass(frozen=True)
class _Kind:
    """The attributes of a column with its defaults for one sort of statement."""

    python: str
    server: str
    noun: str


_KINDS = (
    _Kind("default", "server_default", "a default"),
    _Kind("onupdate", "server_onupdate", "an onupdate"),
)


@dataclasses.dataclass(frozen=True)
class _Shared:
    """A default of a column that is the value of the other column, if that is known."""

    pair: MovedPair
    source: Any
    """The default of the old column, as it is declared."""
    for_new: bool
    """Whether this is a default of the new column."""
    other: str | None
    """The key of the other column in the table; None if it is not mapped."""
    other_is_first: bool
    """Whether the default of the other column is evaluated first."""

    def __call__(self, context: Any) -> Any:
        to_new, to_old = self.pair.conversions.to_new, self.pair.conversions.to_old
        known, value = self._other(context)
        if known:
            return to_new.value(value) if self.for_new else to_old.value(value)
        value = self.source.arg(context) if self.source.is_callable else self.source.arg
        return to_new.value(value) if self.for_new else value

    def _other(self, context: Any) -> tuple[bool, Any]:
        """Returns whether the row has a value of the other column already, and which."""
        column, row = context.current_column, context.current_parameters
        key = getattr(column, "original", column).key
        suffix = column.key[len(key) :]  # of the rows of insert().values([...]), but the first
        for name in (f"{self.other}{suffix}", f"{self.other}_m0"):
            if name in row:
                return self.other_is_first or row[name] is not None, row[name]
        return False, None


def share_defaults(mapper: Mapper[Any], pair: MovedPair) -> None:
    """Applies the defaults of the old column to both columns.

    Raises :class:`~online_migrate.orm.errors.MovedBroken` if one column has a default that the other one
    cannot get.
    """
    old = mapper.get_property(pair.old).columns[0] if pair.phase.maps_old else pair.old_declared
    new = mapper.get_property(pair.new).columns[0] if pair.phase.maps_new else pair.new_declared
    for kind in _KINDS:
        source, own = getattr(old, kind.python), getattr(new, kind.python)
        if any(isinstance(getattr(each, "arg", None), _Shared) for each in (source, own)):
            continue  # the columns of a base class
        if pair.phase.maps_both:
            _refuse(pair, kind, old, new)
            if _is_python(source) and not (_is_scalar(source) and _is_scalar(own)):
                order = list(old.table.c)
                old_first = order.index(old) < order.index(new)
                _set(old, kind, _Shared(pair, source, False, new.key, not old_first))
                _set(new, kind, _Shared(pair, source, True, old.key, old_first))
        elif pair.phase.maps_new and _is_python(source) and not _has(new, kind):
            _set(new, kind, _Shared(pair, source, True, None, False))


def _refuse(pair: MovedPair, kind: _Kind, old: sa.Column[Any], new: sa.Column[Any]) -> None:
    source, own = getattr(old, kind.python), getattr(new, kind.python)
    if _has(new, kind) and not _has(old, kind):
        raise MovedBroken(
            name=pair.name,
            reason=f"{pair.new} has {kind.noun} and {pair.old} has none: "
            "a row of old code has two values then",
            hint=f"give {pair.old} the same one, or none to {pair.new}",
        )
    if _has(old, kind) and not _is_python(source) and not _has(new, kind):
        raise MovedBroken(
            name=pair.name,
            reason=f"{pair.old} has {kind.noun} that the server computes, and {pair.new} has none: a row "
            f"without a value has NULL in {pair.new} then",
            hint=f"give {pair.new} the same one, or a Python-side {kind.python}= to {pair.old}",
        )
    if _is_scalar(source) and _is_scalar(own) and not pair.conversions.agree(source.arg, own.arg):
        raise MovedBroken(
            name=pair.name,
            reason=f"the {kind.python} of {pair.old} is {source.arg!r}, "
            f"and that of {pair.new} is {own.arg!r}, which are not the same value",
            hint=f"leave out that of {pair.new}; it is derived",
        )


def _has(column: sa.Column[Any], kind: _Kind) -> bool:
    return getattr(column, kind.python) is not None or getattr(column, kind.server) is not None


def _is_scalar(default: Any) -> bool:
    return default is not None and bool(default.is_scalar)


def _is_python(default: Any) -> bool:
    return default is not None and bool(default.is_scalar or default.is_callable)


def _set(column: sa.Column[Any], kind: _Kind, function: _Shared) -> None:
    default = sa.ColumnDefault(function, for_update=kind.python == "onupdate")
    default.column = column
    setattr(column, kind.python, default)
