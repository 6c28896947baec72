"""The steps of a statement in the journal: recorded before the first is executed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from online_migrate import state
from online_migrate.ddl.journal_entries import PLAN, STEP, JournalEntries
from online_migrate.sql.forms.form import Step

Statement = tuple[str, int]
"""The digest and the occurrence of a statement."""


@dataclasses.dataclass(frozen=True)
class StepOf:
    """Identifies a step: the *number*-th of *statement*."""

    statement: Statement
    number: int


def digest_of(statement: str, parameters: Any) -> str:
    """Returns the digest by which a statement is recognised when its revision is run again.

    *parameters*: its parameters, or a :class:`StepOf`.
    """
    text = " ".join(statement.split())
    digest = hashlib.sha256(f"{text}\0{parameters!r}".encode()).hexdigest()
    return STEP + digest[: -len(STEP)] if isinstance(parameters, StepOf) else digest


class RecordedSteps:
    """The steps that the journal of a revision records."""

    def __init__(self, entries: JournalEntries) -> None:
        self._entries = entries

    def of(self, statement: Statement, planned: Sequence[Step]) -> list[Step]:
        """Returns the steps that an earlier run recorded; records *planned* if there are none."""
        known = self._entries.get(_key(statement), statement[1])
        if known is not None:
            return [Step(**data) for data in json.loads(known.undo or "[]")]
        if planned:
            text = json.dumps([step.to_data() for step in planned])
            entry = self._entries.new(_key(statement), statement[1], planned[0].sql, undo=text)
            self._entries.put(dataclasses.replace(entry, state="done", done_at=state.now()))
        return list(planned)

    def forget(self, statement: Statement) -> None:
        """Deletes the records of the steps of a statement, after they were undone."""
        for number, step in enumerate(self.of(statement, ())):
            known = self._entries.get(digest_of(step.sql, StepOf(statement, number)), 0)
            if known is not None:
                self._entries.remove(known)
        plan = self._entries.get(_key(statement), statement[1])
        if plan is not None:
            self._entries.remove(plan)


def _key(statement: Statement) -> str:
    return PLAN + statement[0][: -len(PLAN)]
