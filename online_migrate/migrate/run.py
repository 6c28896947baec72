"""What a run of data migrations is asked to do, and what came of it. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping

from online_migrate.state import Status


class Outcome(enum.Enum):
    """What came of one data migration in one run; the value is a sentence about it."""

    COMPLETE = "nothing is pending"
    CONTRACTED = "its contract revision is applied: there is nothing left to do"
    REMAINING = "stopped at a limit, or on request: run the command again to continue"
    CHASED = "every row was moved, but rows became pending since: an old version still writes them"
    WAITING = "waits for a data migration that is not complete"
    FAILED = "failed: see the error"


TRANSITIONS: Mapping[tuple[Status | None, Status], str] = {
    (None, Status.RUNNING): "it is run for the first time",
    (Status.RUNNING, Status.RUNNING): "a second runner joins, or the last one was killed",
    (Status.STOPPED, Status.RUNNING): "it is run again and goes on from its checkpoint",
    (Status.FAILED, Status.RUNNING): "it is run again; rows that failed are tried once more",
    (Status.COMPLETE, Status.RUNNING): "it is run again, for rows that became pending since",
    (Status.RUNNING, Status.STOPPED): "a limit was reached, or somebody asked to stop",
    (Status.RUNNING, Status.FAILED): "an error ended it, or rows are left that cannot be migrated",
    (Status.RUNNING, Status.COMPLETE): "it was counted that no row is pending",
}
"""The state machine of a data migration: every arrow, and what it means."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one data migration."""

    name: str
    outcome: Outcome
    done: int = 0
    """Rows migrated in this run."""
    failed: int = 0
    """Rows that are recorded as failed."""
    error: str | None = None


@dataclasses.dataclass
class Budget:
    """How many rows the run may still migrate; None: as many as there are."""

    rows: int | None = None

    def chunk(self, size: int) -> int:
        """The size of the next chunk."""
        return size if self.rows is None else min(size, self.rows)

    def spend(self, rows: int) -> None:
        """Takes migrated rows off."""
        if self.rows is not None:
            self.rows = max(0, self.rows - rows)

    @property
    def limited(self) -> bool:
        """True if somebody said how many rows."""
        return self.rows is not None

    @property
    def exhausted(self) -> bool:
        """True if no row may be migrated any more."""
        return self.rows == 0


def exit_code(results: Iterable[Result]) -> int:
    """0: nothing is pending; 1: work remains; 2: something failed."""
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return 2
    return 1 if outcomes & {Outcome.REMAINING, Outcome.CHASED, Outcome.WAITING} else 0
