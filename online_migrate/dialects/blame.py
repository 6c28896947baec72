"""What an error of a chunk is attributed to, and how large a statement may be. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


class Blame(enum.Enum):
    """The cause of an error, and with it the reaction to it."""

    ROW = "a row"
    """The chunk is bisected; a single row that fails is recorded. Also everything that is not known."""
    SIZE = "the size of the chunk"
    """The chunk is bisected, and the next chunks are smaller; a single row that fails is recorded."""
    REPEAT = "another transaction"
    """The server rolled the transaction back; the same transaction is repeated."""
    CONNECTION = "the connection"
    """Another worker with a new connection continues after the last commit."""
    MIGRATION = "the data migration"
    """The same statement fails for every row; the data migration ends."""


class StatementTooLarge(Exception):
    """A statement that was not sent, because the server would have closed the connection.

    Its arguments are those of the error that the server would give.
    """


CERTAINLY_SMALL = 200_000
"""Bytes that every server accepts in a statement: a smaller one is not measured exactly."""


def largest_size(statement: str, parameters: Any) -> int:
    """An upper bound of the bytes that are sent for a statement; quick."""
    sets = _sets(parameters)
    # A character has up to four bytes; an escaped byte has two, and up to four as hexadecimal digits.
    texts = max((sum(len(v) for v in _values(one) if isinstance(v, str | bytes)) for one in sets), default=0)
    count = max((len(one) for one in sets), default=0)
    return 4 * (len(statement) + texts) + 40 * count


def statement_size(
    statement: str, parameters: Any, limit: int, literal: Callable[[object], str | bytes] | None = None
) -> tuple[int, int]:
    """The bytes that are sent for a statement, and those of its largest value.

    *literal*: the driver's way to write a value into a statement, where it does that. It is asked only where
    the values reach *limit* with what it adds: it takes its time.
    """
    plain = _size(statement, parameters, lambda value: len(_bytes(value)))
    if literal is None or plain[0] >= limit:
        return plain
    return _size(statement, parameters, lambda value: len(_bytes(literal(value))))


def _size(statement: str, parameters: Any, sent: Callable[[object], int]) -> tuple[int, int]:
    largest_statement = largest_value = 0
    for one in _sets(parameters) or [()]:
        sizes = [sent(value) for value in _values(one)]
        largest_statement = max(largest_statement, len(_bytes(statement)) + sum(sizes))
        largest_value = max(largest_value, max(sizes, default=0))
    return largest_statement, largest_value


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return (value if isinstance(value, str) else str(value)).encode(errors="replace")


def _sets(parameters: Any) -> Sequence[Any]:
    """The sets of parameters: one, or one for each execution of an executemany."""
    if not parameters:
        return []
    if isinstance(parameters, Mapping):
        return [parameters]
    if isinstance(parameters, list) and isinstance(parameters[0], Mapping | Sequence):
        return [one for one in parameters if not isinstance(one, str | bytes)]
    return [parameters]


def _values(parameters: Any) -> Iterable[object]:
    return parameters.values() if isinstance(parameters, Mapping) else parameters
