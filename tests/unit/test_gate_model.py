"""The gate against a model of it: every combination of a small graph, records, rows and services.

The model is written from the documentation, in ten lines, and knows nothing of the engine.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa

from online_migrate import Backfill, state
from online_migrate.contract.gate import Gate
from online_migrate.contract.graph_blockers import to_contract
from online_migrate.contract.live_services import LiveServices
from online_migrate.script.graph import UNDECLARED, Graph, Revision
from online_migrate.services.requirement import Requirement
from online_migrate.state import Status, tables
from tests.unit.test_graph import CONTRACT, EXPAND

Found = set[tuple[str, str]]
"""The ids of blockers, each with its object."""

REQUIRES: tuple[Any, ...] = ((), ("a",), ("a", "b"), UNDECLARED)
"""What the second contract revision requires; the first one requires ``a``."""
APPLIED = (frozenset[str](), frozenset({"e1"}), frozenset({"e1", "e2"}), frozenset({"e1", "e2", "c1"}))
RECORDS = (None, *Status)
DECLARED = (None, ("api",))
"""The services that the project declares."""


@dataclasses.dataclass(frozen=True)
class Process:
    """A process of service ``api`` in the registry."""

    survives: frozenset[str]
    state: str = "live"

    @property
    def counts(self) -> bool:
        """Whether it may still run."""
        return self.state in ("live", "stale")


PROCESSES = (
    None,
    Process(frozenset({"c1", "c2"})),
    Process(frozenset({"c1"})),
    Process(frozenset(), "stale"),
    Process(frozenset(), "stopped"),
    Process(frozenset({"c1", "c9"})),
)


@dataclasses.dataclass(frozen=True)
class World:
    """A database and a project."""

    requires: Any
    applied: frozenset[str]
    records: tuple[Status | None, Status | None]
    """Of data migrations ``a`` and ``b``."""
    pending: tuple[bool, bool]
    declared: tuple[str, ...] | None
    process: Process | None

    @property
    def graph(self) -> Graph:
        """e1 and c1, then e2 and c2."""
        return Graph(
            [
                Revision("e1", labels=EXPAND),
                Revision("e2", down=("e1",)),
                Revision("c1", labels=CONTRACT, depends_on=("e1",), requires=("a",)),
                Revision("c2", down=("c1",), depends_on=("e2",), requires=self.requires),
            ]
        )


def worlds(
    records: Iterable[tuple[Status | None, Status | None]],
    pending: Iterable[tuple[bool, bool]],
    declared: Iterable[tuple[str, ...] | None],
    processes: Iterable[Process | None],
) -> Iterator[World]:
    """Yields every combination, for each graph and each schema."""
    parts = itertools.product(REQUIRES, APPLIED, records, pending, declared, processes)
    yield from (World(*combination) for combination in parts)


BOTH_COMPLETE = (Status.COMPLETE, Status.COMPLETE)
PENDING = tuple(itertools.product((False, True), repeat=2))


# --- the model -----------------------------------------------------------------------------------


def model(world: World) -> Found:
    """Returns what closes the gate."""
    todo = [revision for revision in ("c1", "c2") if revision not in world.applied]
    found: Found = {("expand-not-applied", f"e{r[1]}") for r in todo if f"e{r[1]}" not in world.applied}
    required = {"a"} if "c1" in todo else set()
    if world.requires is UNDECLARED:
        found.add(("requires-undeclared", "c2"))
    else:
        required |= set(world.requires)
    for name, record, pending in zip("ab", world.records, world.pending, strict=True):
        if name not in required:
            continue
        if record is None:
            found.add(("no-record", name))
        elif pending:
            found.add(("pending-rows", name))
        elif record is not Status.COMPLETE:
            found.add(("not-complete", name))
    return found | _services(world, todo)


def _services(world: World, todo: list[str]) -> Found:
    process, found = world.process, set()
    if process is not None and process.counts:
        if not process.survives >= {*todo}:
            found.add(("service-behind" if process.state == "live" else "service-stale", "service api"))
        if not process.survives <= {"c1", "c2"}:
            found.add(("service-revision-unknown", "service api"))
    if world.declared and (process is None or process.state != "live"):
        found.add(("service-silent", "service api"))
    return found


# --- the engine ----------------------------------------------------------------------------------

MIGRATIONS = {
    name: Backfill(
        name=name, table="items", values={name: 1}, pending=lambda t, name=name: t.c[name].is_(None)
    )
    for name in "ab"
}


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    """A database with the bookkeeping tables and the table of both data migrations."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        tables.metadata.create_all(connection)
        connection.exec_driver_sql("CREATE TABLE items (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER)")
        connection.commit()
        yield connection
    engine.dispose()


def gate(connection: sa.Connection, world: World) -> Found:
    """Returns what the gate of the engine finds."""
    _arrange(connection, world)
    services = LiveServices(world.graph, Requirement(declared=world.declared))
    found = Gate(world.graph, MIGRATIONS, connection, world.applied, 5, services, _nothing_is_rendered)
    blockers = found.blockers(to_contract(world.graph, world.applied))
    return {(blocker.id, blocker.object) for blocker in blockers}


def _nothing_is_rendered(revision: str) -> NoReturn:
    raise AssertionError(f"{revision} is rendered, although there is no sync")


def _arrange(connection: sa.Connection, world: World) -> None:
    for table in (tables.data_migration, tables.service):
        connection.execute(table.delete())
    connection.exec_driver_sql("DELETE FROM items")
    values = [None if pending else 1 for pending in world.pending]
    connection.exec_driver_sql("INSERT INTO items (a, b) VALUES (?, ?), (1, 1)", tuple(values))
    for name, record in zip("ab", world.records, strict=True):
        if record is not None:
            state.start_record(connection, name)
            state.set_status(connection, name, record)
    if world.process is not None:
        connection.execute(tables.service.insert(), _row(connection, world.process))
    connection.commit()


def _row(connection: sa.Connection, process: Process) -> dict[str, Any]:
    now = int(connection.exec_driver_sql("SELECT strftime('%s', 'now')").scalar_one())
    silence = 1_000 if process.state == "stale" else 0
    return {
        "id": "1",
        "service": "api",
        "host": "one",
        "process": "1",
        "survives": json.dumps(sorted(process.survives)),
        "versions": "{}",
        "dead_after": 60,
        "beats": 1,
        "started": now - silence,
        "heartbeat": now - silence,
        "stopped": now if process.state == "stopped" else None,
    }


def _assert_agree(connection: sa.Connection, every: Iterator[World]) -> int:
    count = 0
    for world in every:
        assert gate(connection, world) == model(world), world
        count += 1
    return count


def test_rows_and_records(connection: sa.Connection) -> None:
    """Without services."""
    records = [(None, Status.COMPLETE), (Status.STOPPED, None), BOTH_COMPLETE]
    assert _assert_agree(connection, worlds(records, PENDING, [None], [None])) == 192


def test_services(connection: sa.Connection) -> None:
    """With every row migrated."""
    assert _assert_agree(connection, worlds([BOTH_COMPLETE], [(False, False)], DECLARED, PROCESSES)) == 192


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_every_combination(connection: sa.Connection) -> None:
    """Every status of both records, with rows and services."""
    records = itertools.product(RECORDS, repeat=2)
    assert _assert_agree(connection, worlds(records, PENDING, DECLARED, PROCESSES)) == 37_632
