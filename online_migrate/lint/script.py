"""A script as the rules see it: its statements, their operations, and the schema before each one. Pure."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from online_migrate.lint.violation import Finding
from online_migrate.phases.known import Server
from online_migrate.phases.verdict import Verdict
from online_migrate.script.graph import Phase
from online_migrate.sql.operations.operation import Operation
from online_migrate.sql.statement import shorten

if TYPE_CHECKING:
    from online_migrate.lint.catalog import Catalog
    from online_migrate.lint.schema import Schema

O = TypeVar("O", bound=Operation)  # noqa: E741 - the usual name for a type of operations


@dataclasses.dataclass(frozen=True)
class Statement:
    """A statement of a script. *line*: the line of the script that sends it."""

    text: str
    line: int
    end_line: int
    number: int
    """The position in the script, from 0."""
    transaction: int | None
    """The number of the transaction that the statement runs in; None: it runs outside of a transaction."""


@dataclasses.dataclass(frozen=True)
class Step:
    """An operation, the statement that has it, and the schema before it."""

    operation: Operation
    statement: Statement
    before: Schema
    verdict: Verdict

    def finding(self, object: str = "", /, **facts: object) -> Finding:
        """Returns a finding about this operation; *facts*: values for the texts of the rule."""
        return Finding(
            line=self.statement.line,
            end_line=self.statement.end_line,
            object=object,
            statement=shorten(self.statement.text),
            facts=facts,
            operation=self.operation,
        )


@dataclasses.dataclass(frozen=True)
class Script:
    """A script on one server."""

    path: str
    server: Server
    steps: tuple[Step, ...]
    revision: str | None = None
    phase: Phase | None = None
    """None for a SQL file, and for a revision of a project whose graph is not valid."""
    not_rendered: tuple[int, str] | None = None
    """The line, and the reason, at which rendering stopped; None: the script was rendered to its end."""
    reported: bool = True
    """False: the script is read only for the schema that it creates."""
    additive: tuple[tuple[str, str], ...] = ()
    """What the script declares as additive, each with the reason."""
    catalog: Catalog | None = None
    """The database that the script will run on; None: there is none, or the script is applied to it."""

    under_lock: bool = False
    """``contract`` applies the script under the lock of its tables, because it requires data migrations."""

    @property
    def is_sql_file(self) -> bool:
        """True for a SQL file."""
        return self.revision is None

    @property
    def sent_safely(self) -> bool:
        """True if ``expand`` or ``contract`` chooses the form of the statements of the script."""
        return self.phase is Phase.EXPAND or (self.phase is Phase.CONTRACT and not self.under_lock)

    @functools.cached_property
    def steps_by_rule(self) -> Mapping[str, Sequence[Step]]:
        """The operations by the id of their verdict."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            found.setdefault(step.verdict.rule, []).append(step)
        return found

    def each(self, kind: type[O]) -> Iterator[tuple[Step, O]]:
        """Returns the operations of a type, in order."""
        for step in self.steps:
            if isinstance(step.operation, kind):
                yield step, step.operation

    def on_existing(self, kind: type[O]) -> Iterator[tuple[Step, O]]:
        """Returns the operations of a type on tables that old code may use, in order."""
        for step, operation in self.each(kind):
            table = getattr(operation, "table", None)
            if table is None or not step.before.is_new_table(table):
                yield step, operation
