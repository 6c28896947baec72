"""Statuses of a data migration, the transitions between them, and the result of a run. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping

from online_migrate.state import Status


class Outcome(enum.Enum):
    """The outcome of one data migration in one run; the value is a message about it."""

    COMPLETE = "nothing is pending"
    CONTRACTED = "its contract revision is applied: there is nothing left to do"
    REMAINING = "stopped at a limit, or on request: run the command again to continue"
    NOT_CONVERGING = "every row was moved, but rows became pending since: an old version still writes them"
    SUSPENDED = "paused or cancelled by an operator"
    WAITING = "waits for a data migration that is not complete"
    FAILED = "failed: see the error"


TRANSITIONS: Mapping[tuple[Status | None, Status], str] = {
    (None, Status.RUNNING): "it is run for the first time",
    (Status.RUNNING, Status.RUNNING): "workers join, or all that were at it were killed",
    (Status.STOPPED, Status.RUNNING): "it is run again and goes on from its checkpoint",
    (Status.FAILED, Status.RUNNING): "it is run again; rows that failed are tried once more",
    (Status.COMPLETE, Status.RUNNING): "it is run again, for rows that became pending since",
    (Status.PAUSED, Status.RUNNING): "somebody said resume, and its workers go on where they stood",
    (Status.RUNNING, Status.PAUSED): "somebody said pause; its workers finish their chunk and hold on",
    (Status.STOPPED, Status.PAUSED): "somebody said pause while nobody was at it: it cannot be started",
    (None, Status.PAUSED): "somebody said pause before it was ever run: it cannot be started",
    (None, Status.CANCELLED): "somebody said cancel before it was ever run: it cannot be started",
    (Status.PAUSED, Status.STOPPED): "somebody said resume, and nobody is at it: it can be started again",
    (Status.RUNNING, Status.CANCELLED): "somebody said cancel; its workers finish their chunk and leave",
    (Status.PAUSED, Status.CANCELLED): "somebody said cancel instead of resume",
    (Status.STOPPED, Status.CANCELLED): "somebody said cancel: it cannot be started",
    (Status.FAILED, Status.CANCELLED): "somebody gave it up",
    (Status.CANCELLED, Status.STOPPED): "somebody said resume, or retry: it can be started again",
    (Status.FAILED, Status.STOPPED): "somebody said retry: its failed rows count as untried",
    (Status.RUNNING, Status.STOPPED): "a limit was reached, or somebody asked to stop",
    (Status.RUNNING, Status.FAILED): "an error ended it, or rows are left that cannot be migrated",
    (Status.RUNNING, Status.COMPLETE): "it was counted that no row is pending",
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


def exit_code(results: Iterable[Result]) -> int:
    """Returns the exit code: 0: nothing is pending; 1: work remains; 2: a data migration failed."""
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return 2
    return (
        1 if outcomes & {Outcome.REMAINING, Outcome.NOT_CONVERGING, Outcome.SUSPENDED, Outcome.WAITING} else 0
    )
