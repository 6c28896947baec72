"""The lock of a statement is known twice: by table for the lock queue, and with its work for the plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from online_migrate.phases.impact.impact import Blocks, Impact
from online_migrate.phases.impact.of import impact_of
from online_migrate.phases.known import NothingKnown, Server
from online_migrate.sql import lexer
from online_migrate.sql.operations import operation as ops
from online_migrate.sql.operations import parts
from online_migrate.sql.operations.reader import read_operations
from online_migrate.sql.table_lock import Strength
from online_migrate.sql.table_locks import table_locks
from tests.support.corpus import CASES

BLOCKS = {
    Strength.MAINTENANCE: Blocks.MAINTENANCE,
    Strength.BUILD: Blocks.WRITES,
    Strength.WRITE: Blocks.WRITES,
    Strength.EXCLUSIVE: Blocks.EVERYTHING,
}


def statements(server: str) -> Iterator[str]:
    """Yields the statements of the corpus, and those that the readers are tested with."""
    texts = [case.servers[server] for case in CASES if server in case.servers]
    path = Path(__file__).parent / "operation_cases" / f"{server}.txt"
    texts += [line for line in path.read_text().splitlines() if line and line[0] not in "# "]
    for text in texts:
        readings = lexer.successful_readings(text, server)
        at = 0
        for part in lexer.split(readings[0]) if len(readings) == 1 else []:
            yield text[at : part[-1].end].strip("; \n")
            at = part[-1].end


def expected(statement: str, server: str) -> dict[str, Blocks]:
    """Returns what each table that the operations name is blocked for, as the impact says."""
    found: dict[str, Blocks] = {}
    for operation in read_operations(statement, server):
        impact = impact_of(operation, Server(server), NothingKnown())
        for name, blocks in () if impact is None else _blocked(operation, impact):
            found[name.name] = max(found.get(name.name, blocks), blocks)
    return {name: blocks for name, blocks in found.items() if blocks is not Blocks.NOTHING}


def _blocked(operation: ops.Operation, impact: Impact) -> Iterator[tuple[parts.Name, Blocks]]:
    table = getattr(operation, "table", None)
    if isinstance(operation, ops.CreateTable):
        table = operation.partition_of
    elif isinstance(operation, ops.Maintain):
        table = operation.object
    if table is not None:
        yield table, max(impact.blocks, impact.start)
    constraints = getattr(operation, "constraints", ())
    column = getattr(operation, "column", None)
    if isinstance(column, parts.Column):
        constraints = column.constraints
    elif isinstance(operation, ops.AddConstraint):
        constraints = (operation.constraint,)
    for constraint in constraints:
        if constraint.referred is not None:
            yield constraint.referred, impact.referred


@pytest.mark.parametrize("server", ["postgresql", "mysql", "mariadb"])
def test_lock_of_each_table_is_that_of_the_impact(server: str) -> None:
    """A statement CONCURRENTLY has no lock for the queue: no session waits behind it."""
    different = []
    for statement in dict.fromkeys(statements(server)):
        if "CONCURRENTLY" in statement.upper():
            continue
        locks: dict[str, Blocks] = {}
        for lock in table_locks(statement, server):
            locks[lock.name] = max(locks.get(lock.name, Blocks.NOTHING), BLOCKS[lock.strength])
        for name, blocks in expected(statement, server).items():
            if locks.get(name, Blocks.NOTHING) is not blocks:
                different.append(f"{statement}: {name} is blocked for {blocks}, not {locks.get(name)}")
    assert not different, "\n".join(different)
