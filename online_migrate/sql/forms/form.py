"""The form in which a statement is sent, and the facts of the catalog that it depends on. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class Step:
    """One of the statements that are sent, each in a transaction of its own, instead of the statement.

    *concurrent*: it runs outside of a transaction. *undo*: the statement that removes what the step added; it
    is executed after a later step has failed.
    """

    sql: str
    concurrent: bool = False
    undo: str | None = None

    def to_data(self) -> dict[str, Any]:
        """Returns the JSON data that the journal stores."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Form:
    """How a statement is sent: the first of *texts* that the server accepts, or all *steps* in order.

    *refusal*: why the server may accept none of *texts*, and the form to use instead; None: the only text is
    the statement itself. *copy*: what a tool may do if the server accepts none of *texts*; None: nothing.
    """

    texts: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    refusal: Refusal | None = None
    copy: OnlineCopy | None = None


@dataclasses.dataclass(frozen=True)
class OnlineCopy:
    """An ALTER TABLE that a tool executes on a copy of the table; *alter*: what follows the table's name."""

    schema: str
    table: str
    alter: str


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why no form of a statement is sent.

    *hint*: the form to use instead. *tools*: the command lines of tools that copy the table. *rebuilds*: how
    a script declares that the writers may wait.
    """

    reason: str
    hint: str
    tools: str = ""
    rebuilds: str = ""

    def hint_of(self, *, tools: bool) -> str:
        """Returns the whole hint; *tools*: with the command lines."""
        return f"{self.hint}{self.tools if tools else ''}{self.rebuilds}"


@dataclasses.dataclass(frozen=True)
class Partition:
    """A partition, below the table itself. *name*, *parent*: as SQL. *leaf*: it stores rows."""

    name: str
    parent: str
    leaf: bool


@dataclasses.dataclass(frozen=True)
class Table:
    """What the catalog of PostgreSQL says of a table.

    *name*: as SQL. *plain_name*: as stored. *small*: a scan of it takes no noticeable time. *nullable*: the
    columns without NOT NULL. *partitions*: of a partitioned table, parents before their partitions. *taken*:
    the names of relations in its schema, and of its constraints.
    """

    name: str
    plain_name: str
    small: bool = False
    partitioned: bool = False
    nullable: frozenset[str] = frozenset()
    partitions: tuple[Partition, ...] = ()
    taken: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class IndexFacts:
    """What the catalog of PostgreSQL says of an index. *droppable*: DROP INDEX CONCURRENTLY accepts it."""

    small: bool
    droppable: bool


class Facts(Protocol):
    """Reads what the form of a statement depends on."""

    def table(self, name: str) -> Table | None:
        """Returns the facts of the table *name*, as written in SQL; None if it does not exist."""

    def index(self, name: str) -> IndexFacts | None:
        """Returns the facts of the index *name*, as written in SQL; None if it does not exist."""
