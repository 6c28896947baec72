"""What a statement of the plan locks and costs on this database. Reads only.

The time is a lower bound: the time to read all rows of the table once, from a timed sample. A statement that
changes the catalog only takes no time that depends on the size of the table.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

import sqlalchemy as sa

from online_migrate.dialects import dialect_of
from online_migrate.dialects.facets.load import TableSize
from online_migrate.phases.impact.impact import NONE, Blocks, Impact, Work
from online_migrate.phases.impact.of import impact_of
from online_migrate.phases.schema import VirtualSchema
from online_migrate.runtime.catalog_schema import CatalogSchema, server_of
from online_migrate.sql.operations.operation import (
    AddConstraint,
    CreateIndex,
    Operation,
    SetNotNull,
    ValidateConstraint,
)
from online_migrate.sql.operations.parts import Constraint, Name
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.parse import Unreadable

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_SAMPLE = 20_000
"""The number of rows that are read to measure the time of a row."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one statement locks, and how long it may take.

    *lock*: the server's name for the lock or the algorithm. *blocks*: what other sessions cannot do for as
    long as the statement works; ``briefly``: what they cannot do for a moment at its start and its end.
    *work*: ``none``, ``scan`` or ``rewrite`` of the table. *rows*, *table_bytes*: the size of the table by
    the statistics of the server; None: there is no table, or its size is not known. *seconds*: at least so
    long. *disk_bytes*: by how much the database grows, while the statement runs or for good. *replicas*:
    those that fall behind by the time of the statement.
    """

    lock: str
    blocks: str
    briefly: str
    work: str
    table: str | None = None
    rows: int | None = None
    table_bytes: int | None = None
    seconds: float | None = None
    disk_bytes: int | None = None
    replicas: tuple[str, ...] = ()


UNKNOWN = Cost(lock="not known", blocks="not known", briefly="not known", work="not known")


class CostEstimator:
    """Estimates the statements of one plan, in order; what one creates is empty for those after it."""

    def __init__(
        self, connection: Connection, *, seconds_now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._connection = connection
        self._dialect = dialect_of(connection)
        self._server = server_of(connection)
        self._schema = VirtualSchema(CatalogSchema(connection))
        self._now = seconds_now
        self._sizes: dict[Name, TableSize | None] = {}
        self._seconds_per_row: dict[Name, float] = {}
        self._replicas = tuple(self._dialect.replicas(connection))
        self._not_null = _CheckedNotNull()

    def cost(self, statement: str, locked: Collection[str] = ()) -> Cost:
        """Returns the cost of *statement*, which counts as executed from now on.

        *locked*: the tables whose readers wait anyway, because contract locks them.
        """
        try:
            operations = read_operations(statement, self._server.product)
        except Unreadable:
            return UNKNOWN
        found = []
        for operation in operations:
            impact = impact_of(operation, self._server, self._schema)
            impact = _under_lock(impact, operation, locked, self._dialect.table_lock)
            found.append((operation, self._not_null.without_scan(operation, impact)))
            self._schema.apply(operation)
        known = [(operation, impact) for operation, impact in found if impact is not None]
        if len(known) < len(found):
            return UNKNOWN
        return self._of(known)

    def read(self, table: Name) -> tuple[int | None, float | None]:
        """Returns the rows of a table by the server's statistics, and the seconds to read all of them."""
        size = self._size(table)
        return (None, None) if size is None else (size.rows, self._seconds(table, size))

    def _seconds(self, table: Name, size: TableSize) -> float:
        return round(size.rows * self._row_seconds(table), 3)

    def _of(self, impacts: Iterable[tuple[Operation, Impact]]) -> Cost:
        chosen = list(impacts)
        operation, worst = max(
            chosen,
            key=lambda one: (one[1].is_long, one[1].work, one[1].blocks, one[1].start),
            default=(Operation(), NONE),
        )
        # One statement takes the strongest lock of its operations, and does the work of all of them.
        blocks = max((impact.blocks for _, impact in chosen), default=Blocks.NOTHING)
        table = _table_of(operation)
        size = self._size(table)
        cost = Cost(
            lock=worst.lock,
            blocks=str(blocks) if worst.work is not Work.NONE else str(Blocks.NOTHING),
            briefly=str(max(blocks, worst.start)),
            work=worst.work.name.lower(),
            table=None if table is None else str(table),
        )
        return (
            cost if table is None or size is None else self._sized(cost, operation, table, size, worst.work)
        )

    def _sized(self, cost: Cost, operation: Operation, table: Name, size: TableSize, work: Work) -> Cost:
        return dataclasses.replace(
            cost,
            rows=size.rows,
            table_bytes=size.bytes,
            seconds=0.0 if work is Work.NONE else self._seconds(table, size),
            disk_bytes=_growth(operation, size, work),
            replicas=() if work is Work.NONE else self._replicas,
        )

    def _size(self, table: Name | None) -> TableSize | None:
        if table is None or self._schema.is_new_table(table) or not self._schema.table_exists(table):
            return None
        if table not in self._sizes:
            self._sizes[table] = self._dialect.table_size(self._connection, table.name, table.schema)
        return self._sizes[table]

    def _row_seconds(self, table: Name) -> float:
        """Returns the seconds to read one row, from a sample of the table."""
        if table not in self._seconds_per_row:
            sample = sa.select(sa.text("*")).select_from(sa.table(table.name, schema=table.schema))
            query = sa.select(sa.func.count()).select_from(sample.limit(_SAMPLE).subquery())
            began = self._now()
            read = self._connection.scalar(query) or 0
            self._seconds_per_row[table] = (self._now() - began) / read if read else 0.0
        return self._seconds_per_row[table]


