"""Reads the operations of a SQL text, for each server. Pure."""

from __future__ import annotations

from online_migrate.sql.operations.operation import Operation


def read_operations(text: str, server: str) -> tuple[Operation, ...]:
    """Returns the operations of every statement in *text*, in order.

    *server*: postgresql, mysql, mariadb or sqlite. Raises :class:`~online_migrate.sql.parse.Unreadable` if
    the text cannot be split into statements.
    """
    raise NotImplementedError
