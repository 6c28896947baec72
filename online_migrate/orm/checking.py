"""Whether the conversions of a moved column do the same in Python and on a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from online_migrate.exceptions import Failed
from online_migrate.orm.backfill import pair_named
from online_migrate.orm.conversion import Conversion


class ConversionDiffers(Failed):
    """{argument} of moved column {name!r} makes {value!r} into {in_python!r} in Python, and into {in_sql!r}
    on this server."""

    default_hint = "change the function, or give {argument}_sql=lambda c: ... beside it"


def check_conversions(
    connection: sa.Connection, model: type[Any], attribute: str, *, old: Iterable[Any], new: Iterable[Any]
) -> None:
    """Converts values in Python and on the server, for the test suite of an application.

    *old*, *new*: values of the old and of the new column. The division of two integers, the case and the
    formatting of a text are different on some servers.

    Raises :class:`ConversionDiffers` for the first value with two results.
    """
    pair = pair_named(model, attribute)
    old_type, new_type = _type(model, pair.old, pair.old_type), _type(model, pair.new, pair.new_type)
    for value in old:
        _check(connection, pair.conversions.to_new, value, old_type, new_type)
    for value in new:
        _check(connection, pair.conversions.to_old, value, new_type, old_type)


def _type(model: type[Any], attribute: str, declared: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """Returns the type of a column, which an annotation may determine if the column is mapped."""
    mapped = sa.inspect(model).column_attrs.get(attribute)
    return declared if mapped is None else mapped.columns[0].type


def _check(
    connection: sa.Connection,
    conversion: Conversion,
    value: Any,
    source: sa.types.TypeEngine[Any],
    target: sa.types.TypeEngine[Any],
) -> None:
    given: sa.ColumnElement[Any] = sa.literal(value)
    if not isinstance(source, sa.types.NullType):  # the type is not known of a column that is not mapped
        given = sa.cast(sa.literal(value, source), source)
    in_python = conversion.value(value)
    in_sql = connection.scalar(sa.select(conversion.expression(given, target)))
    if in_python != in_sql:
        raise ConversionDiffers(
            argument=conversion.argument,
            name=conversion.name,
            value=value,
            in_python=in_python,
            in_sql=in_sql,
        )