class _CheckedNotNull:
    """The columns that a valid CHECK of this plan proves to be NOT NULL: PostgreSQL reads no row for them."""

    def __init__(self) -> None:
        self._checks: dict[tuple[Name, str | None], str] = {}
        self._proved: set[tuple[Name, str]] = set()

    def without_scan(self, operation: Operation, impact: Impact | None) -> Impact | None:
        """Returns *impact*, without the scan of a SET NOT NULL that a CHECK before it makes superfluous."""
        match operation:
            case AddConstraint(table=table, constraint=Constraint(columns=(column,)) as check):
                condition = check.condition.text if check.condition is not None else ""
                if condition.upper().split()[1:] == ["IS", "NOT", "NULL"]:
                    self._checks[table, check.name] = column
                    if not check.not_valid:
                        self._proved.add((table, column))
            case ValidateConstraint(table=table, name=name) if (table, name) in self._checks:
                self._proved.add((table, self._checks[table, name]))
            case SetNotNull(table=table, column=column) if (table, column) in self._proved and impact:
                return dataclasses.replace(impact, work=Work.NONE)
        return impact


def _under_lock(
    impact: Impact | None, operation: Operation, locked: Collection[str], lock: str
) -> Impact | None:
    """Returns *impact* with the lock of contract, if it is on the table of *operation*."""
    table = _table_of(operation)
    if impact is None or table is None or table.name not in locked:
        return impact
    return dataclasses.replace(impact, lock=lock, blocks=Blocks.EVERYTHING)


def _table_of(operation: Operation) -> Name | None:
    table = getattr(operation, "table", None)
    return table if isinstance(table, Name) else None


def _growth(operation: Operation, size: TableSize, work: Work) -> int | None:
    """Returns the bytes that the database needs more: a copy of the table, or a new index."""
    if size.bytes is None:
        return None
    if work is Work.REWRITE:
        return size.bytes
    if isinstance(operation, CreateIndex):
        # Every indexed column takes its share of a row, and an entry a pointer and its header.
        return round(size.bytes * len(operation.index.columns) / max(size.columns, 1)) + 16 * size.rows
    return 0
