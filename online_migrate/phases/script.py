"""Judges the statements of scripts in order: each with the schema that those before it leave. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from online_migrate.phases.judge import judge, judge_text
from online_migrate.phases.known import KnownSchema, NothingKnown, Server
from online_migrate.phases.rules import apply_rule
from online_migrate.phases.schema import VirtualSchema
from online_migrate.phases.sync_statements import creates_sync, sync_object
from online_migrate.phases.verdict import Place, Verdict
from online_migrate.sql.operations.both_readers import read_by_both
from online_migrate.sql.operations.operation import Operation, Unrecognized
from online_migrate.sql.operations.parts import Name
from online_migrate.sql.parse import Unreadable


@dataclasses.dataclass(frozen=True)
class Judged:
    """An operation that was judged, with its statement."""

    statement: str
    verdict: Verdict


class ScriptJudge:
    """Judges the statements of a group of revisions on a server.

    *known*: the schema before the first statement, for example the catalog of a database.
    """

    def __init__(self, server: Server, known: KnownSchema | None = None) -> None:
        self.server = server
        self._schema = VirtualSchema(known)

    def fork(self) -> ScriptJudge:
        """Returns a judge that goes on from here, and does not change this one."""
        return ScriptJudge(self.server, self._schema)

    def statement(self, text: str) -> list[Judged]:
        """Returns the verdict on each operation of *text*, which is taken as executed."""
        operations = read(text, self.server)
        if creates_sync(text):
            return self._sync(text, operations)
        if operations is None:
            return [Judged(text, verdict) for verdict in judge_text(text, self.server, self._schema)]
        return self.operations(text, operations)

    def _sync(self, text: str, operations: Sequence[Operation] | None) -> list[Judged]:
        """Returns the verdict on a statement of ``op.create_sync``."""
        for operation in operations or (Unrecognized(what=text),):
            self._schema.apply(operation)
        return [Judged(text, apply_rule("create-sync", sync_object(text)))]

    def operations(self, statement: str, operations: Iterable[Operation]) -> list[Judged]:
        """Returns the verdict on each of *operations*, which are taken as executed."""
        found = []
        for operation in operations:
            found.append(Judged(statement, judge(operation, self.server, self._schema)))
            self._schema.apply(operation)
        return found

    def replay(self, text: str) -> None:
        """Takes *text* as executed, without a verdict."""
        operations = read(text, self.server)
        for operation in (Unrecognized(what=text),) if operations is None else operations:
            self._schema.apply(operation)

    def begin_group(self) -> None:
        """Begins the next group of revisions: what was created until now is known to old code."""
        self._schema.begin_group()

    def is_new_table(self, table: Name) -> bool:
        """Returns True if a statement of this group has created the table."""
        return self._schema.is_new_table(table)


def read(text: str, server: Server) -> Sequence[Operation] | None:
    """Returns the operations of a text; None if it cannot be read."""
    try:
        return read_by_both(text, server.product, server.version)
    except Unreadable:
        return None


def only_adds(text: str, server: Server) -> bool:
    """Returns True if every operation of *text* belongs to expand."""
    verdicts = judge_text(text.strip(), server, NothingKnown())
    return bool(verdicts) and all(verdict.place is Place.EXPAND for verdict in verdicts)
