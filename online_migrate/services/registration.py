"""The row of one process in the registry: how it is written, and what refuses the code of the process.

A process registers, in a transaction of its own, before it reads which contract revisions are applied, or are
being applied. Contract announces a revision, in a transaction of its own, before it reads the registry under
the lock. So at least one of the two finds the other, however they are interleaved.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import uuid
from typing import TYPE_CHECKING

from online_migrate import state
from online_migrate.dialects import dialect_of
from online_migrate.driver_errors import DATABASE_ERRORS
from online_migrate.observe import events
from online_migrate.services import errors
from online_migrate.services.pin_rule import refuse_older
from online_migrate.services.registry import read_registry
from online_migrate.services.squashed import survives

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

logger = logging.getLogger(__name__)
_KILLED = (
    "wait until online-migrate contract has ended; if it was killed, run it again: it continues, or "
    "withdraws the revision"
)
_CONTRACTED = (
    "start a release whose scripts contain the revision; if its script was folded into another one, add it "
    "to squashed in [online_migrate]"
)


class Registration:
    """The row of this process. Its connections are in autocommit mode.

    *new*: what the process reports. All methods raise
    :data:`~online_migrate.driver_errors.DATABASE_ERRORS`.
    """

    def __init__(self, new: state.NewService) -> None:
        self.new = new
        self._survived = frozenset(json.loads(new.survives))
        self._sent = 0
        self._seen = 0
        self._answer_lost = False
        self._warned_by: str | None = None
        self.refused: errors.ServiceRefused | None = None
        """The refusal, once the database has been contracted beyond what the code survives."""

    def renew(self, process: str | None = None) -> None:
        """Takes a new id, and the name of another *process*, for the next :meth:`enter`."""
        self.new = dataclasses.replace(self.new, id=uuid.uuid4().hex, process=process or self.new.process)

    def register(self, connection: Connection) -> None:
        """Writes the row of a process that starts.

        Raises :class:`~online_migrate.services.errors.ServiceRefused` if a contract revision is applied, or
        is being applied, that the code does not survive,
        :class:`~online_migrate.services.errors.VersionTooOld` if a version that it reports is older than its
        pin, and :class:`~online_migrate.services.errors.ServiceRegistryMissing`.
        """
        self._refuse(self._contracted(connection))
        self._insert(connection)
        try:
            self._refuse(self._contracted(connection))
            self._refuse_older(connection)
        except (errors.ServiceRefused, errors.VersionTooOld):
            state.delete_services(connection, {self.new.id: 0})
            raise

    def _refuse_older(self, connection: Connection) -> None:
        versions = json.loads(self.new.versions)
        if versions:
            # After the row is written: a client that reads the registry from now on gets a lower pin.
            refuse_older(read_registry(connection), self.new.id, self.new.service, versions)

    def enter(self, connection: Connection) -> None:
        """Writes the row of a process that runs already, whatever its code survives: the gate has to see it.

        Sets :attr:`refused`.
        """
        self._insert(connection)
        self._check_contracted(connection)

    def _insert(self, connection: Connection) -> None:
        self._sent = 0
        if state.service_row(connection, self.new.id) is None:
            state.insert_service(connection, self.new)
        # Otherwise an earlier insert was committed, and only the answer of the server was lost.
        where = f"{self.new.host}/{self.new.process}"
        events.emit(logger, events.ServiceRegistered(self.new.service, self.new.id, where))

    def beat(self, connection: Connection, statement: state.Beat) -> None:
        """Sends a heartbeat. If anything has changed since the last one, finds out what.

        Sets :attr:`refused`.
        """
        if statement.send(connection, self.new.id, sent=self._sent, seen=self._seen):
            self._sent += 1
            return
        row = state.service_row(connection, self.new.id)
        if row is None:
            self._enter_again(connection)
            return
        if self._answer_lost and row["beats"] == self._sent + 1:
            self._sent += 1  # the heartbeat was committed, and only the answer of the server was lost
        self._answer_lost = False
        if row["beats"] != self._sent:
            events.emit(logger, events.ServiceIdentityShared(self.new.service, self.new.id))
            self.renew()
            self.enter(connection)
            return
        if not statement.send_anyway(connection, self.new.id):
            # It was deleted after it was read.
            self._enter_again(connection)
            return
        self._sent += 1
        self._warn_of_forced_down(row["forced_by"])
        self._check_contracted(connection)

    def _enter_again(self, connection: Connection) -> None:
        events.emit(logger, events.ServiceForgotten(self.new.service, self.new.id))
        self.enter(connection)

    def connection_lost(self) -> None:
        """Notes that it is not known whether the last heartbeat was committed."""
        self._answer_lost = True

    def mark_stopped(self, connection: Connection) -> None:
        """Records that the process has stopped cleanly."""
        state.mark_stopped(connection, self.new.id)

    def _warn_of_forced_down(self, by: str | None) -> None:
        if by is not None and by != self._warned_by:
            events.emit(logger, events.ServiceForcedDown(self.new.service, by))
        self._warned_by = by

    # --- contract revisions ----------------------------------------------------------------------

    def _contracted(self, connection: Connection) -> list[state.Contracted]:
        """Returns the contract revisions of the database, as far as the code does not survive them."""
        try:
            found = state.contracted_revisions(connection)
        except DATABASE_ERRORS as error:
            if dialect_of(connection).is_missing_object(error):
                raise errors.ServiceRegistryMissing(service=self.new.service) from error
            raise
        self._seen = max((one.number for one in found), default=0)
        return [one for one in found if one.counts and not self._survives(one)]

    def _survives(self, one: state.Contracted) -> bool:
        return survives(one.revision, self._survived, dict.fromkeys(one.folded, one.revision))

    def _check_contracted(self, connection: Connection) -> None:
        # A revision that is only being applied is not a refusal here: either the check under the lock finds
        # this process, or the revision is applied, which the next heartbeat notices.
        found = [one for one in self._contracted(connection) if one.state != state.ContractState.CONTRACTING]
        self.refused = self._refusal(found) if found else None

    def _refuse(self, found: list[state.Contracted]) -> None:
        self.refused = self._refusal(found) if found else None
        if self.refused is not None:
            raise self.refused

    def _refusal(self, found: list[state.Contracted]) -> errors.ServiceRefused:
        applied = [one for one in found if one.state != state.ContractState.CONTRACTING]
        named = applied or found
        last = named[-1]
        when = f"by {last.operator} ({last.runner}) at {last.changed_at} UTC"
        return errors.ServiceRefused(
            service=self.new.service,
            revisions=", ".join(one.revision for one in named),
            state=f"{'were applied' if applied else 'are being applied'} {when}",
            hint=_CONTRACTED if applied else _KILLED,
        )
