"""The contract revisions that a database has, or is about to have, for services that start.

Alembic's version table does not show them to a service: it has the last revision of each branch only, and the
package of an older service does not contain the script.

A contract revision is announced here, in a transaction of its own, before the services are checked under the
lock. A service registers, in a transaction of its own, before it reads this table. So at least one of the two
finds the other.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import getpass
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.state.tables import contracted, now, this_runner
from online_migrate.state.told import storable


class ContractState(enum.StrEnum):
    """How far a contract revision is, for the services."""

    CONTRACTING = "contracting"
    """It is being applied, or its command was killed."""
    CONTRACTED = "contracted"
    WITHDRAWN = "withdrawn"
    """It was refused, or its tables were not free, or the database was stamped at an earlier revision."""


@dataclasses.dataclass(frozen=True)
class Contracted:
    """A contract revision that was announced."""

    revision: str
    state: str
    number: int
    """Rises with each change of any row, so that a heartbeat notices a change by one number."""
    runner: str
    """The process that changed the row last: ``host:pid``."""
    operator: str
    """The account of the operating system under which it ran."""
    changed_at: datetime.datetime
    attestation: str | None
    """What an operator vouched for where no service reports."""
    folded: tuple[str, ...] = ()
    """The earlier revisions whose scripts were folded into this one, sorted."""

    @property
    def counts(self) -> bool:
        """True unless it was withdrawn. A state that a newer engine has written counts."""
        return self.state != ContractState.WITHDRAWN


def contracted_revisions(connection: Connection) -> list[Contracted]:
    """Returns all announced contract revisions, the one that changed last at the end."""
    rows = connection.execute(sa.select(contracted).order_by(contracted.c.number))
    return [Contracted(**{**row._mapping, "folded": tuple(json.loads(row.folded))}) for row in rows]


def set_contracted(
    connection: Connection,
    revision: str,
    new: ContractState,
    *,
    folded: Collection[str],
    after: int = 0,
    attestation: str | None = None,
) -> int:
    """Records the state of a contract revision, and returns the number of the change.

    The caller must hold the migrator's lock. *folded*, *attestation*: see :class:`Contracted`; an attestation
    of None keeps what was recorded earlier. *after*: the number of an earlier change, which the transaction
    of *connection* may not see yet.
    """
    last = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(contracted.c.number), 0))) or 0
    values: dict[str, Any] = {
        "state": new.value,
        "number": max(last, after) + 1,
        "runner": this_runner(),
        "operator": this_operator(),
        "changed_at": now(),
        "folded": json.dumps(sorted(folded)),
    }
    if attestation is not None:
        values["attestation"] = storable(connection, attestation)
    mine = contracted.c.revision == revision
    if not connection.execute(sa.update(contracted).where(mine).values(**values)).rowcount:
        connection.execute(sa.insert(contracted).values(revision=revision, **values))
    return int(values["number"])


def contracted_changes(
    known: Iterable[Contracted],
    applied: Collection[str],
    half_applied: Collection[str],
    *,
    scripts: Collection[str],
    folded: Mapping[str, Collection[str]],
) -> dict[str, ContractState]:
    """Returns the states to record, so that the table agrees with the version table. Pure.

    *applied*: the contract revisions that are applied; *half_applied*: those with executed statements;
    *scripts*: those of the project; *folded*: by revision, those that were folded into it. An announcement
    that a killed command left behind is withdrawn. The revision of another project with its own version table
    is not changed.
    """
    before = {one.revision: (one.state, one.folded) for one in known}
    right = {revision: ContractState.WITHDRAWN for revision in before if revision in scripts}
    right |= dict.fromkeys(sorted(half_applied), ContractState.CONTRACTING)
    right |= dict.fromkeys(sorted(applied), ContractState.CONTRACTED)
    return {
        revision: new
        for revision, new in right.items()
        if before.get(revision) != (new, tuple(sorted(folded.get(revision, ()))))
    }


def this_operator() -> str:
    """Returns the account of the operating system under which this process runs."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number without an account.
        return "unknown"
