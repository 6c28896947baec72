"""Statuses of a data migration, the transitions between them, and the result of a run. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping

from online_migrate.state import Status


class Outcome(enum.Enum):
    """The outcome of one data migration in one run; the value is a message about it."""

    COMPLETE = "nothing is pending"
    CONTRACTED = "its contract revision is applied; nothing is left to do"
    REMAINING = "stopped at a limit or on request; run the same command again to continue"
    NOT_CONVERGING = "all rows were migrated, but an old version of the application still writes pending rows"
    SUSPENDED = "paused or cancelled by an operator"
    WAITING = "waits for a data migration that is not complete"
    FAILED = "failed"


TRANSITIONS: Mapping[tuple[Status | None, Status], str] = {
    (None, Status.RUNNING): "first run",
    (Status.RUNNING, Status.RUNNING): "another worker starts, or a run starts after all workers were killed",
    (Status.STOPPED, Status.RUNNING): "a run continues from the checkpoint",
    (Status.FAILED, Status.RUNNING): "a run retries the failed rows",
    (Status.COMPLETE, Status.RUNNING): "a run migrates rows that became pending after completion",
    (Status.PAUSED, Status.RUNNING): "resume: the active workers continue",
    (Status.RUNNING, Status.PAUSED): "pause: the active workers finish their chunk and wait",
    (Status.STOPPED, Status.PAUSED): "pause without active workers: it cannot be started before resume",
    (None, Status.PAUSED): "pause before the first run: it cannot be started before resume",
    (None, Status.CANCELLED): "cancel before the first run: it cannot be started before resume",
    (Status.PAUSED, Status.STOPPED): "resume without active workers: it can be started again",
    (Status.RUNNING, Status.CANCELLED): "cancel: the active workers finish their chunk and exit",
    (Status.PAUSED, Status.CANCELLED): "cancel while paused",
    (Status.STOPPED, Status.CANCELLED): "cancel without active workers: it cannot be started before resume",
    (Status.FAILED, Status.CANCELLED): "cancel after a failure",
    (Status.CANCELLED, Status.STOPPED): "resume or retry: it can be started again",
    (Status.FAILED, Status.STOPPED): "retry: its failed rows are attempted again",
    (Status.RUNNING, Status.STOPPED): "a limit was reached, or a stop was requested",
    (Status.RUNNING, Status.FAILED): "an error ended the run, or rows could not be migrated",
    (Status.RUNNING, Status.COMPLETE): "a count found no pending row",
}
"""The state machine of a data migration: every transition, with its meaning."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of one data migration."""

    name: str
    outcome: Outcome
    done: int = 0
    """Rows migrated in this run."""
    failed: int = 0
    """Rows that are recorded as failed."""
    error: str | None = None
    needed: int | None = None
    """The most rows that a call of a function found to be migrated; None: they were not counted."""


def exit_code(results: Iterable[Result]) -> int:
    """Returns the exit code: 0: nothing is pending; 1: work remains; 2: a data migration failed."""
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return 2
    return (
        1 if outcomes & {Outcome.REMAINING, Outcome.NOT_CONVERGING, Outcome.SUSPENDED, Outcome.WAITING} else 0
    )
