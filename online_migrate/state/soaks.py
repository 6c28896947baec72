"""The contract revisions whose columns and tables soak: renamed, so that no code reaches them."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_migrate.dialects import dialect_of
from online_migrate.sql.soaked import Soaking, SoakStep
from online_migrate.state.contracted import this_operator
from online_migrate.state.journal import open_revisions
from online_migrate.state.tables import soak, this_runner


class SoakState(enum.StrEnum):
    """How far the soak of a contract revision is."""

    BEGUN = "begun"
    """Its objects are being renamed, or the command was killed."""
    SOAKING = "soaking"
    RETURNING = "returning"
    """Its objects are being brought back, or the command was killed."""
    RETURNED = "returned"
    """Its objects are back; it is not known yet that columns are NOT NULL again, and rows in step."""


@dataclasses.dataclass(frozen=True)
class Soak:
    """The soak of one contract revision. *steps*: the statements that begin it."""

    revision: str
    state: SoakState
    plan: Soaking
    steps: tuple[SoakStep, ...]
    verified: Mapping[str, Any]
    """What was verified under the lock when the objects were renamed."""
    soaked_at: int | None
    """The server's clock, in seconds."""
    soak_time: int
    """Seconds before contract may drop the objects."""
    runner: str = ""
    operator: str = ""

    def left(self, epoch: int) -> int:
        """Returns the seconds that are left at *epoch*, by the server's clock."""
        return max(0, (self.soaked_at or epoch) + self.soak_time - epoch)


def soak_name_of(revision: str) -> str:
    """Returns the name under which the journal has the statements of a soak."""
    return f"soak of {revision}"


def rollback_name_of(revision: str) -> str:
    """Returns the name under which the journal has the statements of a rollback."""
    return f"rollback of {revision}"


def half_rolled_back(connection: Connection) -> list[str]:
    """Returns the expand revisions whose rollback was begun and not finished, sorted."""
    prefix = rollback_name_of("")
    return [name.removeprefix(prefix) for name in open_revisions(connection) if name.startswith(prefix)]


def soaks(connection: Connection) -> dict[str, Soak]:
    """Returns the soaks by revision; empty if an older engine made the bookkeeping tables."""
    if not dialect_of(connection).has_table(connection, soak.name):
        return {}
    return {row.revision: _soak(row) for row in connection.execute(sa.select(soak).order_by(soak.c.revision))}


def _soak(row: sa.Row[Any]) -> Soak:
    values = dict(row._mapping)
    return Soak(
        **{
            **values,
            "state": SoakState(row.state),
            "plan": Soaking.of_fact(json.loads(row.plan)),
            "steps": tuple(SoakStep(**one) for one in json.loads(row.steps)),
            "verified": json.loads(row.verified),
        }
    )


def server_epoch(connection: Connection) -> int:
    """Returns the time of the server's clock, in seconds."""
    return int(connection.scalar(sa.select(dialect_of(connection).epoch())) or 0)


def begin_soak(
    connection: Connection, revision: str, plan: Soaking, steps: Sequence[SoakStep], *, soak_time: int
) -> Soak:
    """Records what is about to be renamed, before the first statement."""
    begun = Soak(
        revision,
        SoakState.BEGUN,
        plan,
        tuple(steps),
        {},
        None,
        soak_time,
        runner=this_runner(),
        operator=this_operator(),
    )
    put_soak(connection, begun)
    return begun


def put_soak(connection: Connection, recorded: Soak) -> None:
    """Inserts the record of a soak."""
    values = {
        "state": recorded.state.value,
        "plan": json.dumps(recorded.plan.as_fact()),
        "steps": json.dumps([dataclasses.asdict(step) for step in recorded.steps]),
        "verified": json.dumps(recorded.verified),
    }
    facts = {field.name: getattr(recorded, field.name) for field in dataclasses.fields(recorded)}
    connection.execute(sa.insert(soak).values(**(facts | values)))


def set_soak(connection: Connection, revision: str, state: SoakState, **values: Any) -> None:
    """Records the state of a soak. *values*: of other columns; *verified* as a JSON value."""
    if "verified" in values:
        values["verified"] = json.dumps(values["verified"])
    connection.execute(sa.update(soak).where(soak.c.revision == revision).values(state=state.value, **values))


def end_soak(connection: Connection, revision: str) -> None:
    """Deletes the record of a soak: its objects are dropped, or are as they were."""
    connection.execute(sa.delete(soak).where(soak.c.revision == revision))
