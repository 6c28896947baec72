"""Repeats what contract does around a revision until its tables are free, with the waits of a revision."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from online_migrate.ddl.lock_queue import LockNotFree
from online_migrate.driver_errors import CLEANUP_ERRORS, DATABASE_ERRORS
from online_migrate.runtime.apply import RevisionRunner
from online_migrate.runtime.lock_wait import is_lock_timeout


def until_free(runner: RevisionRunner, revision: str, attempt: Callable[[], None]) -> None:
    """Calls *attempt*, and commits, until its tables are free.

    Raises :class:`~online_migrate.exceptions.LockGivenUp` after the last attempt, and the error of the
    revision for another error of the server.
    """
    session = runner.session
    waiting = runner.lock_wait(revision, session)
    session.queue.tell = waiting.tell_awaited
    while True:
        try:
            session.queue.limit(waiting.queue_limit)
            attempt()
            session.connection.commit()
        except (*DATABASE_ERRORS, LockNotFree) as error:
            with contextlib.suppress(*CLEANUP_ERRORS):
                session.connection.rollback()
            if not is_lock_timeout(session.dialect, error):
                raise runner.explained(revision, error) from error
            waiting.after(error)
        else:
            return
